# SPDX-License-Identifier: Apache-2.0
from typing import final

from typing_extensions import Buffer

@final
class Divider:
    def __new__(
        cls, is_pair: bool, max_frame_bytes: int, opaque: int = 0, inside: bool = False
    ) -> Divider: ...
    @property
    def raw(self) -> bool: ...
    def divide(
        self, data: Buffer, room: int = 1024
    ) -> tuple[int, list[tuple[int, int, int, int, int, int, int]]]: ...
