# SPDX-License-Identifier: Apache-2.0
"""What a pickle from the network may name.

Everything a pickle can do beyond plain data starts with naming a class or function by module and qualified
name. Here is the table of the names that mean something, made without importing anything for the pickle's
sake:

* the neuron's type and the classes its annotations name, recursively, but none of the standard library (an
  annotation `log: subprocess.Popen` must not let a stranger start processes), except enums, exceptions and
  the inert ones;
* `INERT`: value types of the standard library that may be called, some with a look at their arguments first;
* `NAMED_ONLY`: built-in types that may be named (`defaultdict(list)`) but not called;
* a few functions that pickles of such values go through, replaced by `Special` stand-ins that do only that.
"""

from __future__ import annotations

import builtins
import collections
import datetime
import decimal
import fractions
import ipaddress
import pathlib
import re
import sys
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, Flag
from typing import Any

from plexo.codec._annotations import fields_of, parts_of
from plexo.exceptions import UnpicklingRefused

Guard = Callable[[tuple[Any, ...]], bool]

# Types whose values are data and whose constructors do nothing but make them.
INERT: tuple[Any, ...] = (
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    datetime.timezone,
    zoneinfo.ZoneInfo,
    uuid.UUID,
    uuid.SafeUUID,
    decimal.Decimal,
    fractions.Fraction,
    ipaddress.IPv4Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Address,
    ipaddress.IPv6Interface,
    ipaddress.IPv6Network,
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    collections.OrderedDict,
    collections.deque,
    collections.defaultdict,
    collections.Counter,
    types.SimpleNamespace,
    set,
    frozenset,
    complex,
    bytearray,
    range,
    slice,
)
NAMED_ONLY: tuple[Any, ...] = (object, bool, int, float, str, bytes, list, tuple, dict, type(None))
CONSTANTS: dict[tuple[str, str], object] = {
    ("builtins", "Ellipsis"): Ellipsis,
    ("builtins", "NotImplemented"): NotImplemented,
}

# Pickles set the state of these after making them, or add items to them.
_BUILDABLE = (uuid.UUID, types.SimpleNamespace)
_FILLABLE = (
    list,
    dict,
    set,
    collections.OrderedDict,
    collections.deque,
    collections.defaultdict,
    collections.Counter,
)

_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})
_FRACTION = re.compile(r"-?\d+(/\d+)?")


def _container_arguments(arguments: tuple[Any, ...]) -> bool:
    # set(range(10**12)) would fill the memory.
    return not arguments or type(arguments[0]) in _CONTAINERS


def _bytearray_arguments(arguments: tuple[Any, ...]) -> bool:
    # bytearray(10**12), likewise.
    return not arguments or isinstance(arguments[0], (bytes, str))


def _fraction_arguments(arguments: tuple[Any, ...]) -> bool:
    # Fraction("1e999999999") computes for hours.
    if len(arguments) == 1 and type(arguments[0]) is str:
        return _FRACTION.fullmatch(arguments[0]) is not None
    return all(type(argument) is int for argument in arguments)


def _text_arguments(arguments: tuple[Any, ...]) -> bool:
    return all(type(argument) is str for argument in arguments)


# enum remembers every combination of flags that was ever made, so a stranger must not make as many as he likes. Some
# flags have meaningful bits without a name, hence no refusal of those alone.
_MAX_FLAG_VALUES = 4096
_MAX_FLAG_BITS = 64


def _flag_arguments(cls: Any, arguments: tuple[Any, ...]) -> bool:
    if len(arguments) != 1 or not isinstance(arguments[0], int):
        return not arguments
    (value,) = arguments
    known = cls._value2member_map_
    return value in known or (len(known) < _MAX_FLAG_VALUES and value.bit_length() <= _MAX_FLAG_BITS)


GUARDS: dict[Any, Guard] = {
    set: _container_arguments,
    frozenset: _container_arguments,
    collections.deque: _container_arguments,
    collections.Counter: _container_arguments,
    collections.OrderedDict: _container_arguments,
    bytearray: _bytearray_arguments,
    fractions.Fraction: _fraction_arguments,
    zoneinfo.ZoneInfo: lambda arguments: len(arguments) == 1 and _text_arguments(arguments),
}


class Special:
    """Stands for a function that pickles name: `call` gets the table and the arguments, and does only what it
    must."""

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: Callable[[Allowed, tuple[Any, ...]], Any]) -> None:
        self.name = name
        self.call = call

    def refuse(self, arguments: tuple[Any, ...]) -> UnpicklingRefused:
        shown = ", ".join(repr(argument)[:60] for argument in arguments)
        return UnpicklingRefused(self.name, f"refused to unpickle {self.name}({shown})")


def _getattr(allowed: Allowed, arguments: tuple[Any, ...]) -> Any:
    # Members of enums (some are pickled by name), and how ZoneInfo pickles itself. Nothing else.
    if len(arguments) == 2 and type(arguments[1]) is str:
        owner, name = arguments
        if owner is zoneinfo.ZoneInfo and name == "_unpickle":
            return _ZONE
        if allowed.may_call(owner) and isinstance(owner, type) and issubclass(owner, Enum):
            members = owner.__members__
            if name in members:
                return members[name]
    raise _GETATTR.refuse(arguments)


def _or(allowed: Allowed, arguments: tuple[Any, ...]) -> Any:
    # How Python 3.11.0 to 3.11.3 pickles flags: as two whose union they are; the second is an int where it has no name.
    if len(arguments) == 2 and isinstance(arguments[0], Flag):
        one, other = arguments
        cls = type(one)
        bits = other._value_ if type(other) is cls else other
        if allowed.may_call(cls) and type(one._value_) is int and type(bits) is int:
            union = (one._value_ | bits,)
            allowed.check_arguments(cls, union)
            return cls(*union)
    raise _OR.refuse(arguments)


def _zone(allowed: Allowed, arguments: tuple[Any, ...]) -> Any:
    if len(arguments) == 2 and type(arguments[0]) is str:
        return zoneinfo.ZoneInfo(arguments[0]) if arguments[1] else zoneinfo.ZoneInfo.no_cache(arguments[0])
    raise _ZONE.refuse(arguments)


def _reconstructor(allowed: Allowed, arguments: tuple[Any, ...]) -> Any:
    # copyreg._reconstructor of pickle protocols 0 and 1, for classes that may be called.
    if len(arguments) == 3:
        cls, base, state = arguments
        if allowed.may_call(cls) and isinstance(cls, type) and isinstance(base, type) and base in cls.__mro__:
            if base is object:
                return object.__new__(cls)
            if base in NAMED_ONLY or base in INERT:
                allowed.check_arguments(base, (state,))
                plain: Any = base
                made = plain.__new__(cls, state)
                if plain.__init__ is not object.__init__:
                    plain.__init__(made, state)
                return made
    raise _RECONSTRUCTOR.refuse(arguments)


def _newobj(allowed: Allowed, arguments: tuple[Any, ...]) -> Any:
    if arguments:
        return allowed.new(arguments[0], arguments[1:], {})
    raise _NEWOBJ.refuse(arguments)


def _newobj_ex(allowed: Allowed, arguments: tuple[Any, ...]) -> Any:
    if len(arguments) == 3 and type(arguments[1]) is tuple and type(arguments[2]) is dict:
        return allowed.new(*arguments)
    raise _NEWOBJ_EX.refuse(arguments)


def _encode(allowed: Allowed, arguments: tuple[Any, ...]) -> bytes:
    # How protocols 0 to 2 write bytes.
    if len(arguments) == 2 and type(arguments[0]) is str and arguments[1] == "latin1":
        return arguments[0].encode("latin-1")
    raise _ENCODE.refuse(arguments)


def _bytes(allowed: Allowed, arguments: tuple[Any, ...]) -> bytes:
    # How they write empty bytes.
    if not arguments:
        return b""
    raise _BYTES.refuse(arguments)


def _rebuild(allowed: Allowed, arguments: tuple[Any, ...]) -> Any:
    # How structs of msgspec with keyword-only fields pickle themselves.
    if len(arguments) == 2 and type(arguments[1]) is dict and hasattr(arguments[0], "__struct_fields__"):
        return allowed.call(arguments[0], (), arguments[1])
    raise _REBUILD.refuse(arguments)


_REBUILD = Special("msgspec._utils.rebuild", _rebuild)
_GETATTR = Special("builtins.getattr", _getattr)
_OR = Special("operator.or_", _or)
_ZONE = Special("zoneinfo.ZoneInfo._unpickle", _zone)
_RECONSTRUCTOR = Special("copyreg._reconstructor", _reconstructor)
_NEWOBJ = Special("copyreg.__newobj__", _newobj)
_NEWOBJ_EX = Special("copyreg.__newobj_ex__", _newobj_ex)
_ENCODE = Special("_codecs.encode", _encode)
_BYTES = Special("builtins.bytes", _bytes)
_SPECIALS: dict[tuple[str, str], Any] = {
    ("builtins", "getattr"): _GETATTR,
    ("_operator", "or_"): _OR,
    ("copyreg", "_reconstructor"): _RECONSTRUCTOR,
    ("copyreg", "__newobj__"): _NEWOBJ,
    ("copyreg", "__newobj_ex__"): _NEWOBJ_EX,
    ("_codecs", "encode"): _ENCODE,
    ("msgspec._utils", "rebuild"): _REBUILD,
}


class Allowed:
    """The names one codec resolves, and which of the objects behind them a pickle may call."""

    def __init__(self, own: Any, allow: Iterable[Any]) -> None:
        extra = list(allow)
        classes = list(_walk((own, *extra)))
        functions = [
            thing for thing in extra if not isinstance(thing, type) and hasattr(thing, "__qualname__")
        ]
        self._callable: dict[int, Any] = {id(thing): thing for thing in (*INERT, *classes, *functions)}
        self._named_only: dict[int, Any] = {id(thing): thing for thing in NAMED_ONLY}
        self._table: dict[tuple[str, str], Any] = {**CONSTANTS, **_SPECIALS}
        for thing in (*NAMED_ONLY, *INERT):
            self._table[thing.__module__, thing.__qualname__] = thing
        for cls in INERT:
            if cls.__module__.startswith("pathlib"):  # pathlib._local in Python 3.13
                self._table["pathlib", cls.__qualname__] = self._table["pathlib._local", cls.__qualname__] = (
                    cls
                )
        for thing in (*classes, *functions):
            self._table[thing.__module__, thing.__qualname__] = thing
            if thing.__module__.partition(".")[0] == "numpy":
                self._table.update(_numpy_helpers(self._callable))
        # The same class under another module: scripts that import each other's types under `__main__`.
        by_qualname: dict[str, list[Any]] = {}
        for thing in classes:
            by_qualname.setdefault(thing.__qualname__, []).append(thing)
        self._by_qualname = {name: found[0] for name, found in by_qualname.items() if len(found) == 1}
        instances = {cls for cls in classes if not issubclass(cls, Enum)}
        self._buildable = frozenset({*instances, *_BUILDABLE, *_numpy_types()})
        self._fillable = frozenset({*instances, *_FILLABLE})

    def find(self, module: str, qualname: str) -> Any:
        """What `module.qualname` means. Raises UnpicklingRefused if nothing. Never imports, never follows
        dots."""
        found = self._table.get((module, qualname), self)
        if found is self:
            found = self._by_qualname.get(qualname, self)
        if found is self:
            raise UnpicklingRefused(f"{module}.{qualname}")
        return found

    def may_call(self, thing: Any) -> bool:
        return id(thing) in self._callable

    def check_build(self, target: Any) -> None:
        """Refuses to set the state of anything but a fresh instance: of a class or an enum's member, above
        all."""
        if type(target) not in self._buildable or _shadows(target, "__setstate__"):
            raise UnpicklingRefused(
                _describe(target), f"refused a pickle: it sets attributes of {_describe(target)}"
            )

    def check_fill(self, target: Any) -> None:
        """Refuses to add items to anything but containers and instances of what is allowed."""
        if type(target) not in self._fillable or _shadows(target, "append", "extend", "add"):
            raise UnpicklingRefused(
                _describe(target), f"refused a pickle: it adds items to {_describe(target)}"
            )

    def call(self, function: Any, arguments: Any, keywords: Any = None) -> Any:
        _check_kinds(arguments, keywords)
        if function is bytes:
            function = _BYTES
        if type(function) is Special:
            return function.call(self, arguments)
        self.check_callable(function)
        self.check_arguments(function, arguments)
        return function(*arguments, **keywords) if keywords else function(*arguments)

    def new(self, cls: Any, arguments: Any, keywords: Any) -> Any:
        _check_kinds(arguments, keywords)
        self.check_callable(cls)
        if not isinstance(cls, type):
            raise UnpicklingRefused(_describe(cls), f"refused a pickle: it uses {_describe(cls)} as a class")
        self.check_arguments(cls, arguments)
        return cls.__new__(cls, *arguments, **keywords)

    def check_callable(self, thing: Any) -> None:
        # By identity: a value's own __eq__ and __hash__ have no say, and a value with __call__ is not called.
        if id(thing) not in self._callable:
            raise UnpicklingRefused(_describe(thing), f"refused a pickle: it calls {_describe(thing)}")

    def check_arguments(self, cls: Any, arguments: tuple[Any, ...]) -> None:
        if not isinstance(cls, type):
            return
        if cls is collections.defaultdict:
            if len(arguments) <= 1 and all(
                factory is None or id(factory) in self._callable or id(factory) in self._named_only
                for factory in arguments
            ):
                return
        elif issubclass(cls, Flag):
            if _flag_arguments(cls, arguments):
                return
        else:
            guard = _is_copied_dtype if _is_dtype(cls) else GUARDS.get(cls)
            if guard is None or guard(arguments):
                return
        shown = ", ".join(repr(argument)[:60] for argument in arguments)
        raise UnpicklingRefused(_describe(cls), f"refused a pickle: it calls {_describe(cls)}({shown})")


def _check_kinds(arguments: Any, keywords: Any) -> None:
    if not isinstance(arguments, tuple) or not (keywords is None or type(keywords) is dict):
        raise UnpicklingRefused("a call", "refused a pickle: it calls with arguments that are no tuple")


def _shadows(target: Any, *methods: str) -> bool:
    # An earlier instruction may have put a class into the instance's __dict__, where the next would find and
    # call it.
    attributes = getattr(target, "__dict__", ())
    return any(method in attributes for method in methods)


def _is_dtype(cls: type) -> bool:
    return cls.__module__ == "numpy" and cls.__name__ == "dtype"


def _is_copied_dtype(arguments: tuple[Any, ...]) -> bool:
    # dtype("f8", False, True), as numpy pickles it, is a copy; without the True it is the one float64 of the
    # process, and its state would be set next.
    return len(arguments) == 3 and arguments[2] is True


def _describe(thing: Any) -> str:
    if isinstance(thing, type):
        return f"{thing.__module__}.{thing.__qualname__}"
    return f"an instance of {type(thing).__module__}.{type(thing).__qualname__}"


def _numpy_types() -> tuple[Any, ...]:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return ()
    return numpy.ndarray, *(type(numpy.dtype(code)) for code in "?bhilqBHILQefdgFDGSUVMmO")


def _numpy_helpers(callables: dict[int, Any]) -> Iterator[tuple[tuple[str, str], Any]]:
    """The functions that pickles of arrays name, once the user's types mention numpy."""
    numpy: Any = sys.modules["numpy"]
    for module in ("numpy.core", "numpy._core"):
        for inner, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        ):
            source = sys.modules.get(f"numpy._core.{inner}") or sys.modules.get(f"numpy.core.{inner}")
            function = getattr(source, name, None)
            if function is not None:
                callables[id(function)] = function
                yield (f"{module}.{inner}", name), function
    for cls in (numpy.dtype, numpy.ndarray):
        callables[id(cls)] = cls
        yield ("numpy", cls.__name__), cls


# --- the classes that annotations name ----------------------------------------------------------------------


def _walk(roots: Iterable[Any]) -> Iterator[type]:
    waiting = [(root, True) for root in roots]
    seen: dict[int, Any] = {}
    while waiting:
        annotation, is_root = waiting.pop()
        if id(annotation) in seen:
            continue
        seen[id(annotation)] = annotation
        waiting.extend((inner, False) for inner in parts_of(annotation))
        if (
            isinstance(annotation, type)
            and not hasattr(annotation, "__origin__")
            and _is_admissible(annotation, is_root)
        ):
            yield annotation
            waiting.extend((inner, False) for inner in fields_of(annotation))


def _is_admissible(cls: type, is_root: bool) -> bool:
    if issubclass(cls, type) or cls in NAMED_ONLY or cls in INERT:
        return False
    if (
        is_root
        or cls.__module__.partition(".")[0] not in sys.stdlib_module_names
        or cls.__module__ == "__main__"
    ):
        return True
    return issubclass(cls, Enum) or (cls.__module__ == builtins.__name__ and issubclass(cls, BaseException))
