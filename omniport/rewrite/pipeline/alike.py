"""A request is refused where a cache is on that its arguments would mislead: steps with other numbers of forwards."""

from __future__ import annotations

from collections.abc import Sequence

from omniport.plan.model import Decision
from omniport.plan.subjects import ALIKE
from omniport.rewrite.pipeline.blocks import Block, parse
from omniport.rewrite.pipeline.facts import name_of, of_kind


def steps_alike(decisions: Sequence[Decision]) -> Block:
    """The statement that refuses; none where no argument of the request matters."""
    needs = [(name_of(d), d.value) for d in of_kind(decisions, ALIKE)]
    if not needs:
        return []
    if len(needs) == 1:
        ((name, value),) = needs
        other = f"{name} is not {value!r}" if value is None or isinstance(value, bool) else f"{name} != {value!r}"
    else:
        other = f"({', '.join(name for name, _ in needs)}) != ({', '.join(repr(value) for _, value in needs)})"
    at = ", ".join(f"{name}={value!r}" for name, value in needs)
    return parse(
        f'if self.od_config.cache_backend == "cache_dit" and {other}:\n'
        "    raise ValueError(\n"
        f'        "cache_dit needs the same one or two runs of the denoiser in every step, which takes {at}."\n'
        "    )\n"
    )
