"""What is wrong with a filter, naming the value."""

from flowd.errors import ExitCode, FlowdError


class FilterError(FlowdError):
    """A filter that cannot be built: a bad pattern, an unknown protocol."""

    code = ExitCode.USAGE


class UnsupportedFilter(FilterError):
    """A filter of Hubble's API that flowd does not have."""
