"""How each program of the cluster is had: built from a Go module, or unpacked from PyPI or Debian."""
