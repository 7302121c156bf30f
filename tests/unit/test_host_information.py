# SPDX-License-Identifier: Apache-2.0
import socket
from ipaddress import IPv4Address
from typing import Any

import pytest

from plexo.host_information import get_primary_ip


def test_is_an_address() -> None:
    assert IPv4Address(get_primary_ip())


def test_falls_back_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    assert get_primary_ip() == "127.0.0.1"
