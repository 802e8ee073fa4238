"""Inputs for one call of a transformer, made up from its signature and its config.  Runs in a forked child.

Every axis has a length of its own, so that two mixed-up axes cannot pass: see
:class:`omniport.verify.vocabulary.Sizes`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from omniport.errors import UnsupportedError
from omniport.verify.signatures import LEFT_OUT, PARAMETERS
from omniport.verify.vocabulary import MissingKeyError, Sizes, Vocabulary

__all__ = ["Sizes", "complete_config", "plainly", "synthesise", "taken_by"]


def complete_config(model: nn.Module, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the constructor's defaults for what it does not name."""
    parameters = inspect.signature(type(model).__init__).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    return {**defaults, **config}


def plainly(model: nn.Module) -> dict[str, bool]:
    """What makes a transformer, the reference's or a port's, give back a plain tuple; some give back nothing else."""
    return {"return_dict": False} if "return_dict" in inspect.signature(type(model).forward).parameters else {}


def taken_by(forward: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs for a port whose ``forward`` is given: without what it drops of the reference's, for a known reason."""
    accepted = inspect.signature(forward).parameters
    return {name: value for name, value in inputs.items() if name in accepted or name not in LEFT_OUT}


def synthesise(
    model: nn.Module,
    config: Mapping[str, Any],
    sizes: Sizes,
    seed: int = 0,
    *,
    inputs: Mapping[str, str] | None = None,
    words: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Keyword arguments for ``model.forward``, without ``return_dict``.

    Parameters with neither a rule nor a reason to leave them out are left out if they have a default.

    Args:
        model: the reference.
        config: of the model.
        sizes: axis lengths.
        seed: of all numbers.
        inputs: expressions for parameters of this class alone; an empty one leaves the parameter out.
        words: further words for the expressions.

    Raises:
        UnsupportedError: a required parameter has no rule, or a rule lacks what it needs.
    """
    given = inputs or {}
    made: dict[str, Any] = {}
    full = complete_config(model, config)
    generator = torch.Generator().manual_seed(seed)
    parameters = inspect.signature(model.forward).parameters
    if unknown := sorted(given.keys() - parameters.keys()):
        raise UnsupportedError(f"{type(model).__name__}.forward has no parameter {', '.join(unknown)}")
    for name, parameter in parameters.items():
        required = parameter.default is inspect.Parameter.empty
        if parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
            continue
        alternatives = (given[name],) if name in given else PARAMETERS.get(name, ())
        vocabulary = Vocabulary(full, sizes, model, generator, words)
        value = _first_value(vocabulary, alternatives, strict=required or name in given)
        if value is not None:
            made[name] = value
        elif required and name not in LEFT_OUT and name not in given:
            raise UnsupportedError(
                f"inputs cannot be made up: no rule for the required parameter {name!r} of "
                f"{type(model).__name__}.forward"
            )
    return made


def _first_value(vocabulary: Vocabulary, alternatives: tuple[str, ...], *, strict: bool) -> Any:
    """The first alternative that has a value; ``strict``: none of them may lack a config key in the end."""
    missing: MissingKeyError | None = None
    for expression in alternatives:
        if not expression:
            return None
        try:
            return vocabulary.evaluate(expression)
        except MissingKeyError as error:
            missing = error
    if strict and missing is not None:
        raise missing
    return None
