# SPDX-License-Identifier: Apache-2.0
"""Ganglia of other distributions, by their entry points."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plexo.exceptions import GanglionNotFound
from plexo.ganglion import find
from plexo.ganglion.plugin import GanglionPlugin

Install = Callable[..., None]

MODULE = '''
from plexo.ganglion.plugin import GanglionPlugin


class Owl(GanglionPlugin):
    """By night."""


class Raven(Owl):
    """By day."""


def owl():
    return Owl()
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a made-up distribution with these entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "made_up_birds.py").write_text(MODULE)

    def install(distribution: str, **entries: str) -> None:
        metadata = tmp_path / f"{distribution}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
        (metadata / "entry_points.txt").write_text(f"[plexo.ganglia]\n{lines}")
        importlib.invalidate_caches()

    yield install
    sys.modules.pop("made_up_birds", None)


def test_a_name_leads_to_its_class(install: Install) -> None:
    install("birds", owl="made_up_birds:Owl", raven="made_up_birds:Raven")
    assert "made_up_birds" not in sys.modules
    assert issubclass(find("owl"), GanglionPlugin)
    assert [find(name).__name__ for name in ("owl", "raven")] == ["Owl", "Raven"]


def test_an_unknown_name_says_which_there_are(install: Install) -> None:
    with pytest.raises(GanglionNotFound, match="there are: none"):
        find("owl")
    install("birds", owl="made_up_birds:Owl", raven="made_up_birds:Raven")
    with pytest.raises(
        KeyError, match="no installed distribution has a ganglion 'wren'; there are: owl, raven"
    ):
        find("wren")
    assert "made_up_birds" not in sys.modules


def test_a_name_of_two_classes_is_refused(install: Install) -> None:
    install("birds", owl="made_up_birds:Owl")
    install("birds-again", owl="made_up_birds:Owl")
    assert find("owl").__name__ == "Owl"
    install("other-birds", owl="made_up_birds:Raven")
    with pytest.raises(ValueError, match="several ganglia: made_up_birds:Owl, made_up_birds:Raven"):
        find("owl")


def test_what_is_no_class_of_ganglia_is_refused(install: Install) -> None:
    install("birds", owl="made_up_birds:owl", text="json:dumps", gone="no_such_birds:Owl")
    for name in ("owl", "text"):
        with pytest.raises(TypeError, match="expected a class derived from GanglionExternalBase"):
            find(name)
    with pytest.raises(ModuleNotFoundError):
        find("gone")
