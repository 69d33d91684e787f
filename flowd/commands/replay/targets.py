"""Parse the targets of `flowd replay --to`: KIND=WHERE."""

from collections.abc import Iterable

from flowd.errors import UsageError

KINDS = ("hubble", "flow-log", "otlp", "prometheus")


def parse_targets(texts: Iterable[str]) -> dict[str, str]:
    """Address, path or URL of each target, by kind; "" for prometheus without one.

    Raises:
        UsageError: a kind is unknown, given twice, or lacks its address, path or URL.
    """
    found: dict[str, str] = {}
    for text in texts:
        kind, _, target = text.partition("=")
        if kind not in KINDS or kind in found or not (target or kind == "prometheus"):
            raise UsageError(
                f"--to {text!r} cannot be used",
                "once each: hubble=ADDRESS, flow-log=FILE, otlp=URL, prometheus[=FILE]",
            )
        found[kind] = target
    return found
