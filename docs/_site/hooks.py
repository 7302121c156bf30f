# SPDX-License-Identifier: Apache-2.0
"""What the site is besides the pages in docs/: pages that have their home elsewhere, llms.txt.

* README.md is the first page, SECURITY.md and others are pages too. They stay where a visitor of the repository looks
  for them, and links are written as they work there. On the site a link to a file that is a page leads to that page,
  any other to the repository (`repository_url`). A link to what does not exist is a warning, so an error.
* The comments that tell the tests what a block is (see tests/test_docs.py) become titles of blocks.
* llms.txt is made of `nav`: a title, a summary, and for every page a link to its Markdown and its first sentence. The
  Markdown of every page, with its listings filled in, lies beside its HTML, and all of it in llms-full.txt.
"""

from __future__ import annotations

import ast
import importlib.util
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from markdown import Markdown
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# Pages whose text is elsewhere in the repository.
BORROWED = {
    "index.md": "README.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "bench.md": "bench/README.md",
}
EXAMPLES_PAGE = "examples.md"

_LINK = re.compile(r"(?P<label>!?\[[^\]]*\])\((?P<target>[^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_MARKED_FENCE = re.compile(
    r"^<!-- (?P<kind>file|prints)(?:: (?P<what>[^\n]*?))? -->\n```(?P<language>\w+)$", re.MULTILINE
)
# What mkdocstrings fills in: a name, and options.
_DIRECTIVE = re.compile(r"^::: (?P<name>[\w.]+)\n(?P<options>(?: +\S.*\n)*)", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)

# Markdown of the pages of this build, by source path, before listings are filled in.
_texts: dict[str, str] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Borrow pages, and show the examples on a page."""
    _texts.clear()
    for uri, home in BORROWED.items():
        files.append(File.generated(config, uri, content=(ROOT / home).read_text("utf-8")))
    files.append(File.generated(config, EXAMPLES_PAGE, content=_examples()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are on the site; marks of the tests as titles."""
    uri = page.file.src_uri
    text = _outside_of_fences(markdown, lambda prose: _LINK.sub(lambda link: _link(link, uri, files), prose))
    text = _MARKED_FENCE.sub(_title, text)
    _texts[uri] = text
    return text


def on_post_build(config: MkDocsConfig) -> None:
    """Markdown beside the HTML, llms.txt and llms-full.txt."""
    site = Path(config.site_dir)
    reference = _load("reference")
    full = []
    for uri, text in _texts.items():
        filled = _plain(text, config, reference)
        target = site / uri
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(filled, "utf-8")
        full.append(f"<!-- {uri} -->\n\n{filled}")
    (site / "llms.txt").write_text(_llms_txt(config), "utf-8")
    (site / "llms-full.txt").write_text("\n\n".join(full), "utf-8")


def _load(name: str) -> ModuleType:
    """A neighbour of this file: hooks are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- links -------------------------------------------------------------------------------------------------------


def _outside_of_fences(text: str, change: Any) -> str:
    parts, end = [], 0
    for fence in _FENCED.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def _link(match: re.Match[str], uri: str, files: Files) -> str:
    path, hash_, anchor = match["target"].partition("#")
    if not path or ":" in path:
        return match[0]
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(_home_of(uri)), path))
    page = _page_of(wanted)
    if page == EXAMPLES_PAGE and wanted != "examples":
        hash_, anchor = "#", Path(wanted).stem
    if files.get_file_from_path(page):
        target = posixpath.relpath(page, posixpath.dirname(uri) or ".")
    elif not wanted.startswith("..") and (ROOT / wanted).exists():
        target = f"{_repository_url()}/blob/HEAD/{wanted}"
    else:
        return match[0]  # and mkdocs warns
    return f"{match['label']}({target}{hash_}{anchor})"


def _home_of(uri: str) -> str:
    """Where in the repository a page of the site is written."""
    return BORROWED.get(uri, f"docs/{uri}")


def _page_of(path: str) -> str:
    """The page that shows a file of the repository, if there is one."""
    if path == "examples" or re.fullmatch(r"examples/\w+\.py", path):
        return EXAMPLES_PAGE
    borrowed = {home: uri for uri, home in BORROWED.items()}
    return borrowed.get(path, path.removeprefix("docs/"))


def _repository_url() -> str:
    found = re.search(r'^Source = "(.+?)/?"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert found is not None, "pyproject.toml names no source"
    return found[1]


# -- blocks ------------------------------------------------------------------------------------------------------


def _title(match: re.Match[str]) -> str:
    title = match["what"] if match["kind"] == "file" else f"{match['what'] or 'it'} prints"
    return f'```{match["language"]} title="{title}"'


def _examples() -> str:
    parts = [
        "# Examples\n\nPrograms that each show one thing, from `examples` of the sources; "
        "the tests run every one of them. Copy one, and run it as its first lines say.\n"
    ]
    for path in sorted((ROOT / "examples").glob("*.py")):
        code = path.read_text("utf-8")
        first = (ast.get_docstring(ast.parse(code)) or "").partition("\n")[0]
        body = code.partition("\n")[2]  # without the line of the licence
        parts.append(f'## {path.stem}\n\n{first}\n\n```python title="{path.name}"\n{body}```\n')
    return "\n".join(parts)


# -- llms.txt ----------------------------------------------------------------------------------------------------


def _plain(text: str, config: MkDocsConfig, reference: ModuleType) -> str:
    """A page's Markdown with its listings and what the reference says, and without comments."""
    markdown = Markdown(
        extensions=["pymdownx.snippets"],
        extension_configs={"pymdownx.snippets": config.mdx_configs["pymdownx.snippets"]},
    )
    text = _COMMENT.sub("", "\n".join(markdown.preprocessors["snippet"].run(text.split("\n"))))
    return _DIRECTIVE.sub(
        lambda found: reference.as_markdown(found["name"], "members: []" not in found["options"]), text
    )


def _summary(uri: str) -> str:
    """The first sentence below the heading."""
    prose = _COMMENT.sub("", _FENCED.sub("", _texts[uri]))
    for paragraph in re.split(r"\n\s*\n", prose):
        if paragraph.strip() and not paragraph.lstrip("\n").startswith(("#", "|", "!", ":::", "    ")):
            flat = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
            return re.split(r"(?<=[.?])\s", flat, maxsplit=1)[0].rstrip(":")
    return ""


def _llms_txt(config: MkDocsConfig) -> str:
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", ""]
    lines += ["Every page as Markdown; all of them in one file: [llms-full.txt](llms-full.txt).", ""]
    lines += ["## Start", ""]
    for entry in config.nav:
        ((title, below),) = entry.items()
        if isinstance(below, str):
            lines.append(_llms_line(title, below))
        else:
            lines += ["", f"## {title}", ""]
            lines += [_llms_line(name, uri) for name, uri in _leaves(title, below)]
    return "\n".join([*lines, ""])


def _leaves(section: str, entries: list[Any]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        if isinstance(entry, str):
            yield section, entry
        else:
            yield from entry.items()


def _llms_line(title: str, uri: str) -> str:
    return f"- [{title}]({uri}): {_summary(uri)}"
