"""What the demo tells a person when it cannot go on."""


class DemoError(Exception):
    """An expected failure: what and where, and what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NetworkError(DemoError):
    """Network namespaces cannot be made; the demo can still run on loopback addresses."""
