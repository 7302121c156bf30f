# SPDX-License-Identifier: Apache-2.0
"""Transports: one module each."""
