"""The state of a walk in front of a statement of the forward, from where it goes on under other assumptions.

What comes before the boundary does not depend on what is assumed of the values there, so a search walks it once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from omniport.analyse.expressions import Env
from omniport.analyse.facts import Decisions, Facts, LinearFact
from omniport.analyse.sequence.records import Record
from omniport.analyse.shapes import Closure, Either, Fields, Instance, Method, Modules, Seq

#: What a walk adds to as it goes.
_OWN = frozenset({list, dict, set, Facts, Record, Decisions, LinearFact})


class Checkpoint:
    """What a walk knew before the statement ``at`` of its root's forward, whose names were ``env``."""

    def __init__(self, at: int, walk: Any, env: Env, assumed: frozenset[str]) -> None:
        """Keep all attributes of ``walk`` but those of ``assumed``, which say what is taken for given from here on."""
        self.at, self.env, self.steps = at, env, int(walk.steps)
        self._state = {name: _copied(value) for name, value in vars(walk).items() if name not in assumed}
        self._lists: list[tuple[list[Any], list[Any]]] = []
        self._dicts: list[tuple[Env, Env]] = [(env, dict(env))]
        self._modules: list[tuple[Instance, Env]] = []
        self._note([*env.values(), walk.root, *(value for returned in walk.returns for value in returned)])

    def _note(self, values: Iterable[Any]) -> None:
        """Every list, dict and module that ``values`` hold, with what is in it now."""
        todo, seen = list(values), {id(self.env)}
        while todo:
            value = todo.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, Seq | Modules | Either):
                self._lists.append((value.items, list(value.items)))
                todo += value.items
            elif isinstance(value, Instance):
                self._modules.append((value, dict(value.attributes)))
                todo += value.attributes.values()
            elif isinstance(value, Method):
                todo.append(value.base)
            elif isinstance(value, Fields | Closure):
                held = value.items if isinstance(value, Fields) else value.env
                if id(held) not in seen:
                    seen.add(id(held))
                    self._dicts.append((held, dict(held)))
                    todo += held.values()

    def restore(self, walk: Any) -> Env:
        """Bring ``walk``, and all values that are alive here, back to this point; returns the names."""
        vars(walk).update({name: _copied(value) for name, value in self._state.items()})
        for items, before in self._lists:
            items[:] = before
        for held, contents in self._dicts:
            held.clear()
            held.update(contents)
        for module, attributes in self._modules:
            module.attributes = dict(attributes)
        return self.env


def _copied(value: Any) -> Any:
    """The walk's own tables and records anew; what they hold of the model stays the same object."""
    kind = type(value)
    if kind is list:
        return list(value) if _OWN.isdisjoint(map(type, value)) else [_copied(item) for item in value]
    if kind is dict:
        shallow = _OWN.isdisjoint(map(type, value.values()))
        return dict(value) if shallow else {key: _copied(item) for key, item in value.items()}
    if kind is set:
        return set(value)
    if kind in _OWN:
        return replace(value, **{field.name: _copied(getattr(value, field.name)) for field in fields(value)})
    return value
