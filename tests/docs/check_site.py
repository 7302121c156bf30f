# SPDX-License-Identifier: Apache-2.0
"""What `make docs` has built: python tests/docs/check_site.py

mkdocs refuses links that lead nowhere. This looks at what it does not: every public name is in the reference, with its
docstring; nothing is fetched from other hosts; llms.txt has every page and what it names exists; no mark of a listing
is left over. Needs nothing but Python, and the site.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build/site"

# Elements that make a browser fetch something, and the attribute that says what.
FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}


def public_names() -> list[str]:
    """`plexo.__all__`, without importing it."""
    for node in ast.parse((ROOT / "src/plexo/__init__.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            names: list[str] = ast.literal_eval(node.value)
            return names
    raise AssertionError("plexo/__init__.py has no __all__")


class Page(HTMLParser):
    """What is fetched for a page, and the paragraphs below each id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.prose: dict[str, str] = {}
        self._id = ""
        self._in_paragraph = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        target = attributes.get(FETCHED.get(tag, ""))
        if target is not None and attributes.get("rel") not in ("next", "prev", "canonical"):
            self.fetched.append(target)
        if attributes.get("id"):
            self._id = str(attributes["id"])
            self.prose.setdefault(self._id, "")
        self._in_paragraph = self._in_paragraph or tag == "p"

    def handle_endtag(self, tag: str) -> None:
        self._in_paragraph = self._in_paragraph and tag != "p"

    def handle_data(self, data: str) -> None:
        if self._id and self._in_paragraph:
            self.prose[self._id] += data


def faults(site: Path) -> Iterator[str]:
    pages = {
        path.relative_to(site).as_posix(): Page(path.read_text("utf-8")) for path in site.rglob("*.html")
    }
    for name, page in pages.items():
        for target in page.fetched:
            if re.match(r"(\w+:)?//", target):
                yield f"{name}: {target} is on another host"
    for path in site.rglob("*.css"):
        for target in re.findall(r"url\((?!data:)[\"']?(\w+://[^)]+)\)", path.read_text("utf-8")):
            yield f"{path.name}: {target} is on another host"

    described: dict[str, str] = {}
    for name, page in pages.items():
        if name.startswith("reference/"):
            described.update((anchor.rpartition(".")[2], prose) for anchor, prose in page.prose.items())
    for name in public_names():
        if name not in described:
            yield f"reference: plexo.{name} is not in it"
        elif not described[name].strip():
            yield f"reference: plexo.{name} has no docstring there"

    yield from _faults_of_llms_txt(site, set(pages))


def _faults_of_llms_txt(site: Path, pages: set[str]) -> Iterator[str]:
    text = (site / "llms.txt").read_text("utf-8")
    if not re.match(r"# plexo\n\n> .+\n\n", text):
        yield "llms.txt: expected to begin with a title and a summary"
    listed = re.findall(r"^- \[.+?\]\((.+?\.md)\): .{10,}$", text, re.MULTILINE)
    for line in text.splitlines():
        if line.startswith("- ") and not re.fullmatch(r"- \[.+?\]\(.+?\.md\): .{10,}", line):
            yield f"llms.txt: expected a link and a sentence, got {line!r}"
    missing = pages - {"404.html"} - {page.removesuffix(".md") + ".html" for page in listed}
    yield from (f"llms.txt: {page} is not in it" for page in sorted(missing))
    full = (site / "llms-full.txt").read_text("utf-8")
    for page in listed:
        if not (site / page).is_file():
            yield f"llms.txt: {page} does not exist"
        elif (site / page).read_text("utf-8") not in full:
            yield f"llms-full.txt: {page} is not in it"
    for path in (*site.rglob("*.md"), *site.rglob("*.html")):
        if "--8<--" in path.read_text("utf-8"):
            yield f"{path.relative_to(site)}: a listing was not filled in"


def main() -> None:
    if not (SITE / "index.html").is_file():
        sys.exit(f"{SITE}: there is no site; run make docs")
    found = list(faults(SITE))
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
