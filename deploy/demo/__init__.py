"""flowd's demo: a real Envoy as a Gateway, pods behind it, and clients that keep it busy."""

from demo.backend import Seen
from demo.client import Sent
from demo.errors import DemoError, NetworkError
from demo.lifecycle import Demo
from demo.traffic import Route

__all__ = ["Demo", "DemoError", "NetworkError", "Route", "Seen", "Sent"]
