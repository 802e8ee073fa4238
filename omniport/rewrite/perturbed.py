"""Blocks whose self-attention a call perturbs: a parameter of the forward names them, for perturbed attention guidance.

A token of such a block keeps its own value, or attends to itself and the text.  It is written into the finished code,
so that no other rewrite has to know of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.plan.model import TransformerPlan
from omniport.rewrite.layers import parameter
from omniport.rewrite.syntax import (
    assignment,
    assignments,
    code,
    dotted,
    method,
    names_in,
    self_attribute,
    statements,
    with_keywords,
)
from omniport.source.transform import transform
from omniport.source.walk import of_kind

SUBJECT = "perturbed attention"
BLOCKS, FLAG = "perturbed_blocks", "perturbed"
ORIGIN = "diffusers.models.attention_processor.Attention"  # whose instances the reference looks for, by their names
CROSS = "cross_attention_dim"  # what makes one cross-attention there

_FIND = '''
def find_perturbed_blocks(self, patterns: str | list[str]) -> list[int]:
    """Indices of the blocks in the name of whose self-attention one of the regular expressions is found."""
    names = [f"{blocks}.{{index}}.{attention}" for index in range(len(self.{blocks}))]
    found = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matches = [index for index, name in enumerate(names) if re.search(pattern, name, timeout=1)]
        if not matches:
            raise ValueError(f"{{pattern!r}} is found in none of {{names}}")
        found.update(matches)
{others}    return sorted(found)
'''

_OTHERS = """    if alone := [index for index in sorted(found) if hasattr(self.{blocks}[index], "{other}")]:
        raise ValueError(f"blocks {{alone}} have attention of the image alone, which cannot be perturbed")
"""

CONTEXT = "attend_to_context"

#: {keys} are the keys and values of the context, on every rank.
_CONTEXT = '''
def {name}(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, tokens: int) -> torch.Tensor:
    """Attention of the first ``tokens`` of [B, S, heads, width], each to itself and to those behind them alone."""
    query, own, own_value = query[:, :tokens], key[:, :tokens], value[:, :tokens]
{keys}    scores = torch.cat([(query * own).sum(-1, keepdim=True), torch.einsum("bqhd,bkhd->bqhk", query, key)], dim=-1)
    weights = (scores * query.shape[-1] ** -0.5).softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    return weights[..., :1] * own_value + torch.einsum("bqhk,bkhd->bqhd", weights[..., 1:], value)
'''

_WHOLE = "    key, value = key[:, tokens:], value[:, tokens:]\n"

_SHARED = """    # Every rank has its part of the context; what pads the last one is cut off.
    key, value = (sp_gather(part[:, tokens:].contiguous(), dim=1) for part in (key, value))
    length = get_sp_shard_original_seq_len("{stream}")
    key, value = key[:, :length], value[:, :length]
"""


def perturb(module: cst.Module, plan: TransformerPlan, root: str) -> tuple[cst.Module, str]:
    """``module`` with the parameter, and the function that it needs; as it is where no decision asks for one.

    Raises:
        UnsupportedError: the code has a form that no rule covers.
    """
    how = next((str(d.value) for d in plan.decisions if d.subject == SUBJECT), "")
    if not how:
        return module, ""
    classes = {node.name.value: node for node in module.body if isinstance(node, cst.ClassDef)}
    listed = plan.blocks[0]
    block = classes[listed.class_name]
    own, others = _attentions(block, plan, how)
    new = {block.name.value: _block(block, own)}
    name = _built(block)[own]
    new[name] = _keeping_value(classes[name]) if how == "value" else _attending(classes[name])
    new[root] = _root(classes[root], listed.attribute, own, others)
    body = [new.get(item.name.value, item) if isinstance(item, cst.ClassDef) else item for item in module.body]
    return module.with_changes(body=body), _helper(plan, name) if how == "context" else ""


def _attentions(block: cst.ClassDef, plan: TransformerPlan, how: str) -> tuple[str, list[str]]:
    """The self-attention of a block that can be perturbed, and others that cannot."""
    origins = {c.name: c.origin for c in plan.classes}
    cross = {self_attribute(t) for t, v in _constructions(block) if any(_is(a, CROSS) for a in v.args)}
    found = [a for a, cls in _built(block).items() if origins.get(cls) == ORIGIN and a not in cross]
    calls = {name: call for call in of_kind(block, cst.Call) if (name := self_attribute(call.func)) in found}
    own = [
        a for a in found if how == "value" or a in calls and any(_is(x, "encoder_hidden_states") for x in calls[a].args)
    ]
    if len(own) != 1 or own[0] not in calls:
        raise UnsupportedError(f"{block.name.value} has {len(own)} self-attentions that can be perturbed")
    return own[0], [a for a in found if a not in own]


def _constructions(block: cst.ClassDef) -> list[tuple[cst.BaseExpression, cst.Call]]:
    init = method(block, "__init__")
    return [(t, v) for t, v in assignments(init) if isinstance(v, cst.Call) and self_attribute(t)] if init else []


def _built(block: cst.ClassDef) -> dict[str, str]:
    """Attribute -> the class that the constructor makes for it."""
    return {self_attribute(target): dotted(call.func) for target, call in _constructions(block)}


def _is(argument: cst.Arg, name: str) -> bool:
    return argument.keyword is not None and argument.keyword.value == name


# --------------------------------------------------------------------------------------------------------------- blocks
class _Flagged(cst.CSTTransformer):
    """Calls of ``names`` with one more argument."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names, self.count = names, 0

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        value = self.names.get(dotted(original_node.func))
        if value is None:
            return updated_node
        self.count += 1
        return with_keywords(updated_node, [(FLAG, value)])


def _block(node: cst.ClassDef, attention: str) -> cst.ClassDef:
    forward = _forward(node)
    flagged = _Flagged({f"self.{attention}": FLAG})
    new = transform(_with_parameter(forward, FLAG, "bool", "False"), flagged)
    assert isinstance(new, cst.FunctionDef)
    return _with(node, forward, new)


def _root(node: cst.ClassDef, blocks: str, attention: str, others: list[str]) -> cst.ClassDef:
    forward = _forward(node)
    lines: list[cst.BaseStatement] = []
    count = 0
    for line in forward.body.body:
        over = code(line.iter).strip() if isinstance(line, cst.For) else ""
        if over not in (f"self.{blocks}", f"enumerate(self.{blocks})"):
            if f"self.{blocks}" in code(line):
                raise UnsupportedError(f"{node.name.value} runs its blocks in a way that no index tells apart")
            lines.append(line)  # type: ignore[arg-type]
            continue
        assert isinstance(line, cst.For)
        target = code(line.target).strip().strip("()")
        index, _, block = target.rpartition(", ")
        if not index:
            index = "index" if "index" not in set(names_in(forward)) else "index_block"
            enumerated = cst.parse_statement(f"for {index}, {block} in enumerate(self.{blocks}): pass")
            assert isinstance(enumerated, cst.For)
            line = line.with_changes(target=enumerated.target, iter=enumerated.iter)
        flagged = _Flagged({block: f"{BLOCKS} is not None and {index} in {BLOCKS}"})
        lines.append(transform(line, flagged))
        count += flagged.count
    if not count:
        raise UnsupportedError(f"{node.name.value} calls no block of {blocks}")
    new = _with_parameter(forward, BLOCKS, "list[int] | None", "None")
    new = new.with_changes(body=forward.body.with_changes(body=lines))
    more = "".join(_OTHERS.format(blocks=blocks, other=other) for other in others)
    (find,) = statements(_FIND.format(blocks=blocks, attention=attention, others=more).strip())
    members: list[cst.BaseStatement | cst.BaseSmallStatement] = []
    for member in node.body.body:
        if member is forward:
            members += [find.with_changes(leading_lines=[cst.EmptyLine(indent=False)]), new]
        else:
            members.append(member)
    return node.with_changes(body=node.body.with_changes(body=members))


# ------------------------------------------------------------------------------------------------------------ attention
def _keeping_value(node: cst.ClassDef) -> cst.ClassDef:
    """All between the projection to query, key and value and the one of the output goes where it is perturbed."""
    forward = _forward(node)
    body = list(forward.body.body)
    start, value = next(((i, _value(line)) for i, line in enumerate(body) if _value(line)), (None, ""))
    stop, result = next(((i, n) for i, line in enumerate(body) if (n := _projected(line))), (None, ""))
    if start is None or stop is None or stop <= start + 1:
        raise UnsupportedError(f"{node.name.value} does not project value and output in lines of their own")
    inside, after = body[start + 1 : stop], body[stop:]
    bound = {n for line in inside for t, _ in assignments(line) for n in names_in(t)} - {result}
    if bound & {n for line in after for n in names_in(line)}:
        raise UnsupportedError(f"{node.name.value} reads behind the attention what is computed for it")
    choice = cst.parse_statement(
        f"if {FLAG}:\n    # Every token keeps its own value.\n    {result} = {value}\nelse:\n    pass\n"
    )
    assert isinstance(choice, cst.If) and isinstance(choice.orelse, cst.Else)
    first, *others = (line for line in inside if isinstance(line, cst.SimpleStatementLine | cst.BaseCompoundStatement))
    first = first.with_changes(leading_lines=[line for line in first.leading_lines if line.comment])
    orelse = choice.orelse.with_changes(body=cst.IndentedBlock([first, *others]))
    choice = choice.with_changes(orelse=orelse, leading_lines=[cst.EmptyLine(indent=False)])
    new = _with_parameter(forward, FLAG, "bool", "False")
    return _with(
        node, forward, new.with_changes(body=forward.body.with_changes(body=[*body[: start + 1], choice, *after]))
    )


def _value(line: cst.CSTNode) -> str:
    """The name of what a line projects to values."""
    pair = assignment(line)
    if pair is None:
        return ""
    target, value = pair
    if code(value).startswith("self.to_qkv(") and isinstance(target, cst.Tuple) and len(target.elements) == 3:
        return code(target.elements[2].value)
    return code(target) if isinstance(value, cst.Call) and dotted(value.func) == "self.to_v" else ""


def _projected(line: cst.CSTNode) -> str:
    """The name of what a line projects to the output."""
    for call in of_kind(line, cst.Call):
        if code(call.func) == "self.to_out[0]" and len(call.args) == 1 and isinstance(call.args[0].value, cst.Name):
            return call.args[0].value.value
    return ""


def _attending(node: cst.ClassDef) -> cst.ClassDef:
    """The rows of the first stream are computed again where it is perturbed; those of the second are as ever."""
    forward = _forward(node)
    body: list[cst.BaseStatement] = []
    done = 0
    for line in forward.body.body:
        body.append(line)  # type: ignore[arg-type]
        pair = assignment(line)
        if pair is None or not isinstance(pair[1], cst.Call) or code(pair[1].func) != "self.attn":
            continue
        query, key, value = (code(a.value) for a in pair[1].args[:3])
        result, tokens = code(pair[0]), _tokens(forward)
        if not tokens or len(pair[1].args) < 3:
            continue
        done += 1
        body += statements(
            f"if {FLAG}:\n    # The image does not see itself, each of its tokens aside.\n"
            f"    image = {CONTEXT}({query}, {key}, {value}, {tokens})\n"
            f"    {result} = torch.cat([image, {result}[:, {tokens}:]], dim=1)\n"
        )
    if done != 1:
        raise UnsupportedError(f"{node.name.value} does not attend once over two streams of tokens")
    new = _with_parameter(forward, FLAG, "bool", "False")
    return _with(node, forward, new.with_changes(body=forward.body.with_changes(body=body)))


def _tokens(forward: cst.FunctionDef) -> str:
    """``n`` where the result is cut into ``x[:, :n]``, which is the image's, and ``x[:, n:]``."""
    for target, value in assignments(forward):
        if code(target).startswith("hidden_states, ") and isinstance(value, cst.Tuple) and len(value.elements) == 2:
            first, second = ("".join(code(e.value).split()) for e in value.elements)
            name, _, end = first.partition("[:,:")
            if end.endswith("]") and second == f"{name}[:,{end[:-1]}:]":
                return end[:-1]
    return ""


def _helper(plan: TransformerPlan, name: str) -> str:
    attention = next(a for a in plan.attentions if a.class_name == name)
    if attention.streams and len(attention.streams) != 2:
        raise UnsupportedError(f"{name} attends over {len(attention.streams)} streams, perturbed over two")
    keys = _SHARED.format(stream=attention.streams[1]) if attention.streams else _WHOLE
    return _CONTEXT.format(name=CONTEXT, keys=keys).strip() + "\n\n\n"


# ---------------------------------------------------------------------------------------------------------- small parts
def _forward(node: cst.ClassDef) -> cst.FunctionDef:
    found = method(node, "forward")
    if found is None:
        raise UnsupportedError(f"{node.name.value} has no forward of its own")
    return found


def _with_parameter(forward: cst.FunctionDef, name: str, kind: str, default: str) -> cst.FunctionDef:
    params = [p.with_changes(comma=cst.MaybeSentinel.DEFAULT) for p in forward.params.params]
    return forward.with_changes(params=forward.params.with_changes(params=[*params, parameter(name, kind, default)]))


def _with(node: cst.ClassDef, old: cst.FunctionDef, new: cst.FunctionDef) -> cst.ClassDef:
    return node.with_changes(
        body=node.body.with_changes(body=[new if member is old else member for member in node.body.body])
    )
