# SPDX-License-Identifier: Apache-2.0
"""Protocols without I/O: bytes and time come in, events and bytes go out; the caller owns the sockets."""
