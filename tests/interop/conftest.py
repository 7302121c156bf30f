# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests with strangers at the other end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.interop.venv_1_0 import Unavailable, python_1_0


@pytest.fixture(scope="session")
def plexo_1_0() -> Path:
    """The interpreter of an environment with plexo 1.0.0.

    Skips where there can be none, unless PLEXO_REQUIRE_1_0 is set: then that is a failure.
    """
    try:
        return python_1_0()
    except Unavailable as error:
        if os.environ.get("PLEXO_REQUIRE_1_0"):
            pytest.fail(str(error))
        pytest.skip(str(error))
