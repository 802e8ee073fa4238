"""``verify`` of a custom repository's port: what can be proved without the original, which is never imported or run.

``import`` is proved as for every port.  ``load`` holds the port's transformer against what the source shows of the
original's parameters, and against the names of the published checkpoint where they were read.  Every other feature
compares with a run of the reference; each says why it is not tested, and which TODO stands in its way.
"""

from __future__ import annotations

from typing import Any

from omniport.plan.model import PortPlan
from omniport.plan.todos import IDS, markers
from omniport.target.manifest import load
from omniport.verify.forks import Rank
from omniport.verify.lab import Lab
from omniport.verify.port import Port
from omniport.verify.results import Finding, ModuleNode

_ORIGINAL = "the reference is the repository's own code, which is never imported: outputs are not compared"
#: features that need the parallel layers of vLLM-Omni
_NATIVE = frozenset({"tp2", "tp4", "sp2", "ring2", "lora", "quant"})
#: features of the pipeline, and the gaps that keep it from running
_PIPELINE = frozenset({"cfg2", "pp2", "offload", "e2e"})
_RUNS = ("ENCODE_PROMPT", "DENOISE", "DECODE", "COMPONENT", "FUSION")


def find(feature: str, lab: Lab) -> Finding:
    """One feature of the port.

    Raises:
        RankError: a fork failed.
    """
    if feature == "import":
        return _import(lab)
    if feature == "load":
        return _load(lab)
    manifest = load(lab.port.manifest_path)
    return _not_tested(feature, manifest.port_plan(), left(lab.port))


def left(port: Port) -> tuple[str, ...]:
    """Ids of the TODOs that stand in the present source of the port, each once, in their order."""
    texts = [file.read_text("utf-8") for file in port.sources() if file.suffix == ".py"]
    return tuple(dict.fromkeys(found.identity for text in texts for found in markers(text)))


def _named(ids: tuple[str, ...]) -> str:
    return ", ".join(f"OMNIPORT-TODO({identity})" for identity in ids)


def _not_tested(feature: str, plan: PortPlan, todos: tuple[str, ...]) -> Finding:
    """Why a feature is not tested, or that the port does not claim it."""
    if feature in _NATIVE and "NATIVE" in todos:
        return Finding(undeclared=f"{IDS['NATIVE'][0]}: {_named(('NATIVE',))}")
    if feature in ("sp2", "ring2") and not plan.transformer.sp:
        declared = [f for f in plan.transformer.features if f.name == "sequence parallelism"]
        return Finding(undeclared=declared[0].why.reason if declared else "no sequence-parallel plan is declared")
    if feature == "cfg2" and not plan.pipeline.dispatched:
        return Finding(undeclared="the plan has no branches of guidance that ranks could share")
    if feature == "pp2" and not plan.staged:
        return Finding(undeclared="the plan does not share the blocks among stages")
    stand = tuple(t for t in _RUNS if t in todos) if feature in _PIPELINE else ()
    if stand:
        return Finding(refused=f"the pipeline does not run yet: {_named(stand)}")
    kept = tuple(t for t in ("NATIVE", "ATTN") if t in todos) if feature == "parity" else ()
    return Finding(refused=f"{_ORIGINAL}; open beside it: {_named(kept)}" if kept else _ORIGINAL)


def _import(lab: Lab) -> Finding:
    def task(rank: Rank) -> object:
        from omniport.verify import probes

        return probes.import_port(lab.port)

    checks, evidence = lab.fork("import", task)[0]
    return Finding(tuple(checks), tuple(evidence))


def _original(lab: Lab) -> dict[str, Any] | None:
    found = load(lab.port.manifest_path).inputs.get("original")
    return found if isinstance(found, dict) else None


def _load(lab: Lab) -> Finding:
    original = _original(lab)
    if original is not None and not original.get("root", [""])[0]:
        original["needed"] = load(lab.port.manifest_path).port_plan().transformer.parameters
    if original is None:
        open_ = _named(tuple(t for t in ("CONFIG", "REMAP") if t in left(lab.port)))
        reason = "the source does not show which parameters the original has"
        return Finding(refused=f"{reason}: {open_}" if open_ else reason)

    def task(rank: Rank) -> Any:
        from omniport.verify import custom_load

        return custom_load.load_port(lab.port, lab.work, rank, original)

    checks, evidence = lab.fork("load", task)[0]
    return Finding(tuple(checks), tuple(evidence))


def module_tree(lab: Lab) -> ModuleNode:
    """The modules of the port's transformer, built with the arguments that the source shows.

    Raises:
        RankError: it cannot be built.
    """
    original = _original(lab)

    def task(rank: Rank) -> Any:
        from omniport.verify import custom_load

        return custom_load.tree(lab.port, lab.work, rank, original)

    answer: ModuleNode = lab.fork("tree", task)[0]
    return answer
