# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from plexo.namespace import Namespace, plexo_namespace
from plexo.namespace.namespace import Namespace as NamespaceOf10


def test_the_1_0_module_has_the_same_class() -> None:
    assert NamespaceOf10 is Namespace
    assert plexo_namespace.path == "dev.plexo"


def test_parts_path_and_suffix() -> None:
    namespace = Namespace(["org", "brewery", "sake"])
    assert namespace.parts == ("org", "brewery", "sake")
    assert namespace.path == str(namespace) == "org.brewery.sake"
    assert namespace.with_suffix(["Foo", "json"]) == "org.brewery.sake.Foo.json"
    assert namespace.with_suffix([]) == "org.brewery.sake"
    assert namespace.with_suffix("Foo") == "org.brewery.sake.Foo"


def test_a_generator_is_consumed_once() -> None:
    namespace = Namespace(part for part in ("a", "b"))
    assert namespace.parts == ("a", "b")
    assert namespace.path == "a.b"
    assert namespace.with_suffix(part for part in ("c", "d")) == "a.b.c.d"


def test_a_str_is_the_dotted_path() -> None:
    assert Namespace("org.brewery").parts == ("org", "brewery")
    assert Namespace("org/brewery", "/").parts == ("org", "brewery")
    assert Namespace("org.brewery", "/").parts == ("org.brewery",)


def test_equal_and_hashed_by_path() -> None:
    assert Namespace("a.b") == Namespace(["a", "b"]) == Namespace(["a.b"])
    assert len({Namespace("a.b"), Namespace(["a", "b"])}) == 1
    assert Namespace("a.b") != Namespace("a.c")
    assert Namespace("a.b") != "a.b"


def test_repr() -> None:
    assert repr(Namespace("a.b")) == "Namespace('a.b')"
    assert repr(Namespace("a/b", "/")) == "Namespace(('a', 'b'), '/')"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((5,), TypeError, "parts: expected a str or an iterable of str, got int"),
        ((["a", 5],), TypeError, r"parts\[1\]: expected a str, got int 5"),
        ((["a", ""],), ValueError, r"parts\[1\]: expected a non-empty str"),
        (("a..b",), ValueError, r"parts\[1\]: expected a non-empty str"),
        (("",), ValueError, r"parts\[0\]: expected a non-empty str"),
        (([],), ValueError, "parts: expected at least one part"),
        ((["a"], ""), ValueError, "delimiter: expected a non-empty str"),
        ((["a"], 5), TypeError, "delimiter: expected a str, got int"),
    ],
)
def test_bad_arguments_are_named(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Namespace(*arguments)


def test_bad_suffix_is_named() -> None:
    with pytest.raises(TypeError, match=r"suffix\[0\]: expected a str, got bytes"):
        Namespace("a").with_suffix([b"x"])  # type: ignore[list-item]
