# SPDX-License-Identifier: Apache-2.0
"""The dotted prefix of names."""

from __future__ import annotations

from collections.abc import Iterable


class Namespace:
    """A prefix of names: `Namespace(["org", "brewery"])` or `Namespace("org.brewery")`.

    `parts` are non-empty strings, or one string that is split at `delimiter`. Equal and hashed by `path`;
    treat it as immutable, because neurons compute their names from it once. Raises TypeError for parts that
    are no strings and ValueError for empty ones.
    """

    __slots__ = ("__weakref__", "delimiter", "parts", "path")

    delimiter: str
    parts: tuple[str, ...]
    path: str

    def __init__(self, parts: Iterable[str] | str, delimiter: str = ".") -> None:
        if not isinstance(delimiter, str):
            raise TypeError(f"delimiter: expected a str, got {type(delimiter).__name__}")
        if not delimiter:
            raise ValueError("delimiter: expected a non-empty str")
        if isinstance(parts, str):
            parts = parts.split(delimiter)
        elif not isinstance(parts, Iterable):
            raise TypeError(f"parts: expected a str or an iterable of str, got {type(parts).__name__}")
        self.delimiter = delimiter
        self.parts = _checked(parts, "parts")
        if not self.parts:
            raise ValueError("parts: expected at least one part")
        self.path = delimiter.join(self.parts)

    def with_suffix(self, suffix: Iterable[str]) -> str:
        """The path with `suffix` appended, each part behind the delimiter. (A bare str counts as one
        part.)"""
        if isinstance(suffix, str):
            suffix = (suffix,)
        return self.delimiter.join((self.path, *_checked(suffix, "suffix")))

    def __str__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return (
            f"Namespace({self.path!r})"
            if self.delimiter == "."
            else f"Namespace({self.parts!r}, {self.delimiter!r})"
        )

    def __hash__(self) -> int:
        return hash(self.path)

    def __eq__(self, other: object) -> bool:
        return self.path == other.path if isinstance(other, Namespace) else NotImplemented


def _checked(parts: Iterable[str], argument: str) -> tuple[str, ...]:
    checked = tuple(parts)
    for index, part in enumerate(checked):
        if not isinstance(part, str):
            raise TypeError(f"{argument}[{index}]: expected a str, got {type(part).__name__} {part!r}")
        if not part:
            raise ValueError(f"{argument}[{index}]: expected a non-empty str in {checked!r}")
    return checked
