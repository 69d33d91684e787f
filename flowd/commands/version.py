"""`flowd version`: print the versions that a bug report needs."""

import json
import platform
import re

import click

from flowd import __version__
from flowd_bpf.load.bcc import MissingBcc, find_bcc


@click.command("version")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Format.")
def command(output: str) -> None:
    """Print the versions of flowd, Python, the kernel and BCC."""
    versions = {
        "version": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
        "kernel": platform.release(),
        "bcc": bcc_version(),
    }
    if output == "json":
        click.echo(json.dumps(versions))
        return
    click.echo(f"flowd {__version__}")
    for name, value in list(versions.items())[1:]:
        click.echo(f"{name}: {value or 'not installed'}")


def bcc_version() -> str:
    """Version of the distribution's BCC, read from its file without importing it; "" if missing."""
    try:
        text = (find_bcc() / "version.py").read_text("utf-8", "replace")
    except MissingBcc:
        return ""
    except OSError:
        return "unknown"
    found = re.search(r"__version__\s*=\s*['\"]([\w.+~-]{1,40})['\"]", text)
    return found[1] if found else "unknown"
