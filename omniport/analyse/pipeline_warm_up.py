"""Whether the request with which vLLM-Omni's engine starts can run in the port.

That request has the text "dummy run", an image and audio where the port says that it takes them, 512 by 512 pixels, one
frame and guidance 0.  A port in which it cannot run says so, and the engine starts without it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.analyse import pipeline_knowledge as knowledge
from omniport.analyse import pipeline_reading as reading
from omniport.analyse.pipeline_arguments import media_keys
from omniport.plan.model import ArgumentPlan
from omniport.source.nodes import each_node
from omniport.source.tree import SourceModule

BROUGHT = ("prompt", "image", "audio", "height", "width", "num_frames", "guidance_scale", "num_inference_steps")
"""What that request brings along, by the names of parameters."""


def no_warm_up(
    node: ast.ClassDef,
    call: ast.FunctionDef,
    found: list[ArgumentPlan],
    modules: list[SourceModule],
    denoiser: ast.ClassDef,
) -> tuple[str, int]:
    """Why the engine's start-up request cannot run (empty if it can), and the line that shows it.

    Args:
        node: the pipeline's class.
        call: its ``__call__``.
        found: what the port takes from a request.
        modules: that of the class, and those that its constants come from; read only where they matter.
        denoiser: the class of the denoiser.
    """
    for reason in (
        _required(call, found),
        _media(node, call, found),
        _checks(node, call),
        _absent(node, call, found),
        _asked_of_the_prompt(node),
        _handed_on(call, found, denoiser),
        _one_frame(node, found),
        _filled_by_the_picture(call, found),
        _binned(node, call, modules),
    ):
        if reason[0]:
            return reason
    return "", 0


def _required(call: ast.FunctionDef, found: list[ArgumentPlan]) -> tuple[str, int]:
    required = {a.arg for a, default in reading.parameters(call, "", stars=True) if default is None}
    for argument in found:
        if argument.name in required and argument.why.reason.startswith("extra:"):
            return f"the warm-up request brings no {argument.name}", argument.why.line
    return "", 0


def _media(node: ast.ClassDef, call: ast.FunctionDef, found: list[ArgumentPlan]) -> tuple[str, int]:
    if others := [key for key in media_keys(found) if key not in ("image", "audio", "last_image")]:
        return f"the warm-up request brings no {others[0]}", node.lineno
    annotations = {a.arg: reading.names_in(a.annotation) for a, _ in reading.parameters(call, "", stars=True)}
    for argument in found:
        kinds = annotations[argument.name]
        if media_keys([argument]) == ["audio"] and "Tensor" in kinds and "ndarray" not in kinds:
            return f"the warm-up request brings an array, and {argument.name} is a tensor", argument.why.line
    return "", 0


def _checks(node: ast.ClassDef, call: ast.FunctionDef) -> tuple[str, int]:
    """Checks that refuse a guidance scale of 0, or one beside another default."""
    defaults = {a.arg: ast.unparse(d) for a, d in reading.parameters(call, "", stars=True) if d is not None}
    for test in _refusals(node):
        both = _all_of(test, " is not None")
        if "guidance_scale" in both and any(defaults.get(n, "None") != "None" for n in both - {"guidance_scale"}):
            names = ", ".join(sorted(both))
            return f"the warm-up request has guidance_scale; the checks want one of {names}", test.lineno
        if (
            isinstance(test, ast.Compare)
            and reading.dotted(test.left) == "guidance_scale"
            and isinstance(test.ops[0], ast.Lt)
            and ast.unparse(test.comparators[0]) not in ("0", "0.0")
        ):
            return "the warm-up request asks for guidance 0, which the checks refuse", test.lineno
    return "", 0


def _absent(node: ast.ClassDef, call: ast.FunctionDef, found: list[ArgumentPlan]) -> tuple[str, int]:
    """Checks that refuse a call with none of several arguments, where the request brings none of them."""
    brought = {*BROUGHT, *(a.name for a in found if media_keys([a]))}
    omitted = {a.arg for a, d in reading.parameters(call, "", stars=True) if reading.is_none(d)} - brought
    for test in _refusals(node):
        names = _all_of(test, " is None")
        if names and names <= omitted:
            return (
                f"the checks want one of {', '.join(sorted(names))}, and the warm-up request brings none",
                test.lineno,
            )
    return "", 0


def _asked_of_the_prompt(node: ast.ClassDef) -> tuple[str, int]:
    """Checks that look for a piece of text in the prompt."""
    for test in _refusals(node):
        for inner in each_node(test):
            if not isinstance(inner, ast.Compare) or not isinstance(inner.ops[0], ast.In | ast.NotIn):
                continue
            where = inner.comparators[0]
            where = where.value if isinstance(where, ast.Subscript) else where
            literal = isinstance(inner.left, ast.JoinedStr) or (
                isinstance(inner.left, ast.Constant) and isinstance(inner.left.value, str)
            )
            if literal and reading.dotted(where) == "prompt":
                return f"the checks look for {ast.unparse(inner.left)} in the prompt", test.lineno
    return "", 0


def _handed_on(call: ast.FunctionDef, found: list[ArgumentPlan], denoiser: ast.ClassDef) -> tuple[str, int]:
    """Extra arguments, None where a request has none, of which the denoiser uses a method without asking."""
    extra = {a.name for a in found if a.why.reason.startswith("extra:") and a.default == "None"}
    stored = {n.id for n in each_node(call) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    keywords = (k for n in each_node(call) if isinstance(n, ast.Call) for k in n.keywords)
    given = {k.arg for k in keywords if k.arg and k.arg == reading.dotted(k.value)}
    forward = next((n for n in denoiser.body if isinstance(n, ast.FunctionDef) and n.name == "forward"), None)
    if forward is None:
        return "", 0
    for name in sorted(extra & given - stored):
        if (line := _used_unasked(forward.body, name)) is not None:
            return f"the denoiser reads {name}, which the warm-up request does not bring", line
    return "", 0


def _used_unasked(block: list[ast.stmt], name: str) -> int | None:
    """Line of the first ``name.x`` that no test of ``name`` guards."""
    for node in block:
        heads = [node]
        if isinstance(node, ast.If):
            if name in reading.names_in(node.test):
                continue
            heads = [node.test]  # type: ignore[list-item]
        elif isinstance(node, ast.For | ast.While | ast.With):
            heads = []
        for head in heads:
            for inner in each_node(head):
                if isinstance(inner, ast.IfExp) and name in reading.names_in(inner.test):
                    break
                if isinstance(inner, ast.Attribute) and reading.dotted(inner.value) == name:
                    return inner.lineno
        if not isinstance(node, ast.If | ast.For | ast.While | ast.With):
            continue
        for part in (node.body, getattr(node, "orelse", [])):
            if (line := _used_unasked(part, name)) is not None:
                return line
    return None


def _one_frame(node: ast.ClassDef, found: list[ArgumentPlan]) -> tuple[str, int]:
    """A helper that gives something else back for one frame: a message beside the value."""
    if not any(a.name in ("num_frames", "frames", "video_length") for a in found):
        return "", 0
    for test, answer in (
        (n.test, n.body[-1]) for n in each_node(node) if isinstance(n, ast.If) and isinstance(n.body[-1], ast.Return)
    ):
        few = isinstance(test, ast.Compare) and ".shape[" in ast.unparse(test.left)
        if not few or ast.unparse(test).split("]")[-1].strip() not in ("<= 1", "< 2", "== 1"):
            continue
        value = answer.value
        if isinstance(value, ast.Tuple) and any(
            isinstance(e, ast.Constant) and isinstance(e.value, str) for e in value.elts
        ):
            return "the warm-up request has one frame, for which a message comes beside the latents", test.lineno
    return "", 0


def _filled_by_the_picture(call: ast.FunctionDef, found: list[ArgumentPlan]) -> tuple[str, int]:
    """A method that is told how many frames a picture fills, and cannot work where that is all of them."""
    if "image" not in media_keys(found):
        return "", 0
    for inner in each_node(call):
        if not isinstance(inner, ast.Call) or not isinstance(inner.func, ast.Attribute):
            continue
        given, reason = knowledge.NEEDS_FRAMES.get(inner.func.attr, ("", ""))
        values = [*inner.args, *(k.value for k in inner.keywords)]
        if given and any(reading.dotted(value) == given for value in values):
            return reason, inner.lineno
    return "", 0


def _binned(node: ast.ClassDef, call: ast.FunctionDef, modules: list[SourceModule]) -> tuple[str, int]:
    """A square falls into a bin of sizes that the checks then refuse."""
    binning = next((d for a, d in reading.parameters(call, "", stars=True) if a.arg == "use_resolution_binning"), None)
    if not isinstance(binning, ast.Constant) or binning.value is not True:
        return "", 0
    divisors = {
        inner.right.value: test.lineno
        for test in _refusals(node)
        for inner in each_node(test)
        if isinstance(inner, ast.BinOp)
        and isinstance(inner.op, ast.Mod)
        and reading.dotted(inner.left) == "height"
        and isinstance(inner.right, ast.Constant)
        and isinstance(inner.right.value, int)
    }
    used = {n.id for n in each_node(node) if isinstance(n, ast.Name)}
    for statement in (s for module in modules for s in module.ast.body):
        if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Dict):
            continue
        if not {reading.dotted(t) for t in statement.targets} & used:
            continue
        for key, value in zip(statement.value.keys, statement.value.values, strict=True):
            if not isinstance(key, ast.Constant) or key.value not in ("1.0", 1.0) or not isinstance(value, ast.List):
                continue
            values = [e.value for e in value.elts if isinstance(e, ast.Constant)]
            sides = [v for v in values if isinstance(v, int | float)]
            for divisor, line in divisors.items():
                if any(side % divisor for side in sides):
                    return f"a square falls into the bin {ast.unparse(value)}, which the checks refuse", line
    return "", 0


def _refusals(node: ast.ClassDef) -> Iterator[ast.expr]:
    """Conditions under which a method raises."""
    for inner in each_node(node):
        if isinstance(inner, ast.If) and isinstance(inner.body[0], ast.Raise):
            yield inner.test


def _all_of(test: ast.expr, end: str) -> set[str]:
    """The names of ``a is None and b is None`` (``end`` says which), or of one alone; empty for other conditions."""
    if isinstance(test, ast.BoolOp) and not isinstance(test.op, ast.And):
        return set()
    parts = [ast.unparse(value) for value in (test.values if isinstance(test, ast.BoolOp) else [test])]
    return {p.removesuffix(end) for p in parts} if all(p.endswith(end) for p in parts) else set()
