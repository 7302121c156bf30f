# SPDX-License-Identifier: Apache-2.0
"""Transports: one module each, and those that other distributions bring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plexo.exceptions import GanglionNotFound

if TYPE_CHECKING:
    from plexo.ganglion.external import GanglionExternalBase

# Where a distribution names its ganglia; see docs/writing-a-ganglion.md.
ENTRY_POINTS = "plexo.ganglia"


def find(name: str) -> type[GanglionExternalBase]:
    """The class that an installed distribution calls `name`, imported now.

    GanglionNotFound: none does; says which names there are. ValueError: several classes are called so. TypeError: it is
    no class of ganglia. What the import raises, this raises.
    """
    from importlib.metadata import entry_points  # for those who ask

    from plexo.ganglion.external import GanglionExternalBase

    known = entry_points(group=ENTRY_POINTS)
    # One distribution may be seen twice, where it is installed editable.
    named = {entry.value: entry for entry in known if entry.name == name}
    if not named:
        names = ", ".join(sorted({entry.name for entry in known})) or "none"
        raise GanglionNotFound(f"no installed distribution has a ganglion {name!r}; there are: {names}")
    if len(named) > 1:
        raise ValueError(f"name: {name!r} is the name of several ganglia: {', '.join(sorted(named))}")
    (entry,) = named.values()
    found = entry.load()
    if not (isinstance(found, type) and issubclass(found, GanglionExternalBase)):
        raise TypeError(f"{entry.value}: expected a class derived from GanglionExternalBase, got {found!r}")
    return found
