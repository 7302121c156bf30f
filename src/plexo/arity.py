# SPDX-License-Identifier: Apache-2.0
"""How a reactant wants to be called, read once from its signature."""

from __future__ import annotations

import inspect


def reactant_arity(reactant: object) -> int:
    """How many of (data, neuron, reaction_id) `reactant` takes: 1, 2 or 3.

    Parameters with a default count where they are meant for it: behind two required ones (1.0's `reaction_id=None`), or
    named `neuron` or `reaction_id`. So `def react(data, tank=tank)`, which binds a loop's variable, takes one.

    Raises TypeError where it is not callable or takes none of these counts.
    """
    if not callable(reactant):
        raise TypeError(f"reactant: expected a callable, got {type(reactant).__name__}")
    try:
        parameters = inspect.signature(reactant).parameters.values()
    except ValueError:  # a builtin without a signature, such as list.append
        return 1
    positional = 0
    required = 0
    for parameter in parameters:
        if parameter.kind == parameter.VAR_POSITIONAL:
            positional = 3
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            if parameter.default is parameter.empty:
                required += 1
                positional += 1
            elif positional == 0 or required >= 2 or parameter.name in ("neuron", "reaction_id"):
                positional += 1
        elif parameter.kind == parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise TypeError(
                f"reactant {reactant!r} needs the keyword argument {parameter.name!r}; "
                "it is called with (data[, neuron[, reaction_id]])"
            )
    if positional == 0 or required > 3:
        raise TypeError(
            f"reactant {reactant!r} takes {required or 'no'} positional arguments; expected one to three: "
            "(data[, neuron[, reaction_id]])"
        )
    return min(positional, 3)
