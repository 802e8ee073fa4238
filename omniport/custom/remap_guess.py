"""Guess the table of names from two headers: the checkpoint's, and the parameters that the class has.

Only what is forced is taken: a prefix that makes most names fit, two names of the same words and shape of which each is
the other's only match, a pair that is the only one of its shape, a fused layer whose name says what it is made of.
What is left is no rule; :func:`omniport.custom.remap.prove` then names it.  Halves that are exchanged show in no shape:
``swap`` is never guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from omniport.custom.remap import Shape, apply
from omniport.custom.tensor_names import FUSED, canonical, patterns
from omniport.plan.model import Why
from omniport.plan.remap import RemapRule, RemapTable, Verb

_DEPTH = 4  # segments of a prefix


def guess(
    header: Mapping[str, Shape], parameters: Mapping[str, Shape], ties: Mapping[str, str], file: str
) -> RemapTable:
    """The rules that take ``header`` to ``parameters``, as far as they are forced.

    Args:
        header: names and shapes of the checkpoint.
        parameters: of the class; a dimension is None where the source does not show it.
        ties: parameter -> the one that it is the same as, by the source.
        file: what the header is of, as evidence.
    """
    rules = _prefix(header, parameters, file)
    names = _renamed(rules, header)
    open_tensors = {n: s for n, s in names.items() if n not in parameters}
    open_parameters = {n: s for n, s in parameters.items() if n not in names}
    if open_tensors and not open_parameters.keys() - ties.keys():
        return RemapTable((*rules, *_drops(open_tensors, parameters, file)))
    matcher = _Matcher(open_tensors, open_parameters, file)
    matcher.run()
    rules += matcher.rules(names, parameters)
    rules += _reshapes(RemapTable(tuple(rules)), header, parameters, file)
    for name, same in ties.items():
        filled = apply(RemapTable(tuple(rules)), header)[0]
        if name not in filled and same in filled:
            rules.append(RemapRule("tie", (same,), (name,), (), Why(f"{name} is {same} in the constructor", file)))
    return RemapTable(tuple(rules))


def _renamed(rules: list[RemapRule], header: Mapping[str, Shape]) -> dict[str, Shape]:
    filled = apply(RemapTable(tuple(rules)), header)[0]
    return {name: sources[0][1] for name, sources in filled.items()}


def compatible(given: Shape, wanted: Shape) -> bool:
    """Whether a tensor has the shape of a parameter, as far as that is known."""
    return len(given) == len(wanted) and all(w is None or g == w for g, w in zip(given, wanted, strict=True))


# ------------------------------------------------------------------------------------------------------------ prefixes
def _prefix(header: Mapping[str, Shape], parameters: Mapping[str, Shape], file: str) -> list[RemapRule]:
    """The prefix that is taken off or put before, if that makes more names fit than there fit without."""
    plain = sum(_is(parameters, name, shape) for name, shape in header.items())
    stripped: Counter[str] = Counter()
    for name, shape in header.items():
        for prefix in _heads(name):
            stripped[prefix] += _is(parameters, name.removeprefix(prefix), shape)
    added: Counter[str] = Counter()
    for name in parameters:
        for prefix in _heads(name):
            rest = name.removeprefix(prefix)
            added[prefix] += rest in header and compatible(header[rest], parameters[name])
    verb: Verb
    found: list[tuple[int, Verb, str]] = [(n, "strip", p) for p, n in stripped.items() if n > plain]
    found += [(n, "add", p) for p, n in added.items() if n > plain]
    found.sort(key=lambda item: (-item[0], item[1] == "add", len(item[2])))
    if not found or (len(found) > 1 and found[1][0] == found[0][0] and found[1][1] == found[0][1]):
        return []  # none, or two copies of the model (its weights and their average)
    count, verb, prefix = found[0]
    why = Why(f"{count} of {len(header)} tensors are parameters {'without' if verb == 'strip' else 'with'} it", file)
    if verb == "add":
        return [RemapRule("add", (), (prefix,), (), why)]
    others = {n: s for n, s in header.items() if not n.startswith(prefix) and not _is(parameters, n, s)}
    return [RemapRule("strip", (prefix,), (), (), why), *_drops(others, parameters, file)]


def _heads(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) + "." for end in range(1, min(len(parts), _DEPTH + 1))]


def _is(parameters: Mapping[str, Shape], name: str, shape: Shape) -> bool:
    return name in parameters and compatible(shape, parameters[name])


def _drops(names: Mapping[str, Shape], parameters: Mapping[str, Shape], file: str) -> list[RemapRule]:
    """Whole parts of a checkpoint that the class has nothing of (an autoencoder in the same file)."""
    tops = Counter(name.split(".")[0] for name in names)
    own = {name.split(".")[0] for name in parameters}
    return [
        RemapRule("drop", (top,), (), (), Why(f"{count} tensors; the class has nothing of that name", file))
        for top, count in tops.items()
        if top not in own
    ]


# ------------------------------------------------------------------------------------------------------------- renames
class _Matcher:
    """Pairs the patterns that are left on both sides."""

    def __init__(self, tensors: Mapping[str, Shape], parameters: Mapping[str, Shape], file: str) -> None:
        self.file = file
        self._shapes = {**parameters, **tensors}
        self._wanted = dict(parameters)
        self._given = dict(tensors)
        self.tensors = patterns(tensors)
        self.parameters = patterns(parameters)
        self.pairs: dict[str, tuple[str, str]] = {}  # pattern of tensors -> pattern of parameters, and the reason
        self.fused: dict[tuple[Verb, tuple[str, ...], str], tuple[tuple[str, ...], tuple[int, ...]]] = {}

    def run(self) -> None:
        self._fused("split")
        self._fused("stack")
        self._words()
        while self._propagated() or self._only():
            pass

    # -- one to one
    def _fit(self, tensor: str, parameter: str) -> bool:
        """Alike in shape wherever both are, and neither has an index that the other lacks, but for gaps of one side."""
        mine, theirs = self.tensors[tensor], self.parameters[parameter]
        both = mine.keys() & theirs.keys()
        return both in (mine.keys(), theirs.keys()) and all(
            _reshapable(self._given[mine[i]], self._wanted[theirs[i]]) for i in both
        )

    def _take(self, tensor: str, parameter: str, reason: str) -> None:
        self.pairs[tensor] = (parameter, reason)

    def _left(self) -> tuple[list[str], list[str]]:
        gone = {parameter for parameter, _ in self.pairs.values()}
        gone |= {f"{p}.{leaf}" for (verb, _, leaf), (into, _) in self.fused.items() if verb == "split" for p in into}
        gone |= {f"{into[0]}.{leaf}" for (verb, _, leaf), (into, _) in self.fused.items() if verb == "stack"}
        used = {f"{n}.{leaf}" for _, names, leaf in self.fused for n in names} | self.pairs.keys()
        return [t for t in self.tensors if t not in used], [p for p in self.parameters if p not in gone]

    def _words(self) -> None:
        tensors, parameters = self._left()
        mine = Counter(map(canonical, tensors))
        theirs = Counter(map(canonical, parameters))
        by_word = {canonical(p): p for p in parameters}
        for tensor in tensors:
            word = canonical(tensor)
            if mine[word] == theirs[word] == 1 and self._fit(tensor, by_word[word]):
                self._take(tensor, by_word[word], f"both mean {word}")

    def _propagated(self) -> bool:
        """A module of which one tensor is paired: its others go with it."""
        tensors, parameters = self._left()
        owners: dict[str, Counter[str]] = {}
        for tensor, (parameter, _) in self.pairs.items():
            one, two = _cut(tensor, parameter)
            owners.setdefault(one, Counter())[two] += 1
        took = False
        for tensor in tensors:
            for end in range(tensor.count("."), 0, -1):
                head, tail = ".".join(tensor.split(".")[:end]), ".".join(tensor.split(".")[end:])
                into = owners.get(head)
                if into is None:
                    continue
                fitting = [f"{i}.{tail}" for i in into if f"{i}.{tail}" in parameters]
                fitting = [p for p in fitting if self._fit(tensor, p)]
                if len(into) == 1 and fitting:
                    self._take(tensor, fitting[0], f"{head} is {next(iter(into))}")
                    parameters.remove(fitting[0])
                    took = True
                break
        return took

    def _only(self) -> bool:
        """A tensor and a parameter of which each fits nothing else."""
        tensors, parameters = self._left()
        fits = {t: [p for p in parameters if self._exact(t, p)] for t in tensors}
        back = Counter(p for found in fits.values() for p in found)
        for tensor, found in fits.items():
            if len(found) == 1 and back[found[0]] == 1:
                shape = list(self._given[next(iter(self.tensors[tensor].values()))])
                self._take(tensor, found[0], f"the only two of shape {shape} that are left")
                return True
        return False

    def _exact(self, tensor: str, parameter: str) -> bool:
        """The same leaf, indices and shape, all of it known."""
        same = tensor.rpartition(".")[2] == parameter.rpartition(".")[2] or "." not in tensor + parameter
        mine, theirs = self.tensors[tensor], self.parameters[parameter]
        return (
            same and mine.keys() == theirs.keys() and all(self._given[mine[i]] == self._wanted[theirs[i]] for i in mine)
        )

    # -- fused layers
    def _fused(self, verb: Verb) -> None:
        """Layers that are one on one side and several on the other, by the word of the one."""
        wholes, others = (self.tensors, self.parameters) if verb == "split" else (self.parameters, self.tensors)
        for whole in list(wholes):
            owner, _, leaf = whole.rpartition(".")
            words = FUSED.get(canonical(owner).rpartition(".")[2])
            if not words:
                continue
            parent = canonical(owner).rpartition(".")[0]
            wanted = [f"{parent}.{word}" if parent else word for word in words]
            parts = []
            for want in wanted:
                fitting = [
                    o for o in others if o.rpartition(".")[2] == leaf and canonical(o.rpartition(".")[0]) == want
                ]
                fitting = [o for o in fitting if others[o].keys() == wholes[whole].keys()]
                if len(fitting) == 1:
                    parts.append(fitting[0])
            if len(parts) != len(words) or len(set(parts)) != len(parts):
                continue
            rows = self._rows(whole, parts, wholes, others)
            if rows is None:
                continue
            owners = tuple(p.rpartition(".")[0] for p in parts)
            if verb == "split":
                self.fused[("split", (owner,), leaf)] = (owners, rows)
            else:
                self.fused[("stack", owners, leaf)] = ((owner,), ())

    def _rows(
        self,
        whole: str,
        parts: list[str],
        wholes: dict[str, dict[tuple[str, ...], str]],
        others: dict[str, dict[tuple[str, ...], str]],
    ) -> tuple[int, ...] | None:
        """Rows of each part; None if they do not make up the whole, or are not known."""
        found: set[tuple[int, ...]] = set()
        for index, name in wholes[whole].items():
            shape = self._shapes[name]
            inner = [self._shapes[others[part][index]] for part in parts]
            known = [rows for s in inner if s and (rows := s[0]) is not None]
            tails = {s[1:] for s in inner}
            if len(known) != len(parts) or not shape or sum(known) != shape[0] or tails != {shape[1:]}:
                return None
            found.add(tuple(known))
        return found.pop() if len(found) == 1 else None

    # -- rules
    def rules(self, names: Mapping[str, Shape], parameters: Mapping[str, Shape]) -> list[RemapRule]:
        """The shortest renames that say the same, and the fused layers."""
        made: list[RemapRule] = []
        merged: dict[tuple[Verb, tuple[str, ...]], set[tuple[tuple[str, ...], tuple[int, ...]]]] = {}
        for (verb, old, _), value in self.fused.items():
            merged.setdefault((verb, old), set()).add(value)
        for (verb, names_of), values in merged.items():
            if len(values) != 1:
                continue  # weight and bias disagree
            parts, sizes = next(iter(values))
            why = Why("the name of the fused layer says what it is made of, and the rows add up", self.file)
            made.append(RemapRule(verb, names_of, parts, sizes, why))
        moves = {t: p for t, (p, _) in self.pairs.items()}
        kept = {n for n in names if n in parameters}  # these must not be touched
        short: dict[str, tuple[str, str]] = {}
        for tensor, (parameter, reason) in self.pairs.items():
            short.setdefault(
                *_shortest(tensor, parameter, reason, moves, patterns({n: names[n] for n in sorted(kept)}))
            )
        fused = {n for rule in made for n in rule.names}
        for short_name, (new, reason) in short.items():
            if short_name not in fused:
                made.append(RemapRule("rename", (short_name,), (new,), (), Why(reason, self.file)))
        return made


def _cut(tensor: str, parameter: str) -> tuple[str, str]:
    """Both without the segments at their end that are equal; one of each stays."""
    mine, theirs = tensor.split("."), parameter.split(".")
    while len(mine) > 1 and len(theirs) > 1 and mine[-1] == theirs[-1] and mine != theirs:
        mine, theirs = mine[:-1], theirs[:-1]
        if mine.count("*") != theirs.count("*"):
            return tensor, parameter
    return ".".join(mine), ".".join(theirs)


def _shortest(
    tensor: str, parameter: str, reason: str, moves: Mapping[str, str], kept: Mapping[str, object]
) -> tuple[str, tuple[str, str]]:
    """The shortest beginning that may be renamed without taking along what goes elsewhere."""
    mine, theirs = tensor.split("."), parameter.split(".")
    best = (tensor, (parameter, reason))
    while len(mine) > 1 and len(theirs) > 1 and mine[-1] == theirs[-1]:
        mine, theirs = mine[:-1], theirs[:-1]
        old, new = ".".join(mine), ".".join(theirs)
        if mine.count("*") != theirs.count("*") or old == new:
            break
        inside = [t for t in (*moves, *kept) if t == old or t.startswith(f"{old}.")]
        if any(moves.get(t, t) != new + t.removeprefix(old) for t in inside):
            break
        best = (old, (new, reason))
    return best


# ------------------------------------------------------------------------------------------------------------- reshape
def _reshapable(given: Shape, wanted: Shape) -> bool:
    """The same shape, or the same but for dimensions of 1 and for trailing ones that are flattened on one side."""
    if compatible(given, wanted):
        return True
    if None in wanted or None in given:
        return False
    mine, theirs = [d for d in given if d != 1], [d for d in wanted if d != 1]
    flat = min(len(mine), len(theirs)) == 2 and mine[0] == theirs[0] and _product(mine) == _product(theirs)
    return mine == theirs or flat


def _product(dims: list[int | None]) -> int:
    found = 1
    for dim in dims:
        found *= dim or 0
    return found


def _reshapes(
    table: RemapTable, header: Mapping[str, Shape], parameters: Mapping[str, Shape], file: str
) -> list[RemapRule]:
    filled = apply(table, header)[0]
    wrong: dict[str, Shape] = {}
    for name, sources in filled.items():
        wanted = parameters.get(name)
        if wanted is None or len(sources) != 1 or compatible(sources[0][1], wanted):
            continue
        if _reshapable(sources[0][1], wanted):
            wrong[name] = wanted
    made = []
    for pattern, names in patterns(wrong).items():
        sizes = tuple(dim or 0 for dim in wrong[next(iter(names.values()))])
        why = Why(f"the checkpoint has {list(filled[next(iter(names.values()))][0][1])}", file)
        made.append(RemapRule("reshape", (pattern,), (), sizes, why))
    return made
