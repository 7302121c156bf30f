# SPDX-License-Identifier: Apache-2.0
"""The board: this library beside its rivals, the same work in the same run. See ../README.md."""
