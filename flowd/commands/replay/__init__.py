"""`flowd replay`: attribute recorded access logs without kernel, root or cluster.

`command` is the verb; `inputs` and `flows` read files into REQUEST batches, `pace` delays them,
`output` encodes JSON lines, `targets` and `into_exporters` feed the agent's exporters instead.
May import every room but the kernel's; capture only for its decoders. Data comes from files and
manifests, and goes to stdout or to exporters.
"""

from flowd.commands.replay.command import command

__all__ = ["command"]
