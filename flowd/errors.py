"""The exception tree: expected failures, each with a message, a hint and an exit code.

FlowdError
├── UsageError         2  a flag, setting, manifest or address that cannot be used
├── ConnectError       3  a server that cannot be reached
├── UnsupportedError   4  something this machine cannot do
└── TimedOut           5
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CONNECT = 3
    UNSUPPORTED = 4
    TIMEOUT = 5
    INTERRUPTED = 130


class FlowdError(Exception):
    """An expected failure.

    Attributes:
        message: one line with the fault and its place.
        hint: what to do about it; "" for none.
    """

    code = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(FlowdError):
    """A flag, setting, manifest or listen address cannot be used."""

    code = ExitCode.USAGE


class ConnectError(FlowdError):
    """A server cannot be reached."""

    code = ExitCode.CONNECT


class UnsupportedError(FlowdError):
    """This machine lacks a requirement: root, BTF or BCC."""

    code = ExitCode.UNSUPPORTED


class TimedOut(FlowdError):
    """A time limit has passed."""

    code = ExitCode.TIMEOUT
