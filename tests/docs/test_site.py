# SPDX-License-Identifier: Apache-2.0
"""`make docs` fails where it should: mkdocs at links that lead nowhere, the check of what was built at the rest."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.check_site import ROOT, faults, public_names

LINE = "- [Queues](queues.md): Every queue has an end.\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A small one with nothing wrong."""
    (tmp_path / "reference").mkdir()
    described = "".join(
        f'<h2 id="plexo.{name}">{name}</h2><pre>{name}(a: int)</pre><p>What it is.</p>'
        for name in public_names()
    )
    (tmp_path / "reference/all.html").write_text(described)
    (tmp_path / "queues.html").write_text(
        '<img src="board.svg"><p>text <a href="https://www.rfc-editor.org/">x</a></p>'
    )
    (tmp_path / "site.css").write_text("a { background: url(board.svg) }")
    for page in ("queues.md", "reference/all.md"):
        (tmp_path / page).write_text(f"# {page}\n")
    listed = LINE + "- [All](reference/all.md): What there is to be imported.\n"
    (tmp_path / "llms.txt").write_text(f"# plexo\n\n> Typed messages\n\n## Guide\n\n{listed}")
    (tmp_path / "llms-full.txt").write_text("# queues.md\n\n\n# reference/all.md\n")
    return tmp_path


def test_nothing_is_wrong_with_a_good_site(site: Path) -> None:
    assert list(faults(site)) == []


@pytest.mark.parametrize(
    ("file", "what", "instead", "fault"),
    [
        ("reference/all.html", "plexo.Queue", "plexo.Other", "plexo.Queue is not in it"),
        (
            "reference/all.html",
            "<pre>Queue(a: int)</pre><p>What it is.</p>",
            "<p></p>",
            "plexo.Queue has no docstring",
        ),
        ("queues.html", "board.svg", "https://img.example/board.svg", "on another host"),
        ("queues.html", '<img src="', '<script src="//cdn.example/', "on another host"),
        ("queues.html", "text", "--8<--", "a listing was not filled in"),
        ("site.css", "board.svg", "'https://fonts.example/a.woff2'", "on another host"),
        ("llms.txt", "> Typed messages", "Typed messages", "title and a summary"),
        ("llms.txt", LINE, "", "queues.html is not in it"),
        ("llms.txt", LINE, "- [Queues](queues.md): \n", "expected a link and a sentence"),
        ("llms.txt", "reference/all.md", "reference/none.md", "reference/none.md does not exist"),
        ("llms-full.txt", "# queues.md", "", "queues.md is not in it"),
    ],
)
def test_a_fault_is_found(site: Path, file: str, what: str, instead: str, fault: str) -> None:
    before = (site / file).read_text()
    assert what in before
    (site / file).write_text(before.replace(what, instead))
    found = list(faults(site))
    assert any(fault in each for each in found), found


# What is written into a page, and what of it mkdocs must name.
BROKEN = {
    "docs/queues.md": {
        "[a](no-page.md)": "no-page.md",
        "[a](ganglia.md#no-heading)": "#no-heading",
        "[a](../examples/no_example.py)": "#no_example",
        "[a](/no-root.md)": "/no-root.md",
    },
    "README.md": {"[a](docs/no-page-of-the-readme.md)": "no-page-of-the-readme.md"},
    "SECURITY.md": {"[a](docs/ganglia.md#no-heading-of-security)": "#no-heading-of-security"},
    "docs/not-in-nav.md": {"# A page": "not-in-nav.md"},
}


@pytest.mark.time_limit(90)
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs mkdocs: make docs")
def test_broken_links_are_errors(tmp_path: Path) -> None:
    """With the command of the Makefile, on a copy."""
    command = re.search(r"/(mkdocs build .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert command is not None
    for name in ("docs", "examples", "bench", "src/plexo", "src/_fast"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", "target")
        )
    for path in (
        *ROOT.glob("*.md"),
        ROOT / "mkdocs.yml",
        ROOT / "pyproject.toml",
        ROOT / "LICENSE",
        ROOT / "Makefile",
    ):
        shutil.copy(path, tmp_path)
    for name in ("tests", ".ci"):  # links lead there
        (tmp_path / name).symlink_to(ROOT / name)
    for page, texts in BROKEN.items():
        with (tmp_path / page).open("a") as file:
            file.write("".join(f"\n\n{text}\n" for text in texts))
    done = subprocess.run(
        [sys.executable, "-m", *command[1].split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=80,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode != 0
    expected = [part for texts in BROKEN.values() for part in texts.values()]
    for part in expected:
        assert part in done.stderr
    assert len(re.findall("^WARNING", done.stderr, re.MULTILINE)) == len(expected), done.stderr
