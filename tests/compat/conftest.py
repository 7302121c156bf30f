# SPDX-License-Identifier: Apache-2.0
"""Fixtures for programs written for 1.0."""

from tests.interop.conftest import plexo_1_0

__all__ = ["plexo_1_0"]
