"""``cache``: cache-dit reuses steps, changes nothing at threshold 0, and knows how many forwards a step makes."""

from __future__ import annotations

from typing import Any

from omniport.verify.cases import BASE
from omniport.verify.features._proofs import checks_of
from omniport.verify.forks import Rank
from omniport.verify.lab import Lab
from omniport.verify.results import Check, Finding

MANY = 1000  # steps in a row that may be reused: more than any run has
NEVER: dict[str, Any] = {"residual_diff_threshold": 0.0, "max_warmup_steps": 1}
ALWAYS: dict[str, Any] = {"residual_diff_threshold": 1e6, "max_warmup_steps": 1, "max_continuous_cached_steps": MANY}


def run(lab: Lab) -> Finding:
    """Prove the transformer, then run the pipeline at both ends of the threshold."""
    if reason := lab.undeclared("cache-dit"):
        return Finding(undeclared=reason)

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
    reading = lab.pipeline_alone()["readings"][BASE]
    forwards, ran = reading["forwards"], reading["steps"]
    rounds, branches = reading["rounds"], 2 if separate else 1
    told = forwards == ran * branches and all(set(each) <= {branches} for each in rounds)
    note = f"{forwards} forwards in {ran} steps, has_separate_cfg is {separate}"
    wrong = f"{note}; by step {' and '.join(map(str, rounds))}"
    checks.append(Check("has_separate_cfg says how many forwards a step makes", told, "" if told else wrong))
    tokens = [sorted(set(reading["tokens"][branch::branches])) for branch in range(branches)]
    alike = all(len(found) == 1 for found in tokens)
    checks.append(Check("every step takes as many tokens", alike, "" if alike else f"{reading['tokens']} by forward"))
    if not told or not alike:
        return Finding(tuple(checks), (proofs[0].detail, note))
    exact = lab.pipeline_with("cache0", {"cache_backend": "cache_dit", "cache_config": NEVER}, BASE)
    error = lab.compare("pipeline.cache0.pt", lab.pipeline_file({}))[BASE]
    checks.append(Check("pipeline, threshold 0", error <= lab.limit(), value=error, limit=lab.limit()))
    loose = lab.pipeline_with("cache1", {"cache_backend": "cache_dit", "cache_config": ALWAYS}, BASE)
    steps = min((len(steps) for steps in loose["reused"].values()), default=0)
    reused = not any(exact["reused"].values()) and steps > 0
    checks.append(Check("pipeline, steps reused", reused, "" if reused else f"{exact['reused']}, {loose['reused']}"))
    if needed := lab.needed_by_cache():
        options = {"cache_backend": "cache_dit", "cache_config": NEVER}
        raised = lab.refusals(options, BASE, {name: _other(value) for name, value in needed.items()})
        wrong = "; ".join(f"{n}: {text or 'served'}" for n, text in raised.items() if not _refused(text, n))
        checks.append(Check("requests that a cache cannot count are refused", not wrong, wrong))
        note += f", refused with others than {', '.join(f'{n}={v!r}' for n, v in needed.items())}"
    evidence = (proofs[0].detail, note, f"the pipeline reuses {steps} of {ran} steps, none at threshold 0")
    return Finding(tuple(checks), evidence)


def _other(value: Any) -> Any:
    """Another value than that of an argument, and as good a one."""
    if value is None or isinstance(value, bool):
        return [0] if value is None else not value
    return value + 1 if isinstance(value, int) else value + (0.5 if value < 0.5 else -0.5)


def _refused(raised: str, argument: str) -> bool:
    """Whether what was raised is the refusal: it says that the cache is the reason, and names the argument."""
    return "cache_dit" in raised and argument in raised
