"""Attach loaded programs: to interfaces (tcx links or clsact filters) and to cgroups.

`attacher` chooses the mechanism, `tcx` and `clsact` implement it, `programs` has what they share;
`interfaces` watches rtnetlink for interfaces to attach to; `cgroup` finds and links cgroup2. Takes
descriptors from `load`. May import `libbpf` and `errors`; only `clsact` imports pyroute2.
"""
