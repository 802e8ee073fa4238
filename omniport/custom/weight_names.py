"""The module of a port that maps the names of a checkpoint: the table as data, and code for the verbs it has."""

from __future__ import annotations

import re

from omniport.emit.render import render
from omniport.plan.remap import RemapTable

MODULE = "weight_names"


def weight_names(table: RemapTable) -> str:
    """The text of the module, unformatted."""
    by_verb: dict[str, list[tuple[object, ...]]] = {}
    for rule in sorted(table.rules, key=lambda r: -max((n.count(".") for n in r.names), default=0)):
        row: tuple[object, ...]
        if rule.verb in ("strip", "drop", "swap"):
            row = (rule.names[0],)
        elif rule.verb == "add":
            row = (rule.into[0],)
        elif rule.verb == "rename":
            row = (rule.names[0], rule.into[0])
        elif rule.verb == "split":
            row = (rule.names[0], rule.into, rule.sizes)
        elif rule.verb == "stack":
            row = (rule.names, rule.into[0])
        elif rule.verb == "tie":
            row = (rule.into[0], rule.names[0])
        else:
            row = (rule.names[0], rule.sizes)
        by_verb.setdefault(rule.verb, []).append(row)
    one = {verb: by_verb[verb][0][0] if verb in by_verb else "" for verb in ("strip", "add")}
    several = {verb: [row[0] for row in by_verb.get(verb, [])] for verb in ("drop", "swap")}
    rows = {verb: by_verb.get(verb, []) for verb in ("split", "stack", "rename", "reshape", "tie")}
    moves = bool(rows["split"] or rows["stack"] or rows["rename"])
    text = render(
        "custom/weight_names.py.j2",
        **one,
        **several,
        **rows,
        moves=moves,
        patterns=moves or bool(several["drop"] or several["swap"] or rows["reshape"]),
        after=bool(several["swap"] or rows["reshape"] or rows["tie"]),
    )
    return re.sub(r"\n{4,}", "\n\n\n", text)
