"""Perturbed attention guidance without exchanged processors: the perturbed side of a batch as a prediction of its own.

diffusers puts the side behind the others and exchanges the attention processors of some blocks.  Here the batch has the
sides that it has without, which other rewrites split, and a third call of the denoiser names the blocks.
"""

from __future__ import annotations

import re

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.rewrite.pipeline.blocks import Block, Statement, bare, changed, indented, parse, suite
from omniport.rewrite.pipeline.denoiser import denoiser_calls
from omniport.rewrite.pipeline.rename import replace_names
from omniport.rewrite.pipeline.walk import all_parameters
from omniport.source.syntax import code, dotted
from omniport.source.transform import replaced
from omniport.source.walk import of_kind

LAYERS, BLOCKS, FIND = "pag_applied_layers", "perturbed_blocks", "find_perturbed_blocks"
GUARD = "self.do_perturbed_attention_guidance"
DENOISER = "self.transformer"
SCALE, FALL = "pag_scale", "pag_adaptive_scale"
PREDICTION = "noise_pred_perturb"

_SCALE_AT = f"""
def perturbation_scale(self, {SCALE}, {FALL}, t):
    \"\"\"The scale of perturbed attention guidance at time ``t``, which falls with the noise if it is adaptive.\"\"\"
    return max({SCALE} - {FALL} * (1000 - t), 0) if {FALL} > 0 else {SCALE}
"""


def with_own_call(
    methods: dict[str, cst.FunctionDef], entry: str, layers: str, file: str
) -> dict[str, cst.FunctionDef]:
    """The methods of a class with the perturbed side as a call of its own.

    Args:
        methods: by name.
        entry: the one that denoises.
        layers: patterns of the layers that are perturbed, where a request gives none.
        file: of the class, for what is refused.

    Raises:
        UnsupportedError: the call uses the mixin in another way than all that are known.
    """
    init, call = methods["__init__"], methods[entry]
    kept = [s for s in suite(init.body) if ".set_pag_applied_layers(" not in code(s)]
    work = _Apart(file)
    block = work.block(suite(call.body))
    names = {p.name.value for p in all_parameters(call.params)}
    new = call.with_changes(body=indented(block, call.body))
    text = code(new)
    if left := re.search(
        rf"\w*_pag_\w*processor|set_attn_processor|{re.escape(GUARD)}|_\w*perturbed_attention_\w+", text
    ):
        raise UnsupportedError(f"{left[0]} is used in a way that is not known", file)
    if work.found != {"blocks", "sides", "latents", "guidance"} or not {SCALE, FALL} <= names:
        raise UnsupportedError("the call does not guide by perturbed attention as others do", file)
    layer = parse(f"def _({LAYERS}: str | list[str] = {layers}): pass\n")[0]
    assert isinstance(layer, cst.FunctionDef)
    params = [p.with_changes(comma=_COMMA) for p in call.params.params]
    scale = parse(_SCALE_AT)[0]
    assert isinstance(scale, cst.FunctionDef)
    return {
        **methods,
        "__init__": init.with_changes(body=indented(kept, init.body)),
        scale.name.value: scale,
        entry: new.with_changes(params=call.params.with_changes(params=[*params, *layer.params.params])),
    }


_COMMA = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))


class _Apart:
    """``found`` are the parts of the scheme that were met and rewritten."""

    def __init__(self, file: str) -> None:
        self.file, self.found = file, set[str]()
        self.guard = ""

    def block(self, block: Block) -> Block:
        out: Block = []
        for node in block:
            out += self.statement(node, out)
        return out

    def statement(self, node: Statement, before: Block) -> Block:
        if isinstance(node, cst.If) and _text(node.test) == GUARD:
            return self.guarded(node, before)
        if isinstance(node, cst.SimpleStatementLine):
            return [self.latents(node)]
        if isinstance(node, cst.For | cst.While | cst.With):
            return [changed(node, body=indented(self.block(suite(node.body)), node.body))]
        return [node]

    def latents(self, node: cst.SimpleStatementLine) -> Statement:
        """``torch.cat([x] * (y.shape[0] // x.shape[0]))`` holds as many as there are sides."""

        def twice(inner: cst.CSTNode) -> cst.CSTNode | None:
            if type(inner) is not cst.Call or dotted(inner.func) != "torch.cat":
                return None
            if (match := _SIDES.match(_text(inner))) is None or not self.guard:
                return None
            self.found.add("latents")
            return cst.parse_expression(f"torch.cat([{match[1]}] * 2) if {self.guard} else {match[1]}")

        new = replaced(node, twice)
        assert isinstance(new, cst.SimpleStatementLine)
        return new

    def guarded(self, node: cst.If, before: Block) -> Block:
        body = suite(node.body)
        text = "".join(map(code, body))
        if "._set_pag_attn_processor(" in text and node.orelse is None:
            self.found.add("blocks")
            line = f"{BLOCKS} = {DENOISER}.{FIND}({LAYERS}) if {SCALE} > 0 else []\n"
            return [parse(line)[0].with_changes(leading_lines=node.leading_lines)]
        if "set_attn_processor(" in text and len(body) == 1 and node.orelse is None:
            return []
        if not isinstance(node.orelse, cst.If):
            raise self.refuse(f"{GUARD} without a branch for guidance alone")
        if "._apply_perturbed_attention_guidance(" in text:
            return self.guidance(node, body, node.orelse, before)
        return self.sides(node, body, node.orelse)

    def sides(self, node: cst.If, body: Block, plain: cst.If) -> Block:
        """What is joined with a third side is joined without it in the other branch, and in no other way."""
        guard = _text(plain.test)
        joined = [j for s in suite(plain.body) if (j := _joined(s)) is not None]
        perturbed = [j for s in body if (j := _joined_for_perturbation(s, guard)) is not None]
        if (
            plain.orelse is not None
            or joined != perturbed
            or len(joined) != len(body)
            or len(suite(plain.body)) != len(body)
        ):
            raise self.refuse("the sides of the batch are not those of guidance alone and the positive one again")
        self.found.add("sides")
        self.guard = guard
        return [plain.with_changes(leading_lines=node.leading_lines)]

    def guidance(self, node: cst.If, body: Block, plain: cst.If, before: Block) -> Block:
        """Guidance alone, and what the perturbed prediction adds to it."""
        targets, call = _assigned(body[0])
        given = [_text(a.value) for a in call.args] if isinstance(call, cst.Call) else []
        formula = suite(plain.body)
        halves, total = (_assigned(s) for s in formula) if len(formula) == 2 else (("", None), ("", None))
        name, positive = (given[0] if given else ""), halves[0].partition(", ")[2]
        known = re.fullmatch(
            rf"(\w+) \+ (?:self\.)?(\w+) \* \({positive} - \1\)", _text(total[1]) if total[1] is not None else ""
        )
        if (
            len(body) != 1
            or targets not in (name, f"{name}, {positive}")
            or len(given) != 4 + (targets != name)
            or given[4:] not in ([], ["True"])
            or {given[1], _text(plain.test)} != {self.guard}
            or halves[1] is None
            or _text(halves[1]) != f"{name}.chunk(2)"
            or known is None
            or known[2] != given[2].removeprefix("self.")
            or total[0] != name
            or plain.orelse is not None
        ):
            raise self.refuse("the predictions are not combined as the mixin does")
        made = next(
            (i for i in range(len(before) - 1, -1, -1) if denoiser_calls(before[i], frozenset({DENOISER}))), None
        )
        if made is None:
            raise self.refuse("the prediction is not made beside the guidance")
        own = [replace_names(s, {name: PREDICTION}) for s in before[made:] if _binds(s, name)]
        own[0] = replaced(own[0], _named)
        added = parse(
            f"{name} = {name} + self.perturbation_scale({SCALE}, {FALL}, {given[3]}) * ({positive} - {PREDICTION})\n"
        )
        else_branch = cst.Else(body=indented(parse(f"{positive} = {name}\n")))
        choice = plain.with_changes(leading_lines=node.leading_lines, orelse=else_branch)
        self.found.add("guidance")
        own = [s.with_changes(leading_lines=()) for s in own]
        return [choice, cst.If(test=cst.Name(BLOCKS), body=indented([*own, *added]))]

    def refuse(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"perturbed attention: {what}", self.file)


_SIDES = re.compile(r"torch\.cat\(\[(\w+)\] \* \(\w+\.shape\[0\] // \1\.shape\[0\]\)\)\Z")


def perturbed(node: cst.CSTNode) -> bool:
    """Whether an expression holds a call that names perturbed blocks: it is about the positive side alone."""
    return any(a.keyword is not None and a.keyword.value == BLOCKS for a in of_kind(node, cst.Arg))


def _named(node: cst.CSTNode) -> cst.CSTNode | None:
    """The denoiser's call, which names the blocks."""
    if type(node) is not cst.Call or dotted(node.func) != DENOISER:
        return None
    blocks = cst.parse_expression(f"f({BLOCKS}={BLOCKS})")
    assert isinstance(blocks, cst.Call)
    return node.with_changes(args=[*(a.with_changes(comma=_COMMA) for a in node.args), *blocks.args])


def _joined(node: Statement) -> str | None:
    """``x: y, x`` for ``x = torch.cat([y, x])``, ``x: x, x`` for ``x = torch.cat([x] * 2)``."""
    target, value = _assigned(node)
    text = _text(value) if value is not None else ""
    if (match := re.fullmatch(r"torch\.cat\(\[(\w+)\] \* 2(?:, dim=0)?\)", text)) is not None:
        return f"{target}: {match[1]}, {match[1]}"
    match = re.fullmatch(r"torch\.cat\(\[(\w+), (\w+)\](?:, dim=0)?\)", text)
    return f"{target}: {match[1]}, {match[2]}" if match is not None else None


def _joined_for_perturbation(node: Statement, guard: str) -> str | None:
    """The same without the third side."""
    target, value = _assigned(node)
    text = _text(value) if value is not None else ""
    if (match := re.fullmatch(r"torch\.cat\(\[(\w+)\] \* 3(?:, dim=0)?\)", text)) is not None:
        return f"{target}: {match[1]}, {match[1]}"
    call = rf"self\._prepare_perturbed_attention_guidance\((\w+), (\w+), {re.escape(guard)}\)"
    match = re.fullmatch(call, text)
    return f"{target}: {match[2]}, {match[1]}" if match is not None else None


def _assigned(node: Statement) -> tuple[str, cst.BaseExpression | None]:
    """Target and value of ``target = value``."""
    small = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
    if not isinstance(small, cst.Assign) or len(small.targets) != 1:
        return "", None
    return _text(small.targets[0].target), small.value


def _binds(node: Statement, name: str) -> bool:
    return name in re.findall(r"\w+", _assigned(node)[0])


def _text(node: cst.CSTNode) -> str:
    """The text in one line, without comma behind the last argument."""
    flat = " ".join(code(bare(node)).split())
    return re.sub(r",? ?\)", ")", re.sub(r"\( ", "(", flat))
