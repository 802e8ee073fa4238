"""Apply a table of names to a checkpoint's header, and prove that it is a bijection onto the parameters of the class.

Headers are names and shapes; no tensor is read.  A dimension of a parameter is None where the source does not show it:
such a shape is not proved, and is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from omniport.plan.remap import RemapRule, RemapTable
from omniport.records import dataclass

Shape = tuple[int | None, ...]
_SHOWN = 8  # names of one fault


@dataclass(frozen=True)
class Proof:
    """``faults`` empty: each tensor goes to one parameter of its shape, or is dropped by name, and all are filled."""

    faults: tuple[str, ...]
    filled: int
    dropped: tuple[str, ...]
    unproved: tuple[str, ...]  # parameters whose shape the source does not show


def fits(pattern: str, name: str) -> list[str] | None:
    """The indices that ``*`` stands for if ``name`` begins with ``pattern``; None if it does not."""
    wanted, given = pattern.split("."), name.split(".")
    if len(given) < len(wanted):
        return None
    indices = []
    for want, got in zip(wanted, given, strict=False):
        if want == "*" and got.isdigit():
            indices.append(got)
        elif want != got:
            return None
    return indices


def put(pattern: str, indices: Iterable[str]) -> str:
    """``pattern`` with its ``*`` filled in."""
    left = iter(indices)
    return re.sub(r"\*", lambda _: next(left), pattern)


def _rest(pattern: str, name: str) -> str:
    tail = name.split(".")[pattern.count(".") + 1 :]
    return "".join(f".{part}" for part in tail)


class Mapper:
    """What a table makes of names."""

    def __init__(self, table: RemapTable) -> None:
        self.rules = table.rules
        self.used: set[RemapRule] = set()
        self._moves = sorted(
            ((name, rule) for rule in table.rules if rule.verb in ("rename", "stack", "split") for name in rule.names),
            key=lambda pair: (pair[1].verb == "rename", -pair[0].count(".")),
        )

    def _of(self, *verbs: str) -> list[RemapRule]:
        return [rule for rule in self.rules if rule.verb in verbs]

    def stripped(self, name: str) -> str:
        for rule in sorted(self._of("strip"), key=lambda r: -len(r.names[0])):
            if name.startswith(rule.names[0]):
                self.used.add(rule)
                return name.removeprefix(rule.names[0])
        return name

    def dropped(self, name: str) -> bool:
        """Whether a name, without its prefix, is dropped."""
        for rule in self._of("drop"):
            if fits(rule.names[0], name) is not None:
                self.used.add(rule)
                return True
        return False

    def added(self, name: str) -> str:
        for rule in self._of("add"):
            self.used.add(rule)
            return f"{rule.into[0]}{name}"
        return name

    def moved(self, name: str) -> tuple[RemapRule | None, str, list[str], str]:
        """The one rename, stack or split of a name: the rule, which of its names fits, the indices and the rest."""
        for pattern, rule in self._moves:
            indices = fits(pattern, name)
            if indices is not None:
                self.used.add(rule)
                return rule, pattern, indices, _rest(pattern, name)
        return None, "", [], name


def apply(
    table: RemapTable, header: Mapping[str, Shape]
) -> tuple[dict[str, list[tuple[str, Shape]]], list[str], Proof]:
    """Parameter -> what fills it, as (tensor, shape); the tensors dropped; and the faults of the table by itself."""
    mapper = Mapper(table)
    filled: dict[str, list[tuple[str, Shape]]] = {}
    parts: dict[str, dict[int, tuple[str, Shape]]] = {}
    stacks: dict[str, RemapRule] = {}
    dropped: list[str] = []
    faults: list[str] = []
    for source, shape in header.items():
        name = mapper.stripped(source)
        if mapper.dropped(name):
            dropped.append(source)
            continue
        rule, pattern, indices, rest = mapper.moved(mapper.added(name))
        if rule is None:
            filled.setdefault(mapper.added(name), []).append((source, shape))
        elif rule.verb == "rename":
            filled.setdefault(put(rule.into[0], indices) + rest, []).append((source, shape))
        elif rule.verb == "split":
            if not shape or shape[0] != sum(rule.sizes):
                faults.append(f"{source}: {_text(shape)} cannot be split into {list(rule.sizes)} rows")
                continue
            for into, rows in zip(rule.into, rule.sizes, strict=True):
                filled.setdefault(put(into, indices) + rest, []).append((source, (rows, *shape[1:])))
        else:
            whole = put(rule.into[0], indices) + rest
            stacks[whole] = rule
            number = rule.names.index(pattern)
            if number in parts.setdefault(whole, {}):
                faults.append(f"{whole}: part {pattern} twice, of {parts[whole][number][0]} and {source}")
            parts[whole][number] = (source, shape)
    for whole, rule in stacks.items():
        got = parts[whole]
        absent = [name for number, name in enumerate(rule.names) if number not in got]
        tails = {shape[1:] for _, shape in got.values()}
        if absent or len(tails) != 1 or any(not shape for _, shape in got.values()):
            reason = f"lacks {', '.join(absent)}" if absent else "its parts do not fit together"
            faults.append(f"{whole}: {reason}")
            continue
        rows = sum(shape[0] or 0 for _, shape in got.values())
        names = "+".join(got[number][0] for number in sorted(got))
        filled.setdefault(whole, []).append((names, (rows, *tails.pop())))
    _reshape(mapper, filled, faults)
    _tie(mapper, filled)
    unused = [rule for rule in table.rules if rule not in mapper.used]
    faults += [f"the rule {_rule(rule)} fits nothing" for rule in unused]
    return filled, dropped, Proof(tuple(faults), len(filled), tuple(dropped), ())


def _reshape(mapper: Mapper, filled: dict[str, list[tuple[str, Shape]]], faults: list[str]) -> None:
    for rule in mapper.rules:
        if rule.verb not in ("reshape", "swap"):
            continue
        for name in filled:
            if fits(rule.names[0], name) is None:
                continue
            mapper.used.add(rule)
            for number, (source, shape) in enumerate(filled[name]):
                if rule.verb == "swap":
                    if not shape or (shape[0] or 0) % 2:
                        faults.append(f"{source}: {_text(shape)} has no two halves")
                elif _size(shape) != _size(rule.sizes):
                    faults.append(f"{source}: {_text(shape)} has not the size of {list(rule.sizes)}")
                else:
                    filled[name][number] = (source, rule.sizes)


def _tie(mapper: Mapper, filled: dict[str, list[tuple[str, Shape]]]) -> None:
    for rule in mapper.rules:
        if rule.verb == "tie" and rule.names[0] in filled:
            mapper.used.add(rule)
            filled.setdefault(rule.into[0], []).extend(filled[rule.names[0]])


def prove(table: RemapTable, header: Mapping[str, Shape], parameters: Mapping[str, Shape]) -> Proof:
    """Whether ``table`` takes the tensors of ``header`` one to one to ``parameters``."""
    filled, dropped, proof = apply(table, header)
    faults = list(proof.faults)
    unproved: list[str] = []
    if missing := sorted(parameters.keys() - filled.keys()):
        faults.append(f"no tensor for {_list(missing)}")
    if strange := sorted(filled.keys() - parameters.keys()):
        origins = [" and ".join(source for source, _ in filled[name]) for name in strange]
        faults.append(f"no parameter for {_list(sorted(set(origins)))}")
    for name, sources in filled.items():
        if len(sources) > 1:
            faults.append(f"{name} is filled by {' and '.join(source for source, _ in sources)}")
        wanted = parameters.get(name)
        if wanted is None:
            continue
        source, shape = sources[0]
        if len(shape) != len(wanted) or any(w is not None and g != w for g, w in zip(shape, wanted, strict=True)):
            faults.append(f"{source}: {_text(shape)} is not the shape {_text(wanted)} of {name}")
        elif None in wanted:
            unproved.append(name)
    return Proof(tuple(faults), len(filled.keys() & parameters.keys()), tuple(dropped), tuple(unproved))


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _size(shape: Shape) -> int:
    size = 1
    for dim in shape:
        size *= dim or 0
    return size


def _text(shape: Shape) -> str:
    return "[" + ", ".join("?" if dim is None else str(dim) for dim in shape) + "]"


def _rule(rule: RemapRule) -> str:
    return f"{rule.verb} {'+'.join(rule.names)}{' -> ' if rule.into else ''}{'+'.join(rule.into)}"
