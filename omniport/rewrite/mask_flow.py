"""Follows masks from a root's forward, through those that it calls, to the attention calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import libcst as cst

from omniport.rewrite.mask_forms import Mask, Place, UnknownMask, lowered
from omniport.rewrite.normal.usage import UsageCache
from omniport.rewrite.syntax import assignment, code, dotted, expression, method, self_attribute, statements, variables
from omniport.source.syntax import conjuncts
from omniport.source.walk import children, of_kind, walk

#: What becomes of a node: another, or nothing for a statement that goes.  Of a condition: its test.
Edits = dict[cst.CSTNode, cst.CSTNode | None]

#: The calls that give a mask to an attention layer, each with its keyword.
METADATA = {"AttentionMetadata": "attn_mask", "sequence_metadata": "mask"}

_TWO_AXES = re.compile(r"\A(\w+)\.(?:ndim|dim\(\)) == 2\Z")
_GIVEN = re.compile(r"\A(\w+) is not None\Z")


def mask_of(call: cst.Call) -> cst.BaseExpression | None:
    """The mask that a call gives to an attention layer."""
    keyword = METADATA.get(dotted(call.func))
    return next((a.value for a in call.args if a.keyword is not None and a.keyword.value == keyword), None)


def speaks_of_masks(node: cst.CSTNode) -> bool:
    """Whether a name in ``node`` tells of a mask: those that hold one do."""
    return any("mask" in name.value for name in of_kind(node, cst.Name))


def remarks(line: cst.SimpleStatementLine | cst.If) -> Sequence[cst.EmptyLine]:
    """The comments before a line, without those on a bias that is one no more."""
    about = any(part.comment is not None and "bias" in part.comment.value for part in line.leading_lines)
    return [part for part in line.leading_lines if part.comment is None or not about]


class Masks:
    """The masks of a module, followed from the root's forward through those that it calls."""

    def __init__(self, classes: Mapping[str, cst.ClassDef], root: str) -> None:
        self.root = root
        self.forwards = {name: forward for name, node in classes.items() if (forward := method(node, "forward"))}
        self.callees: dict[cst.Call, frozenset[str]] = {}
        for (name, function), sites in UsageCache().of(classes).sites.items():
            for _, call, _ in sites if function == "forward" and name in self.forwards else ():
                self.callees[call] = self.callees.get(call, frozenset()) | {name}
        self.given: dict[Place, Mask] = {}  # what reaches a parameter
        self.reached: dict[str, list[Mask | None]] = {}  # class -> masks of its attention calls; None: not followed
        self.bad: set[Place] = set()
        self.flows: dict[Place, set[Place]] = {}  # between variables that change their form together
        self.above: dict[Place, set[Place]] = {}  # to what a mask is made of, which stays as it is
        self.changes: list[tuple[cst.CSTNode, cst.CSTNode | None, frozenset[Place]]] = []
        self.methods = {
            (name, item.name.value): item
            for name, node in classes.items()
            for item in node.body.body
            if isinstance(item, cst.FunctionDef)
        }
        for name in self._order():
            _Forward(self, name).follow()

    def _order(self) -> list[str]:
        """The classes, each behind all that call it."""
        callers: dict[str, set[str]] = {name: set() for name in self.forwards}
        for name, forward in self.forwards.items():
            for call in of_kind(forward, cst.Call):
                for callee in self.callees.get(call, ()):
                    callers.setdefault(callee, set()).add(name)
        done: list[str] = []
        left = set(self.forwards)
        while ready := sorted(name for name in left if not callers[name] & left):
            done += ready
            left -= set(ready)
        return done

    def hand(self, place: Place, mask: Mask | None, *, changes: bool = False) -> None:
        """A call gives ``mask`` to a parameter; None if it is not followed.  ``changes``: it is given in a new form."""
        known = self.given.get(place)
        both = mask if mask is None or known is None else mask.joined(known)
        if both is None:
            self.bad.add(place)
        if mask is not None:
            self.given[place] = both or mask
            self.made_of(place, mask.places, changes=changes)

    def made_by(self, name: str, method: str) -> list[Mask | None]:
        """The masks among what a method returns in its only ``return``: those that it makes itself."""
        node = self.methods.get((name, method))
        if node is None:
            return []
        given = [part for part in of_kind(node, cst.Return) if isinstance(part.value, cst.Tuple)]
        if len(given) != 1 or len(of_kind(node, cst.Return)) != 1:
            return []
        inner = _Forward(self, name, node)
        inner.block(node.body)
        assert isinstance(given[0].value, cst.Tuple)
        return [inner.env.get(code(element.value)) for element in given[0].value.elements]

    def made_of(self, place: Place, sources: frozenset[Place], *, changes: bool) -> None:
        """A variable's mask is made of others; ``changes``: these have a new form, too, or none has."""
        self.above.setdefault(place, set()).update(sources)
        for one in sources | {place} if changes else ():
            self.flows.setdefault(one, set()).update(sources | {place})

    def _together(self, places: Iterable[Place]) -> set[Place]:
        """The variables that change their form with these."""
        return _closure(places, self.flows)

    def sound(self, name: str) -> bool:
        """Whether a class's attention calls get masks over keys alone, as do all that share variables with them."""
        mine = self.reached.get(name, [])
        together = self._together(p for mask in mine if mask is not None for p in mask.places)
        sharing = [masks for masks in self.reached.values() if any(m and m.places & together for m in masks)]
        known = all(mask is not None and mask.over_keys for masks in [mine, *sharing] for mask in masks)
        alike = len({mask.pairs for mask in mine if mask is not None}) == 1
        return known and alike and not _closure(together, self.flows, self.above) & self.bad

    def pairs(self, name: str) -> bool:
        """Whether a class's attention calls get masks over pairs of kept tokens."""
        return any(mask is not None and mask.pairs for mask in self.reached.get(name, ()))

    def edits(self, good: Iterable[str]) -> Edits:
        """What becomes of the nodes on the way of these classes' masks."""
        wanted = self._together(p for name in good for mask in self.reached[name] if mask for p in mask.places)
        return {node: new for node, new, places in self.changes if places <= wanted}


class _Forward:
    """Follows the masks of one forward."""

    def __init__(self, masks: Masks, name: str, node: cst.FunctionDef | None = None) -> None:
        self.masks, self.name, self.node = masks, name, node or masks.forwards[name]
        self.env: dict[str, Mask] = {}
        pairs = (assignment(part) for part in walk(self.node.body))
        self.stores = [(code(target), value) for target, value in filter(None, pairs)]

    def follow(self) -> None:
        for parameter in [*self.node.params.params, *self.node.params.kwonly_params]:
            name = parameter.name.value
            place = (self.name, name)
            if self.name != self.masks.root:
                known = self.masks.given.get(place)
                if known is None and "mask" in name and place not in self.masks.bad and self.called():
                    known = Mask(2, boolean=True)  # never given
            elif "mask" in name:
                kind = code(parameter.annotation.annotation) if parameter.annotation is not None else ""
                known = Mask(2, boolean=True) if "BoolTensor" in kind or name in self.described() else Mask(0)
            else:
                known = None
            if known is not None:
                self.env[name] = replace(known, places=frozenset({place}))
        self.block(self.node.body)

    def described(self) -> set[str]:
        """Parameters that the docstring calls boolean masks."""
        text = self.node.get_docstring() or ""
        return set(re.findall(r"^\s*(\w*mask\w*) \(.*\n?.*\bBoolean mask", text, re.MULTILINE))

    def called(self) -> bool:
        return any(self.name in callees for callees in self.masks.callees.values())

    # ----------------------------------------------------------------------------------------------------- statements
    def block(self, body: cst.BaseSuite) -> None:
        for line in body.body:
            if isinstance(line, cst.If):
                self.branch(line)
            elif isinstance(line, cst.For | cst.While | cst.With | cst.Try):
                for part in children(line):
                    if isinstance(part, cst.BaseSuite):
                        self.block(part)
                    else:
                        self.read(part)
            elif not self.concerns(line):
                continue
            elif (pair := assignment(line)) is not None:
                self.assign(line, *pair)
            else:
                self.read(line)

    def concerns(self, line: cst.CSTNode) -> bool:
        """Whether a line may name a mask, or call a class that takes one."""
        held = any(name.value in self.env or "mask" in name.value for name in of_kind(line, cst.Name))
        return held or any(call in self.masks.callees for call in of_kind(line, cst.Call))

    def branch(self, line: cst.If) -> None:
        before = dict(self.env)
        tests = list(conjuncts(line.test))
        two = {found[1] for test in tests if (found := _TWO_AXES.match(code(test)))} & set(self.env)
        sure = two | {found[1] for test in tests if (found := _GIVEN.match(code(test)))}
        for name in two:
            if self.env[name].axes not in (0, 2):
                self.masks.bad.add((self.name, name))
            self.env[name] = replace(self.env[name], axes=2)
        if not two:
            self.read(line.test)
        self.block(line.body)
        after, self.env = self.env, before
        if line.orelse is not None:
            if isinstance(line.orelse, cst.If):
                self.branch(line.orelse)
            else:
                self.block(line.orelse.body)
        for name in self.env.keys() | after.keys():
            one, other = after.get(name), self.env.get(name)
            alone = one is None or other is None or name in sure
            both = one or other if alone else one.joined(other)  # type: ignore[union-attr, arg-type]
            if both is not None:
                self.env[name] = replace(
                    both, places=both.places | (other.places if other is not None else frozenset())
                )
            else:
                self.masks.bad |= {(self.name, name)}
        if two and line.orelse is None:
            rest = " and ".join(code(test) for test in tests if not _TWO_AXES.match(code(test)))
            places = frozenset((self.name, name) for name in two)
            self.masks.changes.append((line, expression(rest) if rest else None, places))

    def assign(self, line: cst.CSTNode, target: cst.BaseExpression, value: cst.BaseExpression) -> None:
        if code(value) == "None":
            self.env.pop(code(target), None)
            return
        elements = target.elements if isinstance(target, cst.Tuple) else ()
        names = {n.value for n in (target, *(e.value for e in elements)) if isinstance(n, cst.Name)}
        found = self.lowered(value) if isinstance(target, cst.Name) else None
        if found is None:
            self.read(value)
            self.stored_into(target)
        several = self.returned(value, target) if isinstance(target, cst.Tuple) else {}
        for name in names:
            place = (self.name, name)
            if found is None:
                self.env.pop(name, None)
                if name in several:
                    self.env[name] = replace(several[name], places=frozenset({place}))
                elif "mask" in name:  # of no known form: it takes more than a name to be one over keys
                    self.env[name] = Mask(0, places=frozenset({place}))
                continue
            mask, text = found
            alias = text if mask.changes and self.stands_for(name, text) else ""
            changes = self.in_new_form(value)
            self.masks.made_of(place, mask.places, changes=changes)
            self.env[name] = replace(mask, places=(mask.places if changes else frozenset()) | {place}, alias=alias)
            if alias or text != code(value):
                made = None if alias else _assigned(line, name, text)
                self.masks.changes.append((line, made, self.env[name].places))

    def in_new_form(self, node: cst.CSTNode) -> bool:
        """Whether a variable that ``node`` reads holds a mask in another form than it will."""
        return any(name in self.env and self.env[name].changes for name in variables(node))

    def stands_for(self, name: str, text: str) -> bool:
        """Whether a variable is set once, to another that is not set as long as it is read."""
        targets = [target.partition("[")[0] for target, _ in self.stores]
        if not text.isidentifier() or text == name or [target for target, _ in self.stores].count(name) != 1:
            return False
        first = targets.index(name)
        later = next((n for n, target in enumerate(targets) if n > first and target == text), None)
        if later is None:
            return True
        reads = sum(list(variables(value)).count(name) for _, value in self.stores[first : later + 1])
        return reads == list(variables(self.node.body)).count(name) - targets.count(name)

    def stored_into(self, target: cst.BaseExpression) -> None:
        """A mask in another form than it will have is not written into."""
        if isinstance(target, cst.Subscript) and isinstance(target.value, cst.Name):
            name = target.value.value
            if name in self.env and self.env[name].changes:
                self.masks.bad.add((self.name, name))

    def returned(self, value: cst.BaseExpression, target: cst.Tuple) -> dict[str, Mask]:
        """The masks that a method of the class makes, by the variables that get them."""
        name = self_attribute(value.func) if isinstance(value, cst.Call) else ""
        made = self.masks.made_by(self.name, name) if name else []
        if len(made) != len(target.elements):
            return {}
        names = [code(element.value) for element in target.elements]
        return {name: mask for name, mask in zip(names, made, strict=True) if mask is not None}

    # ---------------------------------------------------------------------------------------------------- expressions
    def lowered(self, node: cst.BaseExpression) -> tuple[Mask, str] | None:
        try:
            return lowered(node, self.env)
        except UnknownMask:
            return None

    def follow_into(self, node: cst.BaseExpression) -> Mask | None:
        """The mask that an argument is, in its new form; None if it is not followed."""
        found = self.lowered(node)
        if found is None:
            self.read(node)
            return None
        mask, text = found
        if text != code(node):
            self.masks.changes.append((node, expression(text), mask.places))
        return mask

    def read(self, node: cst.CSTNode) -> None:
        """What an expression does with masks besides."""
        if isinstance(node, cst.Name):
            if node.value in self.env and self.env[node.value].changes:
                self.masks.bad.add((self.name, node.value))
        elif isinstance(node, cst.Comparison) and code(node.comparisons[0].comparator) == "None":
            return
        elif isinstance(node, cst.Attribute):
            if node.attr.value != "device":
                self.read(node.value)
        elif isinstance(node, cst.Call) and (mask := mask_of(node)) is not None:
            for argument in node.args:
                if argument.value is not mask:
                    self.read(argument.value)
            self.masks.reached.setdefault(self.name, []).append(self.follow_into(mask))
        elif isinstance(node, cst.Call) and node in self.masks.callees:
            self.hand_on(node)
        elif isinstance(node, cst.Arg):
            self.read(node.value)
        else:
            for part in children(node):
                self.read(part)

    def hand_on(self, call: cst.Call) -> None:
        """The masks that a call gives to another class."""
        for callee in sorted(self.masks.callees[call]):
            params = self.masks.forwards[callee].params
            names = [p.name.value for p in params.params if p.name.value != "self"]
            known = {*names, *(p.name.value for p in params.kwonly_params)}
            given = set()
            for index, argument in enumerate(call.args):
                name = argument.keyword.value if argument.keyword is not None else (names[index : index + 1] or [""])[0]
                if argument.star or name not in known:
                    self.read(argument.value)
                    given |= {""}
                    continue
                given.add(name)
                if "mask" not in name:
                    self.read(argument.value)
                elif code(argument.value) != "None":
                    edits = len(self.masks.changes)
                    mask = self.follow_into(argument.value)
                    changes = len(self.masks.changes) > edits or self.in_new_form(argument.value)
                    self.masks.hand((callee, name), mask, changes=changes)
            if "" in given:
                self.masks.bad |= {(callee, name) for name in known - given if "mask" in name}


def _closure(places: Iterable[Place], *graphs: Mapping[Place, Iterable[Place]]) -> set[Place]:
    """What is reached from ``places``, these included."""
    found: set[Place] = set()
    todo = list(places)
    while todo:
        place = todo.pop()
        if place not in found:
            found.add(place)
            todo += [other for graph in graphs for other in graph.get(place, ())]
    return found


def _assigned(line: cst.CSTNode, target: str, text: str) -> cst.CSTNode | None:
    """``target = text`` in the place of a line; None if that says nothing."""
    (made,) = statements(f"{target} = {text}")
    assert isinstance(line, cst.SimpleStatementLine)
    assert isinstance(made, cst.SimpleStatementLine)
    return None if text == target else made.with_changes(leading_lines=remarks(line))
