# SPDX-License-Identifier: Apache-2.0
"""The packets of a source, slowly: lists and dicts, every packet made anew from what is in it."""

from __future__ import annotations

from plexo._proto.keyed import Key
from plexo._proto.pgm.packets import PacketType, Tsi, encode_data
from tests.reference.deframer import NO_MESSAGE, message


class TransmitWindow:
    """Positions count from 0; `live` are those that are in the window, sent or not, the open one not among them."""

    def __init__(
        self, tsi: Tsi, port: int, max_tpdu: int, slots: int, key: Key | None = None, first_sqn: int = 0
    ) -> None:
        self.tsi, self.port, self.slots, self.key, self.first_sqn = tsi, port, slots, key, first_sqn
        self.most = max_tpdu - 26 - (0 if key is None else 16)
        self.live: dict[int, bytes] = {}
        self.trails: dict[int, int] = {}
        self.times: dict[int, float] = {}
        self.held: dict[int, float] = {}
        self.oldest = self.opened = self.unsent = 0
        self.open = b""
        self.offset = NO_MESSAGE
        self.now = 0.0
        # Of each accepted message the packet that its last byte is in.
        self.ends: list[int] = []

    def sqn(self, position: int) -> int:
        return (self.first_sqn + position) % 2**32

    @property
    def trail(self) -> int:
        return self.sqn(self.oldest)

    @property
    def lead(self) -> int:
        return self.sqn(self.unsent - 1)

    def append(self, topic: bytes, payload: bytes) -> bool:
        stream = message(topic, payload)
        last = self.opened + (len(self.open) + len(stream) - 1) // self.most
        oldest = self.oldest
        while last - oldest >= self.slots:
            if oldest >= self.unsent or self.held.get(oldest, 0.0) > self.now:
                return False
            oldest += 1
        for position in range(self.oldest, oldest):
            del self.live[position]
        self.oldest = oldest
        if self.offset == NO_MESSAGE:
            self.offset = len(self.open)
        self.ends.append(last)
        self.open += stream
        while len(self.open) >= self.most:
            self._seal(self.open[: self.most])
        return True

    def _seal(self, data: bytes) -> None:
        self.live[self.opened] = self.offset.to_bytes(2, "big") + data
        self.trails[self.opened] = self.trail
        self.open = self.open[len(data) :]
        self.opened += 1
        self.offset = NO_MESSAGE

    def _packet(self, position: int, kind: PacketType, trail: int) -> bytes:
        packet = encode_data(kind, self.tsi, self.port, self.sqn(position), trail, self.live[position])
        return packet if self.key is None else self.key.sign(packet)

    @property
    def queued_messages(self) -> int:
        return sum(end >= self.unsent for end in self.ends)

    def send_all(self, now: float) -> list[bytes]:
        if self.open:
            self._seal(self.open)
        fresh = range(self.unsent, self.opened)
        self.times.update(dict.fromkeys(fresh, now))
        self.unsent = self.opened
        self.now = max(self.now, now) if fresh else self.now
        return [self._packet(position, PacketType.ODATA, self.trails[position]) for position in fresh]

    def _find(self, sqn: int) -> int | None:
        for position in self.live:
            if self.sqn(position) == sqn and position < self.unsent:
                return position
        return None

    def has(self, sqn: int) -> bool:
        return self._find(sqn) is not None

    def hold(self, sqn: int, until: float, limit: float) -> None:
        position = self._find(sqn)
        if position is not None:
            self.held[position] = min(until, self.times[position] + limit)

    def repaired(self, sqn: int) -> bytes | None:
        position = self._find(sqn)
        return None if position is None else self._packet(position, PacketType.RDATA, self.trail)
