"""What `flowd replay --to` may name."""

from collections.abc import Iterable

from flowd.errors import UsageError

KINDS = ("hubble", "flow-log", "otlp", "prometheus")


def parse_targets(texts: Iterable[str]) -> dict[str, str]:
    """`KIND=WHERE` by kind; prometheus needs no WHERE.

    Raises:
        UsageError: a KIND that is not known, comes twice, or lacks its WHERE.
    """
    found: dict[str, str] = {}
    for text in texts:
        kind, _, where = text.partition("=")
        if kind not in KINDS or kind in found or not (where or kind == "prometheus"):
            raise UsageError(
                f"--to {text!r} cannot be used",
                "once each: hubble=ADDRESS, flow-log=FILE, otlp=URL, prometheus[=FILE]",
            )
        found[kind] = where
    return found
