"""Rules of the house that no linter checks: file length, requirements, links, docstrings."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 400


def tracked(*patterns: str) -> list[Path]:
    """Files of the project, without generated ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout: cannot list the project's files")
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return [ROOT / name for name in names if "_pb2" not in name and (ROOT / name).is_file()]


def test_no_file_is_longer_than_the_limit() -> None:
    sizes = {p: len(p.read_text().splitlines()) for p in tracked("*.py", "*.c", "*.h", "*.sh")}
    assert len(sizes) > 20
    assert not {str(p): n for p, n in sizes.items() if n > LIMIT}


def test_other_peoples_bcc_and_flowd_are_not_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *(r for extra in project["project"]["optional-dependencies"].values() for r in extra),
        *(r for g in project["dependency-groups"].values() for r in g if isinstance(r, str)),
    ]
    names = {re.split(r"[^A-Za-z0-9_.-]", requirement)[0].lower() for requirement in wanted}
    locked = {p["name"] for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    assert "grpcio" in names & locked
    assert not {"bcc", "flowd", "bpfcc"} & (names | locked)


def test_the_lock_covers_every_requirement() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = {p["name"] for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    for requirement in project["project"]["dependencies"]:
        assert re.split(r"[^A-Za-z0-9_-]", requirement)[0].lower() in locked


def test_every_python_file_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in tracked("flowd/**/*.py", "bpf/**/*.py", "exporters/**/*.py", "tui/**/*.py")
        if (text := path.read_text().strip()) and not text.startswith(('"""', "#!"))
    ]
    assert not silent


def test_links_in_the_docs_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in tracked("*.md", "docs/**/*.md")
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not broken
