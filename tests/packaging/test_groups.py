# SPDX-License-Identifier: Apache-2.0
"""pyproject.toml says some requirements twice, because the Makefile installs groups: they must agree."""

from pathlib import Path
from typing import Any

import pytest

tomllib = pytest.importorskip("tomllib", reason="came with Python 3.11")


@pytest.fixture
def project() -> Any:
    return tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_makefile_compiles_with_what_a_user_compiles_with(project: Any) -> None:
    assert project["dependency-groups"]["compile"] == project["build-system"]["requires"]


def test_make_demo_installs_the_demo_extra(project: Any) -> None:
    assert project["dependency-groups"]["demo"] == project["project"]["optional-dependencies"]["demo"]
