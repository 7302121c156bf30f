# SPDX-License-Identifier: Apache-2.0
from plexo.namespace.namespace import Namespace

__all__ = ["Namespace", "plexo_namespace"]

plexo_namespace = Namespace(("dev", "plexo"))
