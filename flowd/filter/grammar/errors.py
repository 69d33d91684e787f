"""Errors of filters; the message names the invalid value."""

from flowd.errors import ExitCode, FlowdError


class FilterError(FlowdError):
    """An invalid filter: a malformed pattern, an unknown protocol."""

    code = ExitCode.USAGE


class UnsupportedFilter(FilterError):
    """A filter of Hubble's API that needs a library which is not installed."""


class CostlyFilter(FilterError):
    """A filter that exceeds the CPU bound of a request."""


class ExpressionError(FilterError):
    """A CEL expression that does not compile, or is not boolean."""
