"""Gateway API names that Envoy's dynamic and xDS metadata give for a request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Metadata:
    """Gateway API objects named by the metadata, filter chain and virtual host of an entry.

    Instances compare by identity: equal metadata shares one instance while it is in use.

    Attributes:
        kind, namespace, name: the route object; kind is "" for none.
        rule_name: the rule's own `name`.
        gateway: `namespace/name` of the Gateway.
        listener: name of its listener.
        host: hostname of the virtual host, as clients asked for it.
        filter_chain: Envoy's name of the filter chain.
    """

    kind: str = ""
    namespace: str = ""
    name: str = ""
    rule_name: str = ""
    gateway: str = ""
    listener: str = ""
    host: str = ""
    filter_chain: str = ""
