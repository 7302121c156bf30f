# SPDX-License-Identifier: Apache-2.0
"""Fixtures: networks of namespaces."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest

from tests.multicast.network import Network, trouble

MakeNetwork = Callable[[int], Network]


@pytest.fixture
def make_network() -> Iterator[MakeNetwork]:
    """Makes networks of so many hosts, which are gone when the test is over.

    Skips where there can be none, unless PLEXO_REQUIRE_NAMESPACES is set: then that is a failure.
    """
    reason = trouble()
    if reason:
        if os.environ.get("PLEXO_REQUIRE_NAMESPACES"):
            pytest.fail(reason)
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        yield lambda hosts: stack.enter_context(Network(hosts))
