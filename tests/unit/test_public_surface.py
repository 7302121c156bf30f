# SPDX-License-Identifier: Apache-2.0
"""What others build on stays where it is: names, floors, sizes, and what an import costs."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import plexo

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for pattern in ("*.py", "*.pyi", "*.pyx", "*.pxd") for path in (ROOT / "src").rglob(pattern)
)
MODULES = [path for path in SOURCES if path.suffix == ".py"]
MAX_LINES = 500


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# -- names -------------------------------------------------------------------------------------------------

PUBLIC = {
    "AckNotSupported",
    "AmbiguousNeuron",
    "Axon",
    "Book",
    "BytesCodec",
    "CapnpCodec",
    "CapnpyCodec",
    "Cause",
    "Closed",
    "CodecNotFound",
    "Collector",
    "DeadLetter",
    "DecodeError",
    "EncodeError",
    "EventLoopNotSupported",
    "Failure",
    "GanglionInproc",
    "GanglionPlexoMulticast",
    "GanglionStats",
    "GanglionZmqTcpPair",
    "GanglionZmqTcpPubSub",
    "HandshakeFailed",
    "JournalError",
    "JsonCodec",
    "LinkError",
    "LinkEvent",
    "LinkEventKind",
    "MessageTooLarge",
    "MsgpackCodec",
    "Namespace",
    "Neuron",
    "NoResponder",
    "NotDelivered",
    "NumpyCodec",
    "PickleCodec",
    "PlexoError",
    "Plexus",
    "ProtocolError",
    "Queue",
    "QueueFull",
    "RemoteError",
    "RequestTimeout",
    "Stream",
    "StringCodec",
    "TransmitterNotFound",
    "UnpicklingRefused",
    "UsedAfterFork",
    "WrongType",
    "topic_hash",
}


def test_public_names_are_pinned() -> None:
    assert set(plexo.__all__) == PUBLIC
    assert len(plexo.__all__) == len(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_object_says_what_it_is(name: str) -> None:
    public = getattr(plexo, name)
    assert inspect.getdoc(public)
    if inspect.isclass(public):
        assert public.__doc__, "the docstring is an ancestor's"


def test_every_public_name_leads_to_one_object() -> None:
    assert all(getattr(plexo, name) is getattr(plexo, name) for name in PUBLIC)
    assert set(dir(plexo)) >= PUBLIC


# -- files -------------------------------------------------------------------------------------------------


def test_sources_are_found() -> None:
    assert {"src/plexo/plexus.py", "src/_fast/dispatch.pyx", "src/plexo/_fast/dispatch.pxd"} <= {
        relative(path) for path in SOURCES
    }


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_first_line_is_the_licence(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not text or text.startswith("# SPDX-License-Identifier: Apache-2.0\n")


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not text or ast.get_docstring(ast.parse(text))


def test_every_compiled_module_has_its_types_and_declarations() -> None:
    stems = {path.stem for path in (ROOT / "src/_fast").glob("*.pyx")}
    assert stems == {path.stem for path in (ROOT / "src/plexo/_fast").glob("*.pyi")}
    assert stems == {path.stem for path in (ROOT / "src/plexo/_fast").glob("*.pxd")}


# -- floors ------------------------------------------------------------------------------------------------

# From the cellar up; a module imports from its own floor and those below (DESIGN.md). What only a type checker
# reads is free to point up.
FLOORS = (
    (
        "typing",
        "exceptions",
        "reaction",
        "statistics",
        "arity",
        "failure",
        "host_information",
        "ip_lease",
        "timer",
        "_proto",
    ),
    ("_fast",),
    ("namespace", "codec", "neuron"),
    ("dendrite", "transmitter", "synapse", "batches"),
    ("stream", "collector", "ganglion"),
    ("asking", "receiving", "plexus", "axon"),
    ("", "__main__", "cli", "demo"),
)
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}
# Of the protocols, some are compiled where they read bytes: they know of nothing but each other.
# (Of topics the hash; the table draws a secret.)
PURE = {"plexo._fast.pgm", "plexo._fast.deframer", "plexo._fast.topics"}
# Names of types only, in submodules of plexo.typing that runtime code of lower floors does not load.
SIGNATURES = {"src/plexo/typing/reactant.py", "src/plexo/typing/responder.py"}
# Where 1.0 has it: a synapse that is used without a ganglion, so it brings one of its own.
ABOVE = {"src/plexo/synapse/zeromq_plexopubsub_epgm.py"}


def imported_by_python(path: Path) -> set[str]:
    found: set[str] = set()

    class Reader(ast.NodeVisitor):
        def visit_If(self, node: ast.If) -> None:
            if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                for child in node.orelse:
                    self.visit(child)
            else:
                self.generic_visit(node)

        def visit_Import(self, node: ast.Import) -> None:
            found.update(alias.name for alias in node.names)

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            assert node.level == 0, f"{relative(path)}:{node.lineno}: imports are absolute here"
            if node.module == "plexo":
                found.update(f"plexo.{alias.name}" for alias in node.names)
            else:
                found.add(node.module or "")

    Reader().visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def imported_by_cython(path: Path) -> set[str]:
    return set(
        re.findall(r"^\s*(?:from|cimport|import)\s+(plexo[\w.]*)", path.read_text(encoding="utf-8"), re.M)
    )


def room_of(name: str) -> str:
    """The first part below `plexo`: that is what has a floor."""
    return name.partition(".")[2].partition(".")[0]


def room_of_file(path: Path) -> str:
    if path.suffix == ".pyx":
        return "_fast"
    inner = path.relative_to(ROOT / "src/plexo")
    return "" if inner == Path("__init__.py") else inner.parts[0].removesuffix(".py")


CODE = [path for path in SOURCES if path.suffix != ".pyi"]


@pytest.mark.parametrize("path", CODE, ids=relative)
def test_imports_go_down(path: Path) -> None:
    if relative(path) in SIGNATURES | ABOVE:
        return
    room = room_of_file(path)
    assert room in FLOOR_OF, f"give plexo.{room} a floor"
    imported = imported_by_python(path) if path.suffix == ".py" else imported_by_cython(path)
    upward = [
        name
        for name in sorted(imported)
        if (name == "plexo" or name.startswith("plexo."))
        and FLOOR_OF.get(room_of(name), FLOOR_OF[""]) > FLOOR_OF[room]
        and not (room == "_proto" and name in PURE)
    ]
    assert not upward


@pytest.mark.parametrize("name", sorted(PURE))
def test_compiled_protocols_import_each_other_alone(name: str) -> None:
    source = ROOT / "src/_fast" / f"{name.rpartition('.')[2]}.pyx"
    ours = {imported for imported in imported_by_cython(source) if imported.startswith("plexo")}
    assert ours <= PURE


@pytest.mark.parametrize("path", [path for path in CODE if room_of_file(path) == "_fast"], ids=relative)
def test_compiled_modules_know_no_ganglion(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"^\s*(from|import|cimport)\s+plexo\.ganglion", source, re.M)


def test_the_reader_of_imports_sees_what_it_must(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        "import plexo.plexus\nfrom plexo import axon\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import plexo.demo\nelse:\n    import plexo.stream\n"
        "def late():\n    from plexo.codec import choose\n"
    )
    assert imported_by_python(source) == {
        "plexo.plexus",
        "plexo.axon",
        "typing",
        "plexo.stream",
        "plexo.codec",
    }
    source = tmp_path / "module.pyx"
    source.write_text("from plexo._fast.link cimport Hub\ncimport plexo.codec\n")
    assert imported_by_cython(source) == {"plexo._fast.link", "plexo.codec"}


# -- the cost of an import ---------------------------------------------------------------------------------

HEAVY = frozenset(
    (
        *("attr", "attrs", "capnp", "capnpy", "hypothesis", "jsonschema", "multiprocessing", "numpy"),
        *("pkg_resources", "psutil", "pydantic", "pytest", "python_jsonschema_objects", "rich", "sqlite3"),
        *("typer", "unittest", "urllib.request", "uvloop", "xml", "zmq"),
    )
)
# `platform` is not here: the standard library's uuid imports it.
# What `import plexo` adds to `import asyncio, msgspec, uuid`, beside plexo itself: room for a handful more.
MAX_ADDED = 15


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_plexo_brings_no_heavy_library() -> None:
    assert modules_after("import plexo") & HEAVY == set()


def test_importing_plexo_brings_little() -> None:
    added = modules_after("import plexo") - modules_after("import asyncio, msgspec, uuid")
    foreign = sorted(name for name in added if name.partition(".")[0] != "plexo")
    assert len(foreign) <= MAX_ADDED, foreign


def test_codecs_are_loaded_when_they_are_named() -> None:
    loaded = modules_after("import plexo")
    assert not {"plexo.codec.pickle_codec", "plexo.codec.numpy_codec", "plexo.codec.capnp_codec"} & loaded
