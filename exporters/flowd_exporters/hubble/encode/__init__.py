"""Encode flow rows as Hubble's flow.Flow: protobuf messages, wire bytes and proto3 JSON.

`flow_to_protobuf` is the reference encoder, a message a row; `fast_encode` writes the same bytes a
batch at a time with numpy (`wire_columns`), `json_line` the same JSON. `l7`, `translation` and
`extensions` are parts of the message; `ring_row` is the row as the ring stores it. Rows come from
hubble.ring or a FlowBatch; users are hubble and flowlog. Imports flowd's model, filter and wire,
and `frame` of h2grpc.
"""
