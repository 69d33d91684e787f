"""Everything between Python and the BPF programs of bpf/src: load, attach, read, evict, decode.

The C programs count packets, sockets and drops in the kernel. `load` compiles and loads them,
`attach` puts them on interfaces and cgroups, `maps` reads rings and the connection table, `layout`
has their structs as numpy dtypes, `conntrack` reads netfilter's translations. flowd.capture.kernel
is the caller. Imports numpy, libbpf by ctypes and, in `attach.clsact`, pyroute2; nothing of flowd.
"""
