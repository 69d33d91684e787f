"""Parity: compare what happens to a request before and after a move of its routes.

`outcome` has requests and their outcomes. `nginx` simulates ingress-nginx (the before side), `gateway`
the Gateway API objects (the after side, by the matcher of `flowd.gateway`); `compare` finds the parts
that differ and names the cause, `report` writes the result, `catalog` explains the causes. May import
the gateway and kubernetes rooms; only `flowd.commands.parity` imports this one.
"""
