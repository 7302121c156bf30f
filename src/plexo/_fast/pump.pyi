# SPDX-License-Identifier: Apache-2.0
from typing_extensions import disjoint_base

READ_BYTES: int
MAX_AHEAD: int
MAX_READS: int

@disjoint_base
class Pump:
    @property
    def fileno(self) -> int: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...
