"""Make self-signed certificates with the openssl command."""

import os
import shutil
import subprocess
from pathlib import Path

from demo.cluster.errors import DemoError


def make(directory: Path, name: str, hosts: list[str]) -> None:
    """Write `<name>.crt` and `<name>.key` (ECDSA P-256, PEM) for the hosts, valid for a year.

    Raises:
        DemoError: openssl is missing or fails.
    """
    openssl = shutil.which("openssl")
    if not openssl:
        raise DemoError("openssl is not installed", "apt-get install openssl")
    key = directory / f"{name}.key"
    os.close(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    names = ",".join(f"DNS:{host}" for host in hosts)
    command = [openssl, "req", "-x509", "-nodes", "-days", "365", "-subj", f"/CN={hosts[0]}"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-addext", f"subjectAltName={names}"]
    command += ["-keyout", str(key), "-out", str(directory / f"{name}.crt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise DemoError(f"openssl req: {reason[-1] if reason else done.returncode}")
