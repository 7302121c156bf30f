# SPDX-License-Identifier: Apache-2.0
"""Endpoints of one neuron inside one ganglion."""
