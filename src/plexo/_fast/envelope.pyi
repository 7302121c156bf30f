# SPDX-License-Identifier: Apache-2.0
from typing_extensions import Buffer

MAX_SEGMENTS: int
MAX_PAYLOAD: int

class EnvelopeError(ValueError): ...

def parse_envelope(data: Buffer) -> tuple[bytes, bytes]: ...
def build_envelope(name: bytes, payload: bytes) -> bytes: ...
