# SPDX-License-Identifier: Apache-2.0
"""``plexo._proto`` has no I/O, no clock and no chance in it: see the list of what it may import."""

import ast
from pathlib import Path

import pytest

import plexo._proto

ALLOWED = frozenset(
    (
        "__future__",
        "bisect",
        "collections",
        "collections.abc",
        "dataclasses",
        "enum",
        "hashlib",
        "hmac",
        "msgspec",
        "struct",
        "types",
        "typing",
    )
)
# Compiled, and as pure: test_public_surface.PURE.
COMPILED = frozenset(("plexo._fast.pgm", "plexo._fast.deframer", "plexo._fast.topics"))
ROOT = Path(plexo._proto.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


def foreign_imports(source: str) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append("." * node.level + (node.module or ""))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "__import__":
            found.append("__import__()")
    ours = ("plexo._proto", "plexo._proto.")
    return [
        name
        for name in found
        if name not in ALLOWED | COMPILED and name != ours[0] and not name.startswith(ours[1])
    ]


def test_modules_are_found() -> None:
    assert {"errors.py", "zmtp.py", "zmtp_commands.py", "zmtp_handshake.py"} <= {
        path.name for path in MODULES
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_imports_nothing_with_io(path: Path) -> None:
    assert foreign_imports(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio",
        "import typing, socket",
        "from time import monotonic",
        "def f():\n    import random",
        "from plexo import ganglion",
        "from . import x",
        "import plexo._protocol",
        "from plexo._fast.hub import Hub",
        "__import__('os')",
    ],
)
def test_the_reader_sees_what_it_must(source: str) -> None:
    assert foreign_imports(source)
