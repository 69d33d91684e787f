"""DNS messages: from payload that the kernel captures on DNS ports to DNS rows.

`source` loads the programs with DNS and reads their rings, `streams` reassembles messages from TCP
segments, `messages` decodes the wire format (RFC 1035), `reader` matches responses with queries and
measures latency. Payload is untrusted; losses are counted under Place.CAPTURE. Imports `flowd_bpf`
and `flowd.model`.
"""
