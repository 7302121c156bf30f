# SPDX-License-Identifier: Apache-2.0
"""`make wheels`: wheels that can be proved on one machine, and the Debian roots in which they are."""
