"""``cache``: cache-dit reuses steps, changes nothing at threshold 0, and knows how many forwards a step makes."""

from __future__ import annotations

from typing import Any

from omniport.verify.cases import STEPS
from omniport.verify.features._proofs import checks_of
from omniport.verify.forks import Rank
from omniport.verify.lab import PIPELINE, Lab
from omniport.verify.results import Check, Finding

GUIDED, PLAIN = "negative prompt", "base"
NEVER: dict[str, Any] = {"residual_diff_threshold": 0.0, "max_warmup_steps": 1}
ALWAYS: dict[str, Any] = {"residual_diff_threshold": 1e6, "max_warmup_steps": 1, "max_continuous_cached_steps": STEPS}


def run(lab: Lab) -> Finding:
    """Prove the transformer, then run the pipeline at both ends of the threshold."""

    def task(rank: Rank) -> Any:
        from omniport.verify import proving

        return proving.separate_cfg(lab.port)

    separate = lab.fork("separate_cfg", task)[0]
    if separate is None:
        return Finding((Check("the transformer declares how it is cached", False, "no _cache_dit_adapter_config"),))
    proofs = lab.proof("cache")
    checks = checks_of(proofs, "steps are reused")
    if not all(check.ok for check in checks):
        return Finding(tuple(checks), (proofs[0].detail,))
    readings = lab.pipeline_alone()["readings"]
    case = GUIDED if GUIDED in readings else PLAIN
    forwards = readings[case]["forwards"]
    told = forwards == STEPS * (2 if separate else 1)
    note = f"{forwards} forwards in {STEPS} steps, has_separate_cfg is {separate}"
    checks.append(Check("has_separate_cfg says how many forwards a step makes", told, "" if told else note))
    exact = lab.pipeline_with("cache0", {"cache_backend": "cache_dit", "cache_config": NEVER}, case)
    error = lab.compare("pipeline.cache0.pt", lab.pipeline_file({}))[case]
    checks.append(Check("pipeline, threshold 0", error <= PIPELINE, value=error, limit=PIPELINE))
    loose = lab.pipeline_with("cache1", {"cache_backend": "cache_dit", "cache_config": ALWAYS}, case)
    steps = min((len(steps) for steps in loose["reused"].values()), default=0)
    reused = not any(exact["reused"].values()) and steps > 0
    checks.append(Check("pipeline, steps reused", reused, "" if reused else f"{exact['reused']}, {loose['reused']}"))
    evidence = (proofs[0].detail, note, f"the pipeline reuses {steps} of {STEPS} steps, none at threshold 0")
    return Finding(tuple(checks), evidence)
