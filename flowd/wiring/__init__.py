"""Build the agent from its settings, in the order of the data: `inputs`, `pipeline`, `outputs`.

`bootstrap` runs before the heavy imports and starts to compile the kernel programs. `cluster_state`
follows the cluster's objects and updates the tables that are built from them. May import every room
but `flowd.agent` and `flowd.commands`; only these two import it.
"""
