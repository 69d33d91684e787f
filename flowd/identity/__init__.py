"""Identities: from IP addresses, node ports and DNS names to endpoints and numeric identities.

`table.py` is the entry point; `claims.py` and `address_claims.py` decide which object owns an
address, `allocator.py` derives the numeric identities, `history.py` keeps reused addresses.
Input: snapshots of `flowd.kubernetes.objects`, and the host's addresses in /proc/net. Output:
endpoints in `flowd.model.directory`, and index columns for the pipeline. May import
`flowd.kubernetes.objects`, `flowd.model` and `flowd.text`.
"""
