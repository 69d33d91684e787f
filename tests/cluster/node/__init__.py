"""One node of the cluster: its cgroups, its namespaces, its network, and the programs that run in it."""
