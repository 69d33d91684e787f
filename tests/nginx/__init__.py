"""Tests of the parity simulation against a real nginx (Debian's package).

`render` writes the nginx.conf that ingress-nginx would make of a configuration, by the documented
rules of its template and without its Lua; `server` runs nginx and a backend that echoes what it gets.
"""
