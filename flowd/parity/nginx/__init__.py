"""ingress-nginx as it behaves: Ingress objects to servers and locations, a request to an outcome.

Models controller-v1.15.1 (the last release) on nginx. `annotations` reads what an Ingress asks for,
`servers` builds the configuration as the controller does, `uri` parses targets as nginx does,
`locate` finds server and location, `evaluate` applies the effects in nginx's order.
"""
