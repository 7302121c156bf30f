# SPDX-License-Identifier: Apache-2.0
"""For the reference: docstrings as mkdocstrings needs them.

* The types of compiled things are in stubs, `src/plexo/_fast/*.pyi`, which have no docstrings; these are in
  `src/_fast/*.pyx`. Both are read as text, so that the documentation is built without compiling or importing anything.
* What is set in columns in a docstring stays so: as Markdown it would flow together.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from griffe import Class, Docstring, Extension, Function, Module, Object

SOURCES = Path(__file__).resolve().parents[2] / "src/_fast"

_DEFINITION = re.compile(r"( *)(?:cdef |cpdef |async )*(class|def) (\w+)")


def docstrings(source: str) -> dict[str, str]:
    """By qualified name, `Queue` or `Exchange.transmit_nowait`."""
    found: dict[str, str] = {}
    inside: list[tuple[int, str]] = []
    lines = source.split("\n")
    for number, line in enumerate(lines):
        match = _DEFINITION.match(line)
        if match is None:
            continue
        indent, name = len(match[1]), match[3]
        inside = [(depth, outer) for depth, outer in inside if depth < indent]
        end = number
        while not lines[end].rstrip().endswith(":") and end < number + 20:
            end += 1
        rest = "\n".join(lines[end + 1 :]).lstrip()
        qualified = ".".join([*(outer for _, outer in inside), name])
        if rest.startswith('"""'):
            found[qualified] = inspect.cleandoc(rest[3:].partition('"""')[0])
        if match[2] == "class":
            inside.append((indent, name))
    return found


class Docstrings(Extension):
    """Gives objects of `plexo._fast` what their sources say, and columns a fence."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        for name, module in pkg["_fast"].modules.items():
            source = SOURCES / f"{name}.pyx"
            if source.is_file():
                for qualified, text in docstrings(source.read_text("utf-8")).items():
                    _give(module, qualified, text)
        _set_columns(pkg)


def _give(module: Module, qualified: str, text: str) -> None:
    found: Any = module
    for part in qualified.split("."):
        if part not in found.members:
            return
        found = found.members[part]
    if isinstance(found, (Class, Function)) and found.docstring is None:
        found.docstring = Docstring(text, parent=found)


def _set_columns(found: Object) -> None:
    if found.docstring is not None:
        found.docstring.value = with_columns(found.docstring.value)
    for member in found.members.values():
        if not member.is_alias:
            _set_columns(member)


def with_columns(text: str) -> str:
    """Paragraphs that have columns become blocks of code."""
    paragraphs = re.split(r"\n\s*\n", text)
    return "\n\n".join(
        f"```text\n{paragraph}\n```" if re.search(r"\S {3,}\S", paragraph) else paragraph
        for paragraph in paragraphs
    )
