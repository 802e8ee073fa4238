"""Two predictions of a round as one call of the guidance mixin: positive arguments, negative arguments, one call.

The source's own way to combine the predictions stays as it is, unless it is the mixin's default formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import libcst as cst

from omniport.analyse.pipeline_knowledge import DROPPED_ARGUMENTS
from omniport.records import dataclass
from omniport.rewrite.pipeline.apart import joined_apart
from omniport.rewrite.pipeline.blocks import Block, Statement, bound, changed, indented, parse, reads, suite
from omniport.rewrite.pipeline.combined import alias_of, applied, renamed, scale_of
from omniport.rewrite.pipeline.denoiser import (
    Denoisers,
    Form,
    Prediction,
    denoiser_calls,
    keyword_arguments,
    prediction,
)
from omniport.rewrite.pipeline.effects import changes_held
from omniport.rewrite.pipeline.narrowed import START, start_of
from omniport.rewrite.pipeline.stepped import only_step, stepped
from omniport.rewrite.pipeline.together import Third, call_of_all, taken_last, third
from omniport.rewrite.pipeline.walk import target_names
from omniport.source.syntax import code, dotted

Comments = Sequence[cst.EmptyLine]


@dataclass(frozen=True)
class Pair:
    """One pair that was formed.

    ``guard`` is the condition under which the second prediction runs; ``combine`` whether the source combines as the
    mixin does; ``scale`` the factor of that formula; ``form`` what of the denoiser's result is used; ``model`` whether
    the call says which denoiser runs; ``stepped`` whether the mixin makes the scheduler's step; ``start`` whether the
    call says from which token on the prediction is kept; ``third`` whether a third prediction is made by the same call.
    """

    guard: str
    combine: Literal["default", "own"]
    scale: str | None
    form: Form
    model: bool
    stepped: bool
    start: bool
    third: bool = False


@dataclass(frozen=True)
class _Match:
    start: int
    stop: int
    positive: Prediction
    negative: Prediction
    before: Block  # statements of the guarded block before the negative prediction
    after: Block  # and after it
    guard: cst.BaseExpression | None
    node: cst.If | None


class PairForm:
    """Forms the pairs of one function.

    What was found: ``pairs``, ``apart`` (guarded predictions beside a pair), ``single`` (calls left as they are).
    """

    def __init__(self, function: cst.FunctionDef, denoisers: Denoisers) -> None:
        self.function, self.denoisers = function, denoisers
        self.names = denoisers.names(function)
        self.pairs: list[Pair] = []
        self.single = 0
        self.apart = 0
        self._form: Form | None = None  # of the pair that the round begins with

    def block(self, block: Block) -> Block:
        """The block with its pairs formed, and those of the blocks inside it."""
        places = [i for i, s in enumerate(block) if denoiser_calls(s, self.names)]
        match = self._match(block, places)
        if match is None and self._form is not None:
            joined = joined_apart(block, places, self.names, self._form, self._entries, applied)
            if joined is not None:
                self.apart += 2
                return joined
        if match is None:
            return [self._inside(s) if i in places else s for i, s in enumerate(block)]
        new = self._formed(block, match)
        return [*block[: match.start], *new]

    def _inside(self, node: Statement) -> Statement:
        if isinstance(node, cst.SimpleStatementLine):
            self.single += len(denoiser_calls(node, self.names))
            return node
        if isinstance(node, cst.If):
            body = self.block(suite(node.body))
            orelse = node.orelse
            if isinstance(orelse, cst.If):
                orelse = self._inside(orelse)  # type: ignore[assignment]
            elif orelse is not None:
                orelse = changed(orelse, body=indented(self.block(suite(orelse.body)), orelse.body))
            return changed(node, body=indented(body, node.body), orelse=orelse)
        if isinstance(node, cst.For | cst.While | cst.With | cst.Try):
            return changed(node, body=indented(self.block(suite(node.body)), node.body))
        self.single += len(denoiser_calls(node, self.names))
        return node

    # ------------------------------------------------------------------------------------------------------ matching
    def _match(self, block: Block, places: Sequence[int]) -> _Match | None:
        for first, second in zip(places, places[1:], strict=False):
            positive = prediction(first, block[first], self.names)
            if positive is None:
                continue
            match = self._guarded(block, positive, second) or self._together(block, positive, second)
            if match is not None and self._independent(block, match):
                return match
        return None

    def _guarded(self, block: Block, positive: Prediction, place: int) -> _Match | None:
        node = block[place]
        if not isinstance(node, cst.If):
            return None
        if node.orelse is not None and denoiser_calls(node.orelse, self.names):
            return None
        inner = suite(node.body)
        index = next((i for i, s in enumerate(inner) if denoiser_calls(s, self.names)), None)
        if index is None:
            return None
        negative = prediction(index, inner[index], self.names)
        if negative is None or negative.form != positive.form:
            return None
        return _Match(positive.index, place, positive, negative, inner[:index], inner[index + 1 :], node.test, node)

    def _together(self, block: Block, positive: Prediction, place: int) -> _Match | None:
        """Two predictions by two denoisers, both made in every round."""
        negative = prediction(place, block[place], self.names)
        if negative is None or negative.form != positive.form:
            return None
        if dotted(negative.call.func) == dotted(positive.call.func):
            return None
        return _Match(positive.index, place, positive, negative, [], [], None, None)

    def _independent(self, block: Block, match: _Match) -> bool:
        """Whether the calls can be made at once: neither needs nor sees what the other does; arguments have names."""
        tainted = target_names(match.positive.target)
        moved, staying = _movable(block[match.start + 1 : match.stop], tainted)
        tainted = tainted | bound(staying)
        own = bound(match.before)
        needed = set(reads(*match.before, *(a.value for a in match.negative.call.args)))
        if needed & tainted - own or bound(moved) & set(reads(*staying)):
            return False
        held = set(reads(*(a.value for a in match.positive.call.args))) - {"self"}
        if changes_held([*moved, *match.before], held, self.denoisers.attributes):
            return False  # the first call would see what the second one is given
        return all(
            keyword_arguments(p.call, self.denoisers, self.names) is not None for p in (match.positive, match.negative)
        )

    # ------------------------------------------------------------------------------------------------------- writing
    def _formed(self, block: Block, match: _Match) -> Block:
        match, starts = _started(match)
        positive, negative = match.positive, match.negative
        between = block[match.start + 1 : match.stop]
        moved, staying = _movable(between, target_names(positive.target))
        rest = block[match.stop + 1 :]
        model = any(dotted(p.call.func) != "self.transformer" for p in (positive, negative))
        guard = code(match.guard) if match.guard is not None else "True"
        after = match.after
        scale = None
        clash = target_names(negative.target) & (
            target_names(positive.target) | bound(staying) | set(reads(*staying, positive.target))
        )
        plain = (
            not clash
            and not self._lists(positive)
            and positive.wrap == negative.wrap == "_"
            and all(isinstance(p.target, cst.Name) for p in (positive, negative))
        )
        last = None if model or clash or any(starts) else self._third(match, staying, after, rest)
        if last is not None:
            return self._in_one_call(match, last, block[match.start].leading_lines, staying, moved, rest, plain)
        if plain and not staying and match.guard is not None and (match.node is None or match.node.orelse is None):
            scale = self._default(after, rest, positive.name, negative.name)
        first = block[match.start].leading_lines
        listed = plain and positive.form == "first" and positive.name.endswith(("_list", "_lists"))
        bare = self.denoisers.bare and positive.form == "whole" and isinstance(positive.target, cst.Name)
        lines = self._kwargs("positive_kwargs", positive, model, starts[0])
        lines[0] = lines[0].with_changes(leading_lines=first)
        new = [*lines, *moved, *self._negative(match, guard, model, starts[1])]
        target = positive.name if plain else "prediction"
        predict = parse(
            f"{target} = self.predict_noise_maybe_with_cfg(\n"
            f"    do_true_cfg={guard},\n"
            f"    true_cfg_scale={code(scale) if scale is not None else '1.0'},\n"
            "    positive_kwargs=positive_kwargs,\n"
            "    negative_kwargs=negative_kwargs,\n"
            "    cfg_normalize=False,\n"
            ")\n"
        )
        new.append(predict[0].with_changes(leading_lines=[cst.EmptyLine(indent=False)]))
        self._form = None if model or self._lists(positive) else positive.form
        rest = self.block(rest) if any(denoiser_calls(s, self.names) for s in rest) else rest
        step = only_step(rest) if match.guard is not None else None
        if step is not None:
            rest = stepped(rest, step, guard)
        self.pairs.append(
            Pair(
                guard,
                "own" if scale is None else "default",
                code(scale) if scale is not None else None,
                "list" if listed else "bare" if bare else "lists" if self._lists(positive) else positive.form,
                model,
                step is not None,
                any(starts),
            )
        )
        if scale is not None:
            return [*new, *rest]
        after = self.block(after) if any(denoiser_calls(s, self.names) for s in after) else after
        return [*new, *self._unpacked(match, plain, staying, after, late=bool(clash)), *rest]

    def _third(self, match: _Match, staying: Block, after: Block, rest: Block) -> Third | None:
        """A prediction behind the pair that can be made with it."""
        if match.node is None or self._lists(match.positive) or self.denoisers.bare:
            return None
        taken = target_names(match.positive.target) | target_names(match.negative.target)
        orelse = suite(match.node.orelse.body) if isinstance(match.node.orelse, cst.Else) else []
        taken |= bound([*staying, *after, *orelse])
        return third(rest, self.names, match.positive.form, taken, self._entries)

    def _in_one_call(
        self, match: _Match, last: Third, first: Comments, staying: Block, moved: Block, rest: Block, plain: bool
    ) -> Block:
        """The three predictions as the branches of one call."""
        positive, negative, node = match.positive, match.negative, match.node
        assert match.guard is not None and node is not None
        guard, given = code(match.guard), self._entries(positive)
        lines = self._kwargs("positive_kwargs", positive, False, None)
        lines[0] = lines[0].with_changes(leading_lines=first)
        entries = code(self._kwargs("negative_kwargs", negative, False, None)[0]).partition("=")[2].strip()
        lines += [*moved, *call_of_all(last, given or {}, match.before, entries, guard)]
        lines += parse(f"{positive.name} = {applied(positive.wrap, 'predictions[0]')}\n")
        after = match.after
        if plain and not staying:
            names, after = renamed(positive.name, negative.name, after)
            named = parse(f"{names} = predictions[:2]\n")
        else:
            named = parse(f"{negative.name} = {applied(negative.wrap, 'predictions[1]')}\n")
        if staying:
            lines += [cst.If(test=match.guard, body=indented(named)), *staying]
            named = []
        lines.append(node.with_changes(body=indented([*named, *after], node.body)))
        rest = taken_last(rest, last, applied(last.made.wrap, "predictions[-1]"))
        step = only_step(rest)
        rest = stepped(rest, step, guard) if step is not None else rest
        self.pairs.append(Pair(guard, "own", None, positive.form, False, step is not None, False, third=True))
        return [*lines, *rest]

    def _unpacked(self, match: _Match, plain: bool, staying: Block, after: Block, *, late: bool) -> Block:
        """Both predictions under their names; ``late``: the negative one takes names that are in use until then."""
        positive, negative = match.positive, match.negative
        if plain:
            names, after = renamed(positive.name, negative.name, after)
            unpack = parse(f"{names} = {positive.name}\n")
            kept: Block = []
        else:
            unpack = parse("prediction, negative_prediction = prediction\n")
            named = parse(f"{negative.name} = {self._taken(negative, 'negative_prediction')}\n")
            if late:
                after = [*named, *after]
            else:
                unpack += named
            kept = parse(f"{positive.name} = {self._taken(positive, 'prediction')}\n")
        if match.guard is None:
            return [*unpack, *kept, *staying, *after]
        node = match.node
        assert node is not None
        if not staying and not kept:
            return [node.with_changes(body=indented([*unpack, *after], node.body), leading_lines=[])]
        choice = cst.If(test=match.guard, body=indented(unpack))
        if not after and node.orelse is None:
            return [choice, *kept, *staying]
        body = after or [cst.SimpleStatementLine([cst.Pass()])]
        return [choice, *kept, *staying, node.with_changes(body=indented(body, node.body), leading_lines=[])]

    def _lists(self, made: Prediction) -> bool:
        """Whether a prediction is a tuple with lists in it, which ranks exchange as one tuple of tensors."""
        return self.denoisers.lists and made.form == "whole"

    def _taken(self, made: Prediction, name: str) -> str:
        return applied(made.wrap, f"self._in_lists({name})" if self._lists(made) else name)

    def _negative(self, match: _Match, guard: str, model: bool, start: str | None) -> Block:
        kwargs = [*match.before, *self._kwargs("negative_kwargs", match.negative, model, start)]
        if match.node is None:
            return kwargs
        choice = parse(f"if {guard}:\n    pass\nelse:\n    negative_kwargs = None\n")[0]
        assert isinstance(choice, cst.If)
        return [choice.with_changes(body=indented(kwargs), leading_lines=match.node.leading_lines)]

    def _kwargs(self, name: str, made: Prediction, model: bool, start: str | None) -> Block:
        given = self._entries(made)
        assert given is not None
        entries = {**({"model": code(made.call.func)} if model else {}), **given}
        entries |= {START: start} if start is not None else {}
        lines = "".join(f'    "{key}": {value},\n' for key, value in entries.items())
        return parse(f"{name} = {{\n{lines}}}\n")

    def _entries(self, made: Prediction) -> dict[str, str] | None:
        """Arguments of a call by name, as source; None if one has no name."""
        found = keyword_arguments(made.call, self.denoisers, self.names)
        if found is None:
            return None
        entries = {key: code(value) for key, value in found if not dropped(key, value)}
        known = [p for _, p in self.denoisers.parameters]
        if made.form == "first" and (not known or any("return_dict" in p for p in known)):
            entries["return_dict"] = "False"
        return entries

    # ------------------------------------------------------------------------------------------------------ formulas
    def _default(self, after: Block, rest: Block, positive: str, negative: str) -> cst.BaseExpression | None:
        """The factor, if ``after`` (or what follows it under the same guard) is the mixin's own formula and no more."""
        names = {positive: positive, negative: negative}
        if (
            len(after) == 2
            and (alias := alias_of(after[0])) is not None
            and set(alias.values()) <= {positive, negative}
            and not self._read_elsewhere(alias, after)
        ):
            return scale_of(after[1:], positive, alias | {positive: positive})
        return scale_of(after, positive, names) if len(after) == 1 else None

    def _read_elsewhere(self, names: dict[str, str], block: Block) -> bool:
        def count(nodes: Sequence[cst.CSTNode]) -> int:
            return sum(code(n).count(name) for n in nodes for name in names)

        return any(f"{n} " in code(self.function.params) for n in names) or count([self.function.body]) > count(block)


def _started(match: _Match) -> tuple[_Match, tuple[str | None, str | None]]:
    """The match without the cuts that make one side as long as the other, and where each side is cut.

    Sides that are cut alike have one length before, too, and stay as they are.
    """
    (first, wrap), (second, other) = start_of(match.positive.wrap), start_of(match.negative.wrap)
    if first == second:
        return match, (None, None)
    positive, negative = replace(match.positive, wrap=wrap), replace(match.negative, wrap=other)
    return replace(match, positive=positive, negative=negative), (first, second)


def _movable(between: Block, prediction_names: set[str]) -> tuple[Block, Block]:
    """Statements between the two predictions: those that do not depend on the first one, and the others."""
    moved: Block = []
    staying: Block = []
    tainted = set(prediction_names)
    for node in between:
        if tainted & set(reads(node)) or bound([node]) & tainted:
            staying.append(node)
            tainted |= bound([node])
        else:
            moved.append(node)
    return moved, staying


def dropped(name: str, value: cst.BaseExpression) -> bool:
    """An argument without counterpart, None since its facts were folded in, or empty."""
    return code(value).strip() in ("None", "{}") and any(d[0].match(name) for d in DROPPED_ARGUMENTS)
