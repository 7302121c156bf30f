# SPDX-License-Identifier: Apache-2.0
"""Names of messages; see plexo.namespace.namespace."""

from plexo.namespace.namespace import Namespace

__all__ = ["Namespace", "plexo_namespace"]

plexo_namespace = Namespace(("dev", "plexo"))
