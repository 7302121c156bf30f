# SPDX-License-Identifier: Apache-2.0
"""The environment of plexo 1.0.0, as in the interop tests."""

from tests.interop.conftest import plexo_1_0

__all__ = ["plexo_1_0"]
