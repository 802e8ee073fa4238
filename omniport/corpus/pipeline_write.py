"""Planning and writing the pipelines of a corpus run: ruff and ``omniport check`` clean, every import found."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from omniport.corpus.facts import pipeline_facts
from omniport.corpus.produce import MODELS, SHOWN, cpu_seconds, failure
from omniport.corpus.results import StageResult
from omniport.emit import default_name
from omniport.hub.index import ModelIndex
from omniport.hub.published import entries_of, with_published
from omniport.hub.synthetic import find_pipeline, synthesise
from omniport.plan.model import ModelPlan, PipelinePlan, PortPlan, TransformerPlan
from omniport.source.tree import SourceTree
from omniport.verify.pipelines import RECIPES, Recipe

STAGES = ("plan", "scaffold")


@dataclass(frozen=True)
class Written:
    """What became of one pipeline: stages so far, the rendered text (None if refused), the plan, CPU seconds."""

    name: str
    port: str
    stages: tuple[StageResult, ...]
    code: str | None
    plan: PipelinePlan | None
    transformers: tuple[str, ...]
    cpu: float
    module: str = ""  # of the reference
    entries: Mapping[str, tuple[str, str] | None] = field(default_factory=dict)  # component -> library, class

    @property
    def facts(self) -> dict[str, Any]:
        """What was decided, or why the pipeline was refused."""
        return pipeline_facts(self.plan, self.transformers, "" if self.plan else self.stages[-1].reason)


def write_all(source: Path | None, names: Iterable[str], processes: int) -> dict[str, Written]:
    """Plan and render every pipeline, in ``processes`` processes."""
    gc.set_threshold(1_000_000)  # as the command line does: syntax trees live to the end
    gc.freeze()
    with get_context("fork").Pool(processes) as pool:
        return {w.name: w for w in pool.imap_unordered(_write, [(source, n) for n in names], chunksize=4)}


def _write(job: tuple[Path | None, str]) -> Written:
    return write(*job)


_TREES: dict[Path | None, SourceTree] = {}  # by the diffusers that is asked for


def write(source: Path | None, name: str) -> Written:
    """Plan and render one pipeline with its default components; never raises for what the class holds."""
    from omniport.analyse.pipeline import analyse_pipeline
    from omniport.rewrite.pipeline.module import render_pipeline
    from omniport.target.tree import installed_target

    tree = _TREES.setdefault(source, SourceTree.locate(source))
    features = installed_target().features
    class_name, _, form = name.partition(" ")
    port = f"corpus_{default_name(class_name)}{form and '_'}{re.sub(r'[^0-9a-z]', '_', form)}"
    stages: list[StageResult] = []
    code, plan = None, None
    transformers: tuple[str, ...] = ()
    module, entries = "", {}
    cpu, started = cpu_seconds(), time.monotonic()
    try:
        recipe = RECIPES.get(name, Recipe())
        index = with_published(synthesise(class_name, tree)[0], recipe)
        entries = entries_of(index)
        module = find_pipeline(class_name, tree).name
        plan = analyse_pipeline(tree, class_name, index, features, name=port)
        stages.append(StageResult("plan", "ok", detail=f"guidance {plan.cfg}", seconds=_since(started)))
        transformers = denoiser_classes(index)
        code = render_pipeline(tree, named_port(port, plan, transformers[0]), features)
        stages.append(StageResult("scaffold", "ok"))
    except Exception as error:
        stages.append(failure("scaffold" if stages else "plan", error, _since(started)))
    cpu = round(cpu_seconds() - cpu, 2)
    stages[-1] = replace(stages[-1], figure=cpu, seconds=_since(started))
    return Written(name, port, tuple(stages), code, plan, transformers, cpu, module, entries)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 2)


def denoiser_classes(index: ModelIndex) -> tuple[str, ...]:
    """Classes of the denoisers that the index names."""
    found: dict[str, None] = {}
    for name, entry in index.components.items():
        if entry is not None and (name.startswith("transformer") or name.endswith("transformer")):
            found[entry.class_name] = None
    return tuple(found)


def named_port(name: str, plan: PipelinePlan, transformer: str) -> PortPlan:
    """A port whose transformer is only named: the transformer corpus plans and writes it."""
    model = ModelPlan(
        plan.class_name, "diffusers", None, plan.class_name, "path A", "diffusers", (), (), "port both parts"
    )
    none: tuple[()] = ()
    bare = TransformerPlan(transformer, "", none, none, none, none, none, none, none, none, none, none, none)
    return PortPlan(name, model, bare, plan, ())


def finish(tree: Path, written: Mapping[str, Written]) -> dict[str, tuple[StageResult, ...]]:
    """Format, lint, check and resolve what was rendered; write it; the stages by pipeline."""
    from omniport.check.engine import check
    from omniport.emit.format import format_files, ruff_settings
    from omniport.target.resolve import resolve_imports

    paths = {w.name: f"{MODELS}/{w.port}/pipeline_{w.port}.py" for w in written.values() if w.code is not None}
    texts, lint = format_files({paths[n]: written[n].code or "" for n in paths}, ruff_settings(tree))
    stubs = {
        f"{MODELS}/{w.port}/{w.port}_transformer.py": "".join(f"class {t}: ...\n" for t in w.transformers)
        for w in written.values()
    }
    resolution = resolve_imports({**stubs, **texts}, tree / "vllm_omni")
    findings: dict[str, list[str]] = {path: [] for path in paths.values()}
    for f in lint:
        findings[f.path].append(f"{f.line}: {f.code} {f.message}")
    for m in resolution.missing:
        findings[m.file].append(f"{m.line}: import {m.name}: {m.reason}")
    for path, text in texts.items():
        target = tree / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, "utf-8")
        (target.parent / "__init__.py").touch()
    for path in paths.values():
        findings[path] += [f"{f.line}: {f.code} {f.message}" for f in check([tree / path]).findings]
    return {
        w.name: _judged(w.stages, findings[paths[w.name]], texts[paths[w.name]]) if w.name in paths else w.stages
        for w in written.values()
    }


def _judged(stages: tuple[StageResult, ...], findings: list[str], text: str) -> tuple[StageResult, ...]:
    reason = "; ".join(findings[:SHOWN]) + (f"; and {len(findings) - SHOWN} more" if len(findings) > SHOWN else "")
    state = "failed" if findings else "ok"
    last = replace(stages[-1], state=state, reason=reason, detail=f"{text.count(chr(10))} lines")  # type: ignore[arg-type]
    return (*stages[:-1], last)
