"""Proving the pipelines of a corpus run: each gets its transformer's own port, then import, load, e2e and cfg2."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from omniport.analyse.demand import Demand, demand_of
from omniport.corpus.pipeline_write import Written
from omniport.corpus.produce import MODELS
from omniport.corpus.proofs import Proofs
from omniport.corpus.results import REFERENCE, StageResult
from omniport.corpus.run import WORKERS, verify_ports
from omniport.errors import OmniportError
from omniport.plan.model import PipelinePlan, TransformerPlan
from omniport.source.tree import SourceTree
from omniport.verify.pipelines import RECIPES, Recipe
from omniport.verify.repairs import IN_WORKER

STAGES = ("import", "load", "e2e", "cfg2", "omni")


def verify_pipelines(
    tree: Path,
    written: Mapping[str, Written],
    *,
    source: Path | None = None,
    on_pipeline: Callable[[str], None] | None = None,
    keep: Path | None = None,
    proofs: Proofs | None = None,
    kept: bool = False,
) -> dict[str, list[StageResult]]:
    """Prove every pipeline that was written into ``tree``; the stages by pipeline.

    Those that ``proofs`` has are not run again; with ``kept`` no others are run.

    Raises:
        OmniportError: the process that runs vLLM-Omni ended without all answers.
    """
    refused = write_transformers(tree, written, source)
    jobs = [job_of(w) for w in written.values() if w.code is not None and w.name not in refused]
    jobs += [job_of(w) | {"module": "", "features": ()} for w in written.values() if _without_port(w, refused)]
    digests: dict[str, str] = {}
    found: dict[str, list[StageResult]] = {}
    if proofs is not None:
        for job in jobs:
            digests[job["key"]] = proofs.digest(job, tree / MODELS / written[job["key"]].port)
            stages = proofs.find(job["key"], digests[job["key"]])
            if stages is not None:
                found[job["key"]] = stages
    jobs = [job for job in jobs if job["key"] not in found and not kept]

    def keep_proof(key: str, stages: list[StageResult]) -> None:
        if proofs is not None:
            proofs.keep(key, digests[key], stages)

    if jobs:
        heavy, _ = verify_ports(
            tree,
            jobs,
            source=source,
            on_class=on_pipeline,
            on_stages=keep_proof,
            runner="omniport.corpus.pipeline_runner",
            keep=keep,
        )
        found.update(heavy)
    for name, stages in found.items():
        if stages and stages[0].stage == REFERENCE:
            found[name] = [*refused.get(name, []), *stages]
    return {**refused, **found}


def _without_port(written: Written, refused: Mapping[str, Any]) -> bool:
    """Whether a pipeline has no port to run, and its components are known, so that diffusers' own class can be."""
    return bool(written.entries) and (written.code is None or written.name in refused)


def needs_worker(name: str) -> str:
    """What of a pipeline's recipe vLLM-Omni's public interface cannot do; empty if it can do all."""
    return ", ".join(r for r in RECIPES.get(name, Recipe()).repairs if r in IN_WORKER)


def job_of(written: Written) -> dict[str, Any]:
    """What the heavy process is asked for: one pipeline, or its reference alone where it was refused."""
    asked = written.name.split()[0]
    name = written.plan.class_name if written.plan is not None else asked
    dispatched = written.plan is not None and written.plan.dispatched
    return {
        "key": written.name,
        "name": name,
        "old_name": "" if name == asked else asked,
        "recipe": written.name,
        "module": f"{MODELS.replace('/', '.')}.{written.port}.pipeline_{written.port}",
        "reference": written.module,
        "entries": written.entries,
        "features": (
            *(("cfg2",) if dispatched else ()),
            *(() if needs_worker(written.name) else ("omni",)),
        ),
        "post_process": written.plan.post_process if written.plan is not None else None,
    }


def write_transformers(tree: Path, written: Mapping[str, Written], source: Path | None) -> dict[str, list[StageResult]]:
    """Port the transformer of each pipeline next to it; why not, by pipeline, as a failed ``import``."""
    groups: dict[tuple[tuple[str, ...], Demand], list[tuple[str, str, tuple[str, ...], PipelinePlan]]] = {}
    for w in written.values():
        if w.code is not None and w.plan is not None:
            wanted = (w.name, w.port, w.plan.transformer_attributes, w.plan)
            groups.setdefault((w.transformers, demand_of(w.plan)), []).append(wanted)
    jobs = [(tree, source, *key, wanted) for key, wanted in sorted(groups.items(), key=lambda g: -len(g[1]))]
    gc.freeze()
    refused: dict[str, list[StageResult]] = {}
    with get_context("fork").Pool(WORKERS) as pool:
        for part in pool.imap_unordered(_write_group, jobs):
            refused.update({name: [StageResult("import", "failed", why)] for name, why in part.items()})
    return refused


def _write_group(
    job: tuple[Path, Path | None, tuple[str, ...], Demand, list[tuple[str, str, tuple[str, ...], PipelinePlan]]],
) -> dict[str, str]:
    """Write the ports of one transformer class; pipeline -> why it has none."""
    from omniport.analyse.pipeline_forwards import cached_as_counted
    from omniport.port import analyse_transformer
    from omniport.rewrite.transformer import render_transformer
    from omniport.target.tree import installed_target

    tree, source, classes, demand, wanted = job
    try:
        if len(classes) != 1:
            raise OmniportError(f"denoisers of {len(classes)} classes: {', '.join(classes)}")
        found = analyse_transformer(SourceTree.locate(source), classes[0], demand=demand)
        made: dict[tuple[tuple[str, ...], bool, TransformerPlan], str] = {}
        for _, port, attributes, pipeline in wanted:
            plan = cached_as_counted(found.plan, pipeline)
            key = (attributes, pipeline.separate_cfg, plan)
            if key not in made:
                made[key] = render_transformer(
                    found.normal,
                    plan,
                    header=found.header,
                    attributes=attributes,
                    separate_cfg=pipeline.separate_cfg,
                    features=installed_target().features,
                )
            (tree / f"{MODELS}/{port}/{port}_transformer.py").write_text(made[key], "utf-8")
    except Exception as error:
        reason = " ".join(f"the transformer: {type(error).__name__}: {error}".split())
        return {name: reason for name, *_ in wanted}
    return {}
