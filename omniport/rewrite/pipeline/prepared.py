"""The call of a pipeline as its denoiser's port is called: no output class, no argument that no port takes."""

from __future__ import annotations

import functools

import libcst as cst

from omniport.analyse.pipeline_knowledge import NOT_PORTED
from omniport.errors import UnsupportedError
from omniport.rewrite.pipeline.blocks import Block, bound, indented, parse, suite
from omniport.rewrite.pipeline.denoiser import Denoisers, denoiser_calls, without_samples
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform


@functools.lru_cache(maxsize=16)  # the plan and the port ask for the same one
def prepared(function: cst.FunctionDef, denoisers: Denoisers) -> cst.FunctionDef:
    """``function`` with :func:`without_samples`, and without the arguments of :data:`NOT_PORTED`.

    Where the value of such an argument is computed, a check that it is None stands behind it.

    Raises:
        UnsupportedError: the value is neither None nor a name that the function binds.
    """
    function = without_samples(function, denoisers)
    names = denoisers.names(function)
    values: dict[str, str] = {}
    for call in denoiser_calls(function, names):
        for argument in call.args:
            key = argument.keyword.value if argument.keyword is not None else ""
            if key in NOT_PORTED and dotted(argument.value) != "None":
                values[code(argument.value).strip()] = key
    new: cst.FunctionDef = transform(function, _Without(names))
    return new.with_changes(body=indented(_checked(suite(new.body), values), new.body)) if values else new


def _checked(block: Block, values: dict[str, str]) -> Block:
    out: Block = []
    missing = dict(values)
    for node in block:
        out.append(node)
        for name in sorted(bound([node]) & missing.keys()):
            reason = NOT_PORTED[missing.pop(name)]
            out += parse(f'if {name} is not None:\n    raise ValueError("{reason}")\n')
    if missing:
        raise UnsupportedError(f"{min(missing)} is passed to the denoiser: {NOT_PORTED[missing[min(missing)]]}")
    return out


class _Without(cst.CSTTransformer):
    def __init__(self, names: frozenset[str]) -> None:
        self.names = names

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if dotted(original_node.func) not in self.names:
            return updated_node
        kept = [a for a in updated_node.args if a.keyword is None or a.keyword.value not in NOT_PORTED]
        return updated_node if len(kept) == len(updated_node.args) else updated_node.with_changes(args=kept)
