# SPDX-License-Identifier: Apache-2.0
"""One multicast group for each topic, agreed upon by Paxos; docs/allocation.md.

No I/O, no clock, no chance of its own.
"""
