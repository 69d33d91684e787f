"""Write to stderr: error lines with exit codes, and the log in logfmt or JSON."""

import contextlib
import json
import logging
import sys
import time
from typing import Literal

from flowd.errors import FlowdError
from flowd.text import printable

LogFormat = Literal["logfmt", "json"]

_PLAIN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def report(error: FlowdError) -> int:
    """Print the message and the hint of an expected failure, a line each; return the exit code."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    print(f"flowd: error: {printable(error.message)}", file=sys.stderr)  # noqa: T201
    if error.hint:
        print(f"hint: {printable(error.hint)}", file=sys.stderr)  # noqa: T201
    return int(error.code)


def setup_logging(level: str = "info", form: LogFormat = "logfmt") -> None:
    """Send the root logger to stderr, one line for each event; suppress repeated warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(form))
    handler.addFilter(_RateLimit())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class _Formatter(logging.Formatter):
    """Format a record as logfmt (`time=… level=… msg=…`) or JSON, with the fields of `extra=`."""

    def __init__(self, form: LogFormat) -> None:
        super().__init__()
        self._json = form == "json"

    def format(self, record: logging.LogRecord) -> str:
        seconds, millis = divmod(int(record.created * 1000), 1000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{millis:03d}Z"
        fields: dict[str, object] = {
            "time": stamp,
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        fields |= {k: v for k, v in record.__dict__.items() if k not in _PLAIN}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if self._json:
            return json.dumps(fields, default=str)
        return " ".join(f"{key}={_quoted(str(value))}" for key, value in fields.items())


def _quoted(value: str) -> str:
    value = printable(value, 4096)
    if value and not any(c in value for c in ' "='):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _RateLimit(logging.Filter):
    """Pass one warning of each call site every ten seconds, with the number suppressed since."""

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self._seconds = seconds
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        key = (record.name, record.lineno, record.msg)
        last, suppressed = self._seen.get(key, (0.0, 0))
        if last and record.created - last < self._seconds:
            self._seen[key] = (last, suppressed + 1)
            return False
        self._seen[key] = (record.created, 0)
        if suppressed:
            record.repeated = suppressed
        return True
