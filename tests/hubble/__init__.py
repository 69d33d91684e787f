"""Comparison with the real hubble CLI, which must be given by path; no test of `make test`.

`compare` runs the golden command lines of tests/golden/hubble with hubble and with `flowd observe`;
`transcript` records hubble against a running agent for docs/hubble-compatibility.md; `cases` has
its command lines. Imports flowd's CLI in `compare` alone; the agent runs as a process.
"""
