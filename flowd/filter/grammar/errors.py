"""What is wrong with a filter, naming the value."""

from flowd.errors import ExitCode, FlowdError


class FilterError(FlowdError):
    """A filter that cannot be built: a bad pattern, an unknown protocol."""

    code = ExitCode.USAGE


class UnsupportedFilter(FilterError):
    """A filter of Hubble's API that needs a library which is not installed."""


class CostlyFilter(FilterError):
    """A filter that costs more than a request may take."""


class ExpressionError(FilterError):
    """A CEL expression that does not compile, or is not boolean."""
