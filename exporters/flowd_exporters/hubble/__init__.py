"""Hubble's API over flow rows: Observer and Peer, as the unmodified hubble tools expect them."""

from flowd_exporters.hubble.exporter import HubbleExporter

__all__ = ["HubbleExporter"]
