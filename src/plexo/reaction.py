# SPDX-License-Identifier: Apache-2.0
"""The identity of a message on its way through a plexus, made only when somebody looks at it."""

import os
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

_int_slot: Any = UUID.__dict__["int"]
# Where a UUID that the user made himself has been; entries live as long as the UUID.
_visits: "WeakKeyDictionary[UUID, set[object]]" = WeakKeyDictionary()


class ReactionId(UUID):
    """A version 4 UUID whose number is drawn at the first look; until then it is only an identity."""

    __slots__ = ("_visited",)

    _visited: set[object]

    @classmethod
    def begin(cls) -> "ReactionId":
        """A new reaction that has visited nothing yet."""
        return cls.__new__(cls)

    # Plain attributes in UUID.
    @property  # type: ignore[misc]
    def int(self) -> "int":
        try:
            return _int_slot.__get__(self, ReactionId)  # type: ignore[no-any-return]
        except AttributeError:
            number = UUID(bytes=os.urandom(16), version=4).int
            _int_slot.__set__(self, number)
            return number

    @property  # type: ignore[misc]
    def is_safe(self) -> Any:
        return UUID(int=self.int).is_safe


def visited_by(reaction_id: UUID) -> set[object]:
    """The ganglia and plexuses this reaction has passed; the caller adds to it."""
    if type(reaction_id) is ReactionId:
        try:
            return reaction_id._visited
        except AttributeError:
            visited: set[object] = set()
            object.__setattr__(reaction_id, "_visited", visited)
            return visited
    return _visits.setdefault(reaction_id, set())
