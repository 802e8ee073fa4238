"""Attention classes: query, key and value children, and a call that attends."""

from __future__ import annotations

import re
from collections.abc import Iterator

from omniport.custom.code import ClassRef
from omniport.custom.facts import ClassFacts, Facts
from omniport.custom.signals.score import Score
from omniport.plan.custom import Candidate

_TRIOS = (
    {"q", "k", "v"}, {"to_q", "to_k", "to_v"}, {"q_proj", "k_proj", "v_proj"}, {"query", "key", "value"},
    {"linear_q", "linear_k", "linear_v"}, {"q_linear", "kv_linear"}, {"wq", "wk", "wv"}, {"to_q", "to_kv"},
)  # fmt: skip
_FUSED = re.compile(r"(\w+_)?qkv(_\w+)?\Z|linear_kv\Z|linear1\Z|Wqkv\Z")
_ATTENDS = re.compile(r"attention|flash|sdpa|softmax|einsum|varlen|attn|processor\Z", re.I)
_CONVOLUTION = re.compile(r"(\A|\.)(Causal)?Conv[23]d\Z")
#: classes of other packages that are attention, or hold it
_FOREIGN = re.compile(r"(MultiheadAttention|Attention\w*)\Z")
_FOREIGN_STACK = re.compile(r"\w+(Model|ForCausalLM|Transformer[23]DModel|Transformer|DecoderLayer|Block)\Z")


def find(facts: Facts) -> Iterator[Candidate]:
    for ref, of in facts.all.items():
        if evidence := projections(of):
            score = Score.of("attention", ref)
            score.add(3, evidence, min((c.line for c in of.children.values()), default=0))
            if called := attends(of):
                score.add(3, f"calls {called}")
            if inline(of):
                score.add(-2, "the projections stand in a block, not in a class of their own")
            if convolutional(of):
                score.add(-4, "projects by convolutions, as autoencoders do")
            if score.total >= 4:
                yield score.candidate()


def projections(of: ClassFacts) -> str:
    """What children project query, key and value; empty if none do."""
    names = set(of.children)
    for trio in _TRIOS:
        if trio <= names:
            return f"children {', '.join(sorted(trio))}"
    fused = sorted(name for name in names if _FUSED.match(name))
    return f"child {fused[0]}" if fused else ""


def attends(of: ClassFacts) -> str:
    """The call that attends; empty if there is none."""
    return min((call for call in of.calls if _ATTENDS.search(call)), default="")


def inline(of: ClassFacts) -> bool:
    """Whether a block projects itself: it has an MLP beside the projections."""
    return any(re.match(r"(\w+_)?(mlp|ffn|ff|feed_forward)\d?\Z", name) for name in of.children)


def convolutional(of: ClassFacts) -> bool:
    return any(
        _CONVOLUTION.search(call)
        for child in of.children.values()
        for call in child.calls
        if child.name in ("q", "k", "v", "to_qkv", "qkv")
    )


def owns(facts: Facts, ref: ClassRef, seen: frozenset[ClassRef] = frozenset()) -> bool:
    """Whether a class attends, or is built of classes that do, in the repository or elsewhere."""
    of = facts.of(ref)
    if projections(of) and (attends(of) or not convolutional(of)):
        return True
    if any(_foreign_stack(facts, ref, base) for base in of.bases):
        return True
    for child in of.children.values():
        for call in child.calls:
            last = call.rsplit(".", 1)[-1]
            if facts.origin(ref, call) and (_FOREIGN.search(last) or _foreign_stack(facts, ref, call)):
                return True
        for built in facts.built(ref, child):
            if built not in seen and built != ref and owns(facts, built, seen | {ref}):
                return True
    return False


def _foreign_stack(facts: Facts, ref: ClassRef, name: str) -> bool:
    origin = facts.origin(ref, name).split(".")[0]
    return origin in ("transformers", "diffusers") and bool(_FOREIGN_STACK.match(name.rsplit(".", 1)[-1]))
