"""Compile the C sources with BCC in a child process, and get program and map descriptors from it.

`loader` starts the child (`compile`, the only one to import BCC and LLVM) and receives descriptors.
`btf`, `drop_types` and `socket_types` read the running kernel's types for the defines of drops.c
and sockets.c. Data comes from bpf/src and /sys/kernel/btf; the result goes to flowd.capture.
"""
