# SPDX-License-Identifier: Apache-2.0
from typing_extensions import Buffer

# Name and what was expected, of each fault of a packet; the first is that of none.
FAULTS: tuple[tuple[str, str], ...]

def parse_packet(
    data: Buffer,
) -> (
    int
    | tuple[int, bytes, int, int, int, int, int, tuple[int, ...], int | None, int | None, bool, bytes, int]
): ...
def checksum(data: Buffer) -> int: ...
def seal(packet: Buffer) -> None: ...
def data_packet(type: int, gsi: bytes, sport: int, port: int, sqn: int, trail: int, tsdu: bytes) -> bytes: ...
