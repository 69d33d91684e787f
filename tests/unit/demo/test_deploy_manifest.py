"""deploy/flowd.yaml is consistent with itself, with the agent's settings and with the README."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowd.config import setting_table
from flowd.kubernetes.api.resources import RESOURCES, VERBS

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "flowd.yaml").read_text()))
README = (DEPLOY / "README.md").read_text()
PORTS = {"als": 9001, "hubble": 4244, "metrics": 9965}


def one(kind: str, name: str = "flowd") -> dict[str, Any]:
    return next(o for o in OBJECTS if (o["kind"], o["metadata"]["name"]) == (kind, name))


@pytest.fixture
def pod() -> dict[str, Any]:
    return one("DaemonSet")["spec"]["template"]


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    return pod["spec"]["containers"][0]


def test_ports_are_the_agents_defaults(container: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == PORTS
    defaults = {info.name: info.default_text for info in setting_table()}
    given = {item["name"]: item.get("value", "") for item in container["env"]}
    for name, port in PORTS.items():
        assert defaults[f"{name}_listen"].endswith(f":{port}")
        assert given[f"FLOWD_{name.upper()}_LISTEN"] == f"0.0.0.0:{port}"


def test_environment_sets_known_settings_only(container: dict[str, Any]):
    known = {info.variable for info in setting_table()}
    assert {item["name"] for item in container["env"]} <= known


def test_node_name_comes_from_the_downward_api(container: dict[str, Any]):
    node = next(item for item in container["env"] if item["name"] == "FLOWD_NODE_NAME")
    assert node["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}


def test_services_reach_the_pods_ports(pod: dict[str, Any]):
    labels = pod["metadata"]["labels"]
    served: dict[str, int] = {}
    for service in (o for o in OBJECTS if o["kind"] == "Service"):
        assert service["spec"]["selector"].items() <= labels.items()
        served |= {port["targetPort"]: port["port"] for port in service["spec"]["ports"]}
    assert served == PORTS
    assert one("Service", "flowd-peers")["spec"]["clusterIP"] == "None"
    assert one("Service")["spec"]["internalTrafficPolicy"] == "Local"
    assert one("DaemonSet")["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_only_the_documented_capabilities(container: dict[str, Any]):
    capabilities = container["securityContext"]["capabilities"]
    assert capabilities["drop"] == ["ALL"]
    documented = re.findall(r"^\| ([A-Z_]+) \| \w", README, re.MULTILINE)
    assert capabilities["add"] == documented == ["BPF", "NET_ADMIN", "PERFMON"]
    lines = (DEPLOY / "flowd.yaml").read_text().splitlines()
    for name in documented:
        assert any(re.search(rf"- {name} # \w+", line) for line in lines)


def test_container_can_do_no_more_than_it_must(container: dict[str, Any]):
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    assert not context.get("privileged")
    volumes = one("DaemonSet")["spec"]["template"]["spec"]["volumes"]
    hosts = [volume for volume in volumes if "hostPath" in volume]
    assert hosts == [
        {"name": "cgroup", "hostPath": {"path": "/sys/fs/cgroup", "type": "Directory"}}
    ]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "cgroup"]
    assert mount == {"name": "cgroup", "mountPath": "/sys/fs/cgroup", "readOnly": True}


def test_sockets_of_the_whole_node_are_seen(pod: dict[str, Any]):
    """Rows need the node's pids for processes, and its cgroups for pods."""
    assert pod["spec"]["hostPID"] is True
    assert pod["spec"]["hostNetwork"] is True


def test_role_grants_what_the_code_asks_for_and_no_more():
    granted = [
        (group, resource, verb)
        for rule in one("ClusterRole")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    asked = {(each.group, each.plural, verb) for each in RESOURCES for verb in VERBS}
    assert len(granted) == len(set(granted))
    assert set(granted) == asked
    rules = one("ClusterRole")["rules"]
    assert all(rule.keys() == {"apiGroups", "resources", "verbs"} for rule in rules)


def test_pod_has_the_token_that_it_asks_with(pod: dict[str, Any]):
    assert pod["spec"]["automountServiceAccountToken"] is True


def test_binding_joins_role_and_account(pod: dict[str, Any]):
    binding, account = one("ClusterRoleBinding"), one("ServiceAccount")
    assert binding["roleRef"]["name"] == one("ClusterRole")["metadata"]["name"]
    assert binding["subjects"] == [
        {
            "kind": "ServiceAccount",
            "name": account["metadata"]["name"],
            "namespace": account["metadata"]["namespace"],
        }
    ]
    assert pod["spec"]["serviceAccountName"] == account["metadata"]["name"]


def test_probes_and_scraping_use_the_metrics_port(pod: dict[str, Any], container: dict[str, Any]):
    probes = {name: container[name]["httpGet"] for name in container if name.endswith("Probe")}
    assert probes == {
        "startupProbe": {"path": "/healthz", "port": "metrics"},
        "livenessProbe": {"path": "/healthz", "port": "metrics"},
        "readinessProbe": {"path": "/readyz", "port": "metrics"},
    }
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(PORTS["metrics"])


def test_manifests_setting_points_at_the_mounted_config_map(
    pod: dict[str, Any], container: dict[str, Any]
):
    given = {item["name"]: item.get("value") for item in container["env"]}
    mount = next(m for m in container["volumeMounts"] if m["name"] == "manifests")
    volume = next(v for v in pod["spec"]["volumes"] if v["name"] == "manifests")
    assert given["FLOWD_MANIFESTS"] == mount["mountPath"]
    assert one("ConfigMap", volume["configMap"]["name"])
    assert volume["configMap"]["optional"] is True


def test_namespaces_agree():
    cluster_wide = ("Namespace", "ClusterRole", "ClusterRoleBinding")
    spaces = {o["metadata"]["namespace"] for o in OBJECTS if o["kind"] not in cluster_wide}
    assert spaces == {one("Namespace", "flowd-system")["metadata"]["name"]}


def test_image_runs_what_the_manifest_runs(container: dict[str, Any]):
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["flowd"]' in dockerfile
    assert container["args"] == yaml.safe_load(dockerfile.rpartition("CMD ")[2])
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        assert all((DEPLOY.parent / name).exists() for name in source.split()), source
