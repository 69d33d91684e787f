"""What runs in the cluster: DNS, Envoy Gateway, flowd, a shop behind a Gateway, and readers of flowd."""
