# SPDX-License-Identifier: Apache-2.0
"""For the reference: docstrings as mkdocstrings needs them, and as Markdown for llms-full.txt.

* The types of compiled things are in stubs, `src/plexo/_fast/*.pyi`, which have no docstrings; these are in
  `src/_fast/*.pyx`. Both are read as text, so that the documentation is built without compiling or importing anything.
* What is set in columns in a docstring stays so: as Markdown it would flow together.
"""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path
from typing import Any

import griffe
from griffe import Class, Docstring, Extension, Function, Module, Object

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"

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
            source = SOURCE / "_fast" / f"{name}.pyx"
            if source.is_file():
                for qualified, text in docstrings(source.read_text("utf-8")).items():
                    _give(module, qualified, text)
        _mark_up(pkg, _described())


def _give(module: Module, qualified: str, text: str) -> None:
    found: Any = module
    for part in qualified.split("."):
        if part not in found.members:
            return
        found = found.members[part]
    if isinstance(found, (Class, Function)) and found.docstring is None:
        found.docstring = Docstring(text, parent=found)
    if isinstance(found, Class) and "__new__" in found.members and "__init__" not in found.members:
        # Where mkdocstrings looks for what a class is called with.
        found.set_member("__init__", Function("__init__", parameters=found.members["__new__"].parameters))


def _described() -> dict[str, str]:
    """What has a place in the reference, by its own name: the path that is its anchor."""
    pages = (ROOT / "docs/reference").glob("*.md")
    paths = [
        path
        for page in pages
        for path in re.findall(r"^::: ([\w.]+)$", page.read_text("utf-8"), re.MULTILINE)
    ]
    return {path.rpartition(".")[2]: path for path in paths}


def _mark_up(found: Object, described: dict[str, str]) -> None:
    if isinstance(found, Class):
        # A base that is not public is there for its own bases.
        found.bases = [
            base
            for each in found.bases
            for base in (
                found.parent[str(each)].bases if re.fullmatch(r"_[a-zA-Z]\w*", str(each)) else [each]
            )
        ]
    if found.docstring is not None:
        found.docstring.value = as_prose(found.docstring.value, described)
    for member in found.members.values():
        if not member.is_alias:
            _mark_up(member, described)


def as_prose(text: str, described: dict[str, str]) -> str:
    """As Markdown: paragraphs that have columns become blocks of code, and `see GanglionBase` a link."""
    return "\n\n".join(
        f"```text\n{paragraph}\n```"
        if re.search(r"\S {3,}\S", paragraph)
        else re.sub(r"\b([Ss]ee )(\w+)\b", lambda found: _linked(found, described), paragraph)
        for paragraph in re.split(r"\n\s*\n", text)
    )


def _linked(found: re.Match[str], described: dict[str, str]) -> str:
    path = described.get(found[2])
    return f"{found[1]}[{found[2]}][{path}]" if path else found[0]


# -- for llms-full.txt -------------------------------------------------------------------------------------------


@functools.cache
def _package() -> Module:
    extensions = griffe.load_extensions(Docstrings)
    package = griffe.load("plexo", search_paths=[SOURCE], allow_inspection=False, extensions=extensions)
    assert isinstance(package, Module)
    return package


def as_markdown(path: str, members: bool = True) -> str:
    """What the reference says of `path`, such as `plexo.Plexus`: of a class, and its members; of a module's classes."""
    found: Any = _package()[path.removeprefix("plexo.")]
    if found.is_alias:
        found = found.final_target
    if not found.is_module:
        return _entry(found, path.rpartition(".")[0], members)
    classes = [each for each in found.members.values() if not each.is_alias and each.is_class]
    return "\n".join(_entry(each, path) for each in classes if _public(each))


def _public(found: Any) -> bool:
    return not found.name.startswith("_") and found.docstring is not None


def _entry(found: Any, module: str, members: bool = True) -> str:
    lines = [
        f"## {found.name}",
        "",
        f"```python\nfrom {module} import {found.name}\n\n{_signature(found)}\n```",
        "",
    ]
    lines += [found.docstring.value if found.docstring else "", ""]
    for member in found.all_members.values() if found.is_class and members else ():
        if _public(member) and (member.is_function or member.is_attribute):
            lines += [f"### {found.name}.{member.name}", ""]
            lines += [f"```python\n{_signature(member)}\n```", ""] if member.is_function else []
            lines += [member.docstring.value, ""]
    return re.sub(r"\[(\w+)\]\[[\w.]+\]", r"\1", "\n".join(lines))


def _signature(found: Any) -> str:
    call = found
    if found.is_class:
        call = found.all_members.get("__init__") or found.all_members.get("__new__")
        if call is None or not call.is_function:
            return f"class {found.name}"
    parameters = ", ".join(
        f"{_STARS.get(each.kind, '')}{each.name}"
        + (f": {each.annotation}" if each.annotation else "")
        + (f" = {each.default}" if each.default and each.kind not in _STARS else "")
        for each in call.parameters
        if each.name not in ("self", "cls")
    )
    returns = f" -> {call.returns}" if call.returns and not found.is_class else ""
    word = "class" if found.is_class else "async def" if "async" in call.labels else "def"
    return f"{word} {found.name}({parameters}){returns}"


_STARS = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}
