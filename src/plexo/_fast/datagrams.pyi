# SPDX-License-Identifier: Apache-2.0
from typing_extensions import disjoint_base

MAX_READ: int
ROOM: int
MAX_SENT: int
LARGEST: int

@disjoint_base
class DatagramReader:
    def __init__(self) -> None: ...
    def read(self, fd: int) -> list[tuple[bytes, int, int, int, bool]]: ...

@disjoint_base
class DatagramWriter:
    def __init__(self, divides: bool = True) -> None: ...
    @property
    def divides(self) -> bool: ...
    def send(self, fd: int, host: int, port: int, data: bytes, segment: int) -> int: ...
