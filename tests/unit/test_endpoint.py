# SPDX-License-Identifier: Apache-2.0
"""Endpoints as users write them."""

from __future__ import annotations

import socket

import pytest

from plexo.ganglion.endpoint import Endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("tcp://127.0.0.1:5580", Endpoint("127.0.0.1", 5580, "")),
        ("tcp://[::1]:0", Endpoint("::1", 0, "")),
        ("tcp://::1:80", Endpoint("::1", 80, "")),
        ("tcp://a-host:65535", Endpoint("a-host", 65535, "")),
        ("ipc:///tmp/a", Endpoint("", 0, "/tmp/a")),
        ("ipc://@name", Endpoint("", 0, "@name")),
        ("ipc:///tmp/\udcff", Endpoint("", 0, "/tmp/\udcff")),
    ],
)
def test_endpoints_say_themselves_again(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text, "peer") == endpoint
    assert parse_endpoint(str(endpoint), "peer") == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tcp://",
        "tcp://host",
        "tcp://:80",
        "tcp://[]:80",
        "tcp://[:80",
        "tcp://[::1:80",
        "tcp://[[::1]]:80",
        "tcp://host:-1",
        "tcp://host:65536",
        "tcp://host:" + "9" * 5000,
        "tcp://host:\u0663",
        "udp://host:80",
        "ipc://",
        "ipc://@",
        "ipc:///tmp/a\0b",
        "ipc:///tmp/\ud800",
        "ipc:///" + "a" * 100,
    ],
)
def test_what_is_no_endpoint_is_a_value_error_that_names_the_argument(text: str) -> None:
    with pytest.raises(ValueError, match=r"^peer: "):
        parse_endpoint(text, "peer")


def test_every_path_that_is_taken_can_be_bound() -> None:
    endpoint = parse_endpoint("ipc://@\udcff-plexo-test", "bind")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(endpoint.address)
