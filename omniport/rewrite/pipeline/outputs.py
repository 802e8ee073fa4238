"""Several outputs for each prompt, where the reference counts them for the latents and forgets the embeddings."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.pipeline.walk import all_parameters, calls
from omniport.source.syntax import code
from omniport.source.transform import transform
from omniport.source.walk import walk

ENCODE = "self.encode_prompt"
COUNTS = ("num_images_per_prompt", "num_videos_per_prompt", "num_waveforms_per_prompt")


def counted_for_prompts(entry: cst.FunctionDef, encode: cst.FunctionDef) -> cst.FunctionDef:
    """``entry`` with the number of outputs passed to every ``encode_prompt``, if nothing else repeats embeddings.

    That is so where the count is read only as the factor of a batch size and in the new shape of latents.  With one
    output nothing changes; with several the reference fails in the denoiser, whose inputs then have other batch sizes
    than the latents.
    """
    own = {p.name.value for p in all_parameters(entry.params)} & {p.name.value for p in all_parameters(encode.params)}
    name = next((n for n in COUNTS if n in own), None)
    found = calls(entry, ENCODE)
    if name is None or not found or any(_passes(c, name) for c in found) or not _only_a_factor(entry, name):
        return entry
    return transform(entry, _Pass(name))  # type: ignore[no-any-return]


def _passes(call: cst.Call, name: str) -> bool:
    return any(a.star or a.keyword is None or a.keyword.value == name for a in call.args)


def _only_a_factor(entry: cst.FunctionDef, name: str) -> bool:
    factors = sum(
        isinstance(n, cst.BinaryOperation)
        and isinstance(n.operator, cst.Multiply)
        and code(n.left).strip() == "batch_size"
        and code(n.right).strip() == name
        for n in walk(entry.body)
    )
    shapes = sum(
        isinstance(n, cst.Name) and n.value == name
        for call in calls(entry.body, "latents.reshape", "latents.view")
        for argument in call.args
        for n in [argument.value]
    )
    return factors > 0 and factors + shapes == sum(
        isinstance(n, cst.Name) and n.value == name for n in walk(entry.body)
    )


class _Pass(cst.CSTTransformer):
    def __init__(self, name: str) -> None:
        self.name = name

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if code(original_node.func) != ENCODE:
            return updated_node
        blank = cst.SimpleWhitespace("")
        argument = cst.Arg(keyword=cst.Name(self.name), value=cst.Name(self.name), equal=cst.AssignEqual(blank, blank))
        kept = [a.with_changes(comma=a.comma if isinstance(a.comma, cst.Comma) else _COMMA) for a in updated_node.args]
        return updated_node.with_changes(args=[*kept, argument])


_COMMA = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
