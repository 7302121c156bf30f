# SPDX-License-Identifier: Apache-2.0
"""Python's pickle, loaded with care.

`pickle.loads` runs whatever the sender says. Overriding `find_class` of the C unpickler, the documented
remedy, is not enough for a class that is allowed: the BUILD instruction sets attributes of *classes* and enum
members as readily as of instances (`Order.limit = 10**9`, for the rest of the process), REDUCE calls any
callable value, an index of a few bytes makes the C memo allocate gigabytes, and known extension codes bypass
`find_class`. So restricted loading interprets the instructions with pickle's own Python implementation, where
each of them can be checked. That costs tens of microseconds for a small message; MsgpackCodec is the quick
one, and `unrestricted=True` is for closed networks.
"""

from __future__ import annotations

import _compat_pickle
import copyreg
import io
import pickle
from collections.abc import Callable, Iterable
from struct import unpack
from typing import Any, ClassVar

from plexo.codec._base import BoundCodec
from plexo.codec._pickle_allowed import Allowed
from plexo.exceptions import DecodeError, UnpicklingRefused
from plexo.typing._instances import instance_types

_UNBOUND = object()
# The hash of a tuple recurses in C without looking at the stack: as a key, a deep one ends the process.
# (Slices too.)
_MAX_NESTED_TUPLES = 500


class PickleCodec(BoundCodec):
    """Any picklable value; compatible with 1.0 in both directions.

    `decode` builds only instances of: the neuron's type, the classes its annotations name (recursively; of
    the standard library only enums, exceptions and value types), value types of the standard library such as
    datetime, UUID, Decimal and the collections, and the classes in `allow` and what these name. Subclasses do
    not count. A name matches by module and qualified name, or by qualified name alone where only one of these
    classes has it: a class of the sender's `__main__` is ours in its module. Nothing is ever imported. What
    is allowed is the user's own to answer for: its `__init__`, `__setstate__` and so on run with arguments
    that the sender chose.

    Fields are not compared with their annotations; MsgpackCodec and JsonCodec do that.

    Raises UnpicklingRefused, which names the class, for anything else, and DecodeError for what is no pickle,
    or no pickle of the neuron's type. `unrestricted=True` is pickle.loads: whoever can send to you can run
    code as you.

    Without `_type` the neuron's type is used.
    """

    _name = "pickle"

    def __init__(
        self, _type: Any = _UNBOUND, *, allow: Iterable[Any] = (), unrestricted: bool = False
    ) -> None:
        self._is_bound = _type is not _UNBOUND
        self.type = _type if self._is_bound else Any
        self.allow = tuple(allow)
        self.unrestricted = unrestricted
        for thing in self.allow:
            if not callable(thing) or not hasattr(thing, "__qualname__"):
                raise TypeError(f"allow: expected classes and functions, got {thing!r}")
        self._instance_types = instance_types(self.type)
        self._allowed: Allowed | None = None
        self._bind(pickle.dumps, self._load_unrestricted if unrestricted else self._load)

    def for_type(self, _type: Any) -> PickleCodec:
        if self._is_bound:
            return self
        return type(self)(_type, allow=self.allow, unrestricted=self.unrestricted)

    def _load_unrestricted(self, data: Any) -> Any:
        return self._checked(pickle.loads(data))

    def _load(self, data: Any) -> Any:
        # The table is made with the first message, when classes that annotations name as strings exist.
        allowed = self._allowed
        if allowed is None:
            allowed = self._allowed = Allowed(self.type, self.allow)
        try:
            value = _Interpreter(data, allowed).load()
        except UnpicklingRefused:
            raise
        except Exception as error:
            raise DecodeError(f"not a pickle of {self.type!r}: {type(error).__name__}: {error}") from error
        return self._checked(value)

    def _checked(self, value: Any) -> Any:
        if not isinstance(value, self._instance_types):
            raise DecodeError(f"expected a pickle of {self.type!r}, got one of {type(value).__qualname__}")
        return value


_PLAIN: dict[int, Callable[[Any], None]] = pickle._Unpickler.dispatch


class _Interpreter(pickle._Unpickler):
    """Executes the instructions of a pickle, asking `Allowed` before each that names, calls or changes
    something."""

    stack: list[Any]
    metastack: list[list[Any]]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]
    proto: int

    def __init__(self, data: Any, allowed: Allowed) -> None:
        super().__init__(io.BytesIO(data))
        self._allowed = allowed
        self._depths: dict[int, tuple[int, Any]] = {}  # of tuples that hold tuples, by id; keeps them alive

    def find_class(self, module: str, name: str) -> Any:
        if self.proto < 3:  # names of Python 2, which these protocols use
            if (module, name) in _compat_pickle.NAME_MAPPING:
                module, name = _compat_pickle.NAME_MAPPING[module, name]
            else:
                module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        return self._allowed.find(module, name)

    def persistent_load(self, pid: Any) -> Any:
        raise UnpicklingRefused(
            "a persistent id", "refused a pickle: it refers to an object outside of it by an id"
        )

    def get_extension(self, code: int) -> None:
        key = copyreg._inverted_registry.get(code)  # type: ignore[attr-defined]
        if key is None:
            raise UnpicklingRefused(
                f"extension code {code}", f"refused a pickle: extension code {code} is unknown"
            )
        self.append(self.find_class(*key))

    def _instantiate(self, cls: Any, arguments: Any) -> None:  # INST and OBJ, of protocol 0
        make = self._allowed.new if isinstance(cls, type) and not arguments else self._allowed.call
        self.append(self._measured(make(cls, tuple(arguments), {})))

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._measured(self._allowed.call(self.stack[-1], arguments))

    def _newobj(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._measured(self._allowed.new(self.stack[-1], arguments, {}))

    def _newobj_ex(self) -> None:
        keywords = self.stack.pop()
        arguments = self.stack.pop()
        self.stack[-1] = self._measured(self._allowed.new(self.stack[-1], arguments, keywords))

    def _measured(self, made: Any) -> Any:
        if isinstance(made, tuple):
            parts = tuple.__iter__(made)
        elif type(made) is slice:
            parts = iter((made.start, made.stop, made.step))
        else:
            return made
        inner = [self._depths.get(id(part), (1,))[0] for part in parts if isinstance(part, (tuple, slice))]
        if inner:
            depth = 1 + max(inner)
            if depth > _MAX_NESTED_TUPLES:
                raise UnpicklingRefused(
                    "nested tuples",
                    f"refused a pickle: tuples are nested more than {_MAX_NESTED_TUPLES} deep",
                )
            self._depths[id(made)] = (depth, made)
        return made

    def _tuple(self) -> None:
        items = self.pop_mark()
        self.append(self._measured(tuple(items)))

    def _tuple1(self) -> None:
        self.stack[-1] = self._measured((self.stack[-1],))

    def _tuple2(self) -> None:
        self.stack[-2:] = [self._measured((self.stack[-2], self.stack[-1]))]

    def _tuple3(self) -> None:
        self.stack[-3:] = [self._measured((self.stack[-3], self.stack[-2], self.stack[-1]))]

    def _bytearray8(self) -> None:
        # pickle makes an array of the announced size before it looks whether so much is there.
        (size,) = unpack("<Q", self.read(8))
        found = self.read(size)
        if len(found) != size:
            raise pickle.UnpicklingError(f"a bytearray of {size} bytes, of which {len(found)} are there")
        self.append(bytearray(found))

    def _build(self) -> None:
        self._allowed.check_build(self.stack[-2])
        _PLAIN[pickle.BUILD[0]](self)

    def _append(self) -> None:
        self._allowed.check_fill(self.stack[-2])
        _PLAIN[pickle.APPEND[0]](self)

    def _appends(self) -> None:
        self._allowed.check_fill(self.metastack[-1][-1])
        _PLAIN[pickle.APPENDS[0]](self)

    def _setitem(self) -> None:
        self._allowed.check_fill(self.stack[-3])
        _PLAIN[pickle.SETITEM[0]](self)

    def _setitems(self) -> None:
        self._allowed.check_fill(self.metastack[-1][-1])
        _PLAIN[pickle.SETITEMS[0]](self)

    def _additems(self) -> None:
        self._allowed.check_fill(self.metastack[-1][-1])
        _PLAIN[pickle.ADDITEMS[0]](self)

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **_PLAIN,
        pickle.TUPLE[0]: _tuple,
        pickle.TUPLE1[0]: _tuple1,
        pickle.TUPLE2[0]: _tuple2,
        pickle.TUPLE3[0]: _tuple3,
        pickle.BYTEARRAY8[0]: _bytearray8,
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _newobj,
        pickle.NEWOBJ_EX[0]: _newobj_ex,
        pickle.BUILD[0]: _build,
        pickle.APPEND[0]: _append,
        pickle.APPENDS[0]: _appends,
        pickle.SETITEM[0]: _setitem,
        pickle.SETITEMS[0]: _setitems,
        pickle.ADDITEMS[0]: _additems,
    }
