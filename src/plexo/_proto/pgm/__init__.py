# SPDX-License-Identifier: Apache-2.0
"""PGM (RFC 3208) in UDP without I/O: packets and time come in, packets and what was lost go out."""
