"""Errors of the demo that its command line prints with a hint."""


class DemoError(Exception):
    """An expected failure: a message, and a hint how to remedy it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NetworkError(DemoError):
    """Network namespaces cannot be created; the demo can still run on loopback addresses."""
