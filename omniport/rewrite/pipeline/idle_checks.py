"""Checks of a pipeline's inputs that no request can fail go: the port binds prompts so that they hold.

A prompt is None exactly where its embeddings are given (``analyse.pipeline_arguments``), so that both or neither never
arrive; and a batch gives prompts as a list.  What else ``check_inputs`` asks stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import libcst as cst

from omniport.plan.model import ArgumentPlan
from omniport.records import dataclass
from omniport.rewrite.pipeline.blocks import bound, reads, suite
from omniport.rewrite.pipeline.docs import trim
from omniport.rewrite.pipeline.evaluate import Facts
from omniport.rewrite.pipeline.fold import fold_function
from omniport.rewrite.pipeline.walk import attributes
from omniport.source.syntax import code, conjuncts, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind

_ENTRY = "forward"
_BOUND = re.compile(r"None if (\w+) is not None else \(?(.*?)\)?( or None\)?)?$", re.DOTALL)


@dataclass(frozen=True)
class Prompt:
    """A prompt and its embeddings; ``always``: one of them is there; ``listed``: the prompt is a list or None."""

    name: str
    embeds: str
    always: bool
    listed: bool


def prompts(arguments: Sequence[ArgumentPlan]) -> list[Prompt]:
    """The prompts among ``arguments`` that are None where their embeddings are given."""
    found = []
    for argument in arguments:
        match = _BOUND.match(argument.source)
        if match is not None:
            listed = match[2].startswith("[")
            always = argument.name == "prompt" and not match[3]
            found.append(Prompt(argument.name, match[1], always, listed))
    return found


def without_idle_checks(methods: Sequence[cst.FunctionDef], arguments: Sequence[ArgumentPlan]) -> list[cst.FunctionDef]:
    """``methods`` of a pipeline; ``forward``, and what it calls as a line to check its inputs, without such checks."""
    known = prompts(arguments)
    entry = next((m for m in methods if m.name.value == _ENTRY), None)
    result = list(methods)
    if entry is None or not known:
        return result
    shorter = _own(entry, known)
    result[result.index(entry)] = entry = shorter
    for name, call in _checks(entry):
        node = next((m for m in result if m.name.value == name), None)
        if node is None or sum(attributes(m).get(name, 0) for m in result) != 1:
            continue
        given = _given(node, call)
        here = [own for p in known if (own := _named(p, given)) and _settled(entry, p, call)]
        new = _without(node, here)
        if new is node:
            continue
        gone = sorted({own for p in here for own in (p.name, p.embeds)} - _read(new))
        empty = [code(line).strip() for line in suite(new.body)] == ["pass"]
        if empty or not {given[own] for own in gone} <= _others(entry, call):
            continue  # a local of the entry would be left without use
        at = result.index(node)
        result[at] = _less(new, gone)
        called = transform(entry, _Drop(call, [list(given).index(own) for own in gone], set(gone)))
        assert isinstance(called, cst.FunctionDef)
        result[result.index(entry)] = called
        return result
    return result


def _own(entry: cst.FunctionDef, known: Sequence[Prompt]) -> cst.FunctionDef:
    """``forward`` without such checks of its own, which stand where the prompts are still as they were bound."""
    ahead: list[str] = []
    lines: list[cst.BaseStatement | cst.BaseSmallStatement] = []
    for line in suite(entry.body):
        alike = [p for p in known if ahead.count(p.name) == ahead.count(p.embeds) == 1]
        ahead += bound([line])
        kept = [p for p in alike if ahead.count(p.name) == ahead.count(p.embeds) == 1]
        decided = transform(line, _Decide(kept)) if kept and isinstance(line, cst.If) else line
        assert isinstance(decided, type(line))
        lines.append(decided)
    if all(made is line for made, line in zip(lines, suite(entry.body), strict=True)):
        return entry
    return fold_function(entry.with_changes(body=entry.body.with_changes(body=lines)), Facts())


def _checks(entry: cst.FunctionDef) -> Iterator[tuple[str, cst.Call]]:
    """Methods that the body of ``forward`` calls as a line of its own, with the call."""
    for line in suite(entry.body):
        small = line.body[0] if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else None
        if isinstance(small, cst.Expr) and isinstance(small.value, cst.Call):
            owner, _, name = (dotted(small.value.func) or "").rpartition(".")
            if owner == "self":
                yield name, small.value


def _given(node: cst.FunctionDef, call: cst.Call) -> dict[str, str]:
    """Parameter -> the name that the call gives it, empty for other values; nothing for calls with stars."""
    plain = not (node.params.kwonly_params or node.params.posonly_params or node.params.star_kwarg)
    if not plain or node.decorators or any(a.star for a in call.args) or isinstance(node.params.star_arg, cst.Param):
        return {}
    names = [p.name.value for p in node.params.params][1:]
    given = dict.fromkeys(names, "")
    for position, argument in enumerate(call.args):
        key = argument.keyword.value if argument.keyword else names[position]
        given[key] = argument.value.value if isinstance(argument.value, cst.Name) else ""
    return given


def _named(prompt: Prompt, given: dict[str, str]) -> Prompt | None:
    """``prompt`` by the names of the parameters that take it and its embeddings."""
    places = {value: key for key, value in given.items() if value}
    if prompt.name not in places or prompt.embeds not in places:
        return None
    return Prompt(places[prompt.name], places[prompt.embeds], prompt.always, prompt.listed)


def _settled(entry: cst.FunctionDef, prompt: Prompt, call: cst.Call) -> bool:
    """Whether nothing binds a prompt or its embeddings anew in front of the call."""
    ahead: list[str] = []
    for line in suite(entry.body):
        if call in of_kind(line, cst.Call):
            break
        ahead += bound([line])
    return ahead.count(prompt.name) == ahead.count(prompt.embeds) == 1


def _others(entry: cst.FunctionDef, call: cst.Call) -> set[str]:
    """Names that the entry reads in other lines than that of the call."""
    return {name for line in suite(entry.body) if call not in of_kind(line, cst.Call) for name in reads(line)}


def _read(node: cst.FunctionDef) -> set[str]:
    return set(reads(*suite(node.body)))


def _without(node: cst.FunctionDef, known: Sequence[Prompt]) -> cst.FunctionDef:
    """A method without branches that cannot run; the same object if all of them can."""
    again = bound(suite(node.body))
    decide = _Decide([p for p in known if not {p.name, p.embeds} & set(again)])
    new = transform(node, decide)
    assert isinstance(new, cst.FunctionDef)
    return fold_function(new, Facts()) if new is not node else node


class _Decide(cst.CSTTransformer):
    def __init__(self, known: Sequence[Prompt]) -> None:
        self.known = known

    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.If:
        parts = {code(part.with_changes(lpar=[], rpar=[])) for part in conjuncts(updated_node.test)}
        if any(_impossible(parts, prompt) for prompt in self.known):
            return updated_node.with_changes(test=cst.Name("False"))
        return updated_node


def _impossible(parts: set[str], prompt: Prompt) -> bool:
    """Whether conditions cannot all hold."""
    name, embeds = prompt.name, prompt.embeds
    both = {f"{name} is not None", f"{embeds} is not None"} <= parts
    neither = prompt.always and {f"{name} is None", f"{embeds} is None"} <= parts
    no_list = {f"not isinstance({name}, list)", f"not isinstance({name}, (str, list))"} & parts
    return both or neither or bool(prompt.listed and f"{name} is not None" in parts and no_list)


def _less(node: cst.FunctionDef, gone: Sequence[str]) -> cst.FunctionDef:
    """A method without the parameters ``gone``."""
    kept = [p for p in node.params.params if p.name.value not in gone]
    kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)  # a comma would keep it on several lines
    return trim(node.with_changes(params=node.params.with_changes(params=kept)), [p.name.value for p in kept])


class _Drop(cst.CSTTransformer):
    """One call without the arguments at ``positions`` or by ``names``."""

    def __init__(self, call: cst.Call, positions: Sequence[int], names: set[str]) -> None:
        self.call, self.positions, self.names = call, positions, names

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if original_node is not self.call:
            return updated_node
        args = [
            a
            for i, a in enumerate(updated_node.args)
            if not (a.keyword.value in self.names if a.keyword else i in self.positions)
        ]
        last = [args[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)] if args else []
        return updated_node.with_changes(args=[*args[:-1], *last])
