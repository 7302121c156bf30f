# SPDX-License-Identifier: Apache-2.0
"""The envelope's schema for pycapnp: loaded once in a process, since loading one id twice aborts it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest


@cache
def load_plexo_message() -> Any:
    """pycapnp's PlexoMessage; ImportError where pycapnp is missing."""
    import capnp

    return capnp.load(str(Path(__file__).parent / "reference" / "plexo_message.capnp")).PlexoMessage


def plexo_message() -> Any:
    """pycapnp's PlexoMessage; skips the test where pycapnp is missing."""
    pytest.importorskip("capnp", reason="pycapnp is the stranger at the other end")
    return load_plexo_message()
