"""flowd's demo: a real Envoy as a Gateway, backend pods behind it, and clients that send requests.

`lifecycle` starts and stops it, `cli` is its command line. `topology` has the pods and addresses,
`network` their namespaces, `objects` and `manifests/` the Kubernetes objects, `envoy` the xDS
translation, `backend` and `client` the servers and clients, `traffic` the requests with their
expected results, `state` and `processes` what runs. Standard library and PyYAML only: it imports
nothing of flowd, so that tests can compare flowd with it. Clients and backends write what they
sent and received to JSON lines.
"""

from demo.backend import SeenRequest
from demo.client import SentRequest
from demo.cluster.errors import DemoError, NetworkError
from demo.lifecycle import Demo
from demo.traffic import ExpectedRoute

__all__ = ["Demo", "DemoError", "ExpectedRoute", "NetworkError", "SeenRequest", "SentRequest"]
