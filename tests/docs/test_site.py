# SPDX-License-Identifier: Apache-2.0
"""The check of the built site finds what it is for. That check itself is part of `make docs`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.check_site import faults, public_names

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
