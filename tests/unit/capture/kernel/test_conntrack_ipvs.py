"""IPVS without conntrack entries is reported where it has services, and only there."""

from pathlib import Path

import pytest

from flowd.capture.kernel import conntrack

HEAD = """IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
"""
SERVICE = """TCP  0A600001:0050 rr
  -> 0A340002:1F90      Masq    1      0          0
"""


@pytest.mark.parametrize(
    ("listed", "setting", "unseen"),
    [
        (HEAD + SERVICE, "0\n", True),
        (HEAD + SERVICE, "1\n", False),
        (HEAD, "0\n", False),
        (None, None, False),
        (None, "0\n", False),
    ],
)
def test_unseen(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    listed: str | None,
    setting: str | None,
    unseen: bool,
) -> None:
    for name, text in (("IPVS", listed), ("IPVS_CONNTRACK", setting)):
        path = tmp_path / name
        if text is not None:
            path.write_text(text)
        monkeypatch.setattr(conntrack, name, path)
    assert conntrack.ipvs_unseen() is unseen
