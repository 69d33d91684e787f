"""Hubble's API over flow rows: Observer and Peer, as the unmodified hubble tools expect them."""
