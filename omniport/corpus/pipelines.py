"""The pipeline corpus: every diffusers pipeline with a transformer, planned and written into a fresh tree.

Imports neither torch nor diffusers: the sources are read as text.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console

from omniport import progress
from omniport.corpus.facts import pipeline_facts
from omniport.corpus.goldens import differing, update_goldens
from omniport.corpus.pipeline_run import STAGES as PROOF
from omniport.corpus.pipeline_run import needs_worker, verify_pipelines
from omniport.corpus.pipeline_table import pipeline_table, summary, to_markdown
from omniport.corpus.produce import MODELS, SHOWN, cpu_seconds, failure, fresh_tree
from omniport.corpus.proofs import Proofs
from omniport.corpus.results import ClassResult, CorpusReport, StageResult, completed
from omniport.corpus.run import WORKERS
from omniport.corpus.table import to_json
from omniport.emit import default_name
from omniport.errors import OmniportError
from omniport.hub.index import ModelIndex
from omniport.hub.synthetic import constructor, find_pipeline, pipeline_names, synthesise
from omniport.plan.model import ModelPlan, PipelinePlan, PortPlan, TransformerPlan
from omniport.source.tree import SourceTree
from omniport.verify.api import installed_versions, missing_packages
from omniport.verify.components.entries import entries_of, with_published
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


def corpus_pipelines(tree: SourceTree) -> dict[str, str]:
    """Class name -> file below the package, of every pipeline whose constructor takes a transformer.

    Published forms that have a recipe of their own come besides, under the class's name, a space and their own.
    """
    found: dict[str, str] = {}
    for name in pipeline_names(tree):
        try:
            module = find_pipeline(name, tree)
            parameters = constructor(tree, module, name)[1]
        except OmniportError:
            continue  # a class of that name that no module of pipelines/ defines at its top
        if any(p.name.startswith("transformer") for p in parameters):
            found[name] = module.file.split("/", 1)[1]
    forms = {form: found[name] for form in RECIPES if " " in form and (name := form.split()[0]) in found}
    return dict(sorted({**found, **forms}.items()))


def run_pipelines(
    tree: Path,
    *,
    source: Path | None = None,
    only: tuple[str, ...] = (),
    prove: bool = False,
    proofs: Path | None = None,
    kept: bool = False,
    on_pipeline: Callable[[str], None] | None = None,
) -> tuple[CorpusReport, dict[str, Written]]:
    """Plan every pipeline and write it into the fresh tree ``tree``: ruff and ``omniport check`` clean, imports found.

    Args:
        tree: folder that is written anew with a copy of the installed vllm_omni.
        source: another diffusers than the installed one.
        only: class names; all if empty.
        prove: whether to run the ports in vLLM-Omni's worker beside diffusers, too.
        proofs: folder of the proofs of earlier runs; those that still hold are not made again.
        kept: whether to take those alone and run nothing.
        on_pipeline: called with the name of each pipeline that was proved.

    Raises:
        OmniportError: an unknown class, no vllm_omni to copy, ``tree`` holds something else, or a package of the
            verify environment is missing.
    """
    started = time.monotonic()
    found = SourceTree.locate(source)
    classes = corpus_pipelines(found)
    if unknown := sorted(set(only) - classes.keys()):
        raise OmniportError(f"no pipeline with a transformer of that name in {found.root}: {', '.join(unknown)}")
    classes = {name: file for name, file in classes.items() if not only or name in only}
    package = importlib.util.find_spec("vllm_omni")
    if package is None or not package.submodule_search_locations:
        raise OmniportError("the pipeline corpus needs vllm_omni, which is not installed")
    fresh_tree(Path(package.submodule_search_locations[0]), tree)
    if prove and (missing := missing_packages()):
        raise OmniportError(f"proving pipelines needs packages that are not installed: {'; '.join(missing)}")
    written = write_all(source, classes, WORKERS)
    results = finish(tree, written)
    stages: tuple[str, ...] = STAGES
    versions = {"diffusers": found.version}
    heavy: dict[str, list[StageResult]] = {}
    if prove:
        stages = (*STAGES, *PROOF)
        versions |= installed_versions()
        heavy = verify_pipelines(
            tree,
            written,
            source=source,
            on_pipeline=on_pipeline,
            keep=tree.parent / f"{tree.name}.logs",
            proofs=Proofs(proofs, versions) if proofs is not None else None,
            kept=kept,
        )
    report = CorpusReport(
        tuple(
            ClassResult(n, f, completed([*results[n], *heavy.get(n, [])], stages, _undispatched(written[n])))
            for n, f in classes.items()
        ),
        stages,
        versions,
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
        round(time.monotonic() - started, 1),
    )
    return report, written


def _undispatched(written: Written) -> dict[str, str]:
    """``cfg2`` with the reason, where the plan gives no branches to ranks; ``omni`` where only a worker can run it."""
    found = {}
    if needs := needs_worker(written.name):
        found["omni"] = f"{needs}: done in the worker"
    if written.plan is not None and not written.plan.dispatched:
        why = next((d.why.reason for d in written.plan.decisions if d.subject == "guidance"), "")
        found["cfg2"] = f"guidance {written.plan.cfg}{f': {why}' if why else ''}"
    return found


def write_all(source: Path | None, names: Iterable[str], processes: int) -> dict[str, Written]:
    """Plan and render every pipeline, in ``processes`` processes."""
    gc.set_threshold(1_000_000)  # as the command line does: syntax trees live to the end
    gc.freeze()
    with get_context("fork").Pool(processes) as pool:
        return {w.name: w for w in pool.imap_unordered(_write, [(source, n) for n in names], chunksize=4)}


def _write(job: tuple[Path | None, str]) -> Written:
    return write(*job)


_TREES: dict[Path | None, SourceTree] = {}


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
        transformers = _transformers(index, tree)
        code = render_pipeline(tree, _port(port, plan, transformers[0]), features)
        stages.append(StageResult("scaffold", "ok"))
    except Exception as error:
        stages.append(failure("scaffold" if stages else "plan", error, _since(started)))
    cpu = round(cpu_seconds() - cpu, 2)
    stages[-1] = replace(stages[-1], figure=cpu, seconds=_since(started))
    return Written(name, port, tuple(stages), code, plan, transformers, cpu, module, entries)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 2)


def _transformers(index: ModelIndex, tree: SourceTree) -> tuple[str, ...]:
    """Classes of the denoisers that the index names."""
    found: dict[str, None] = {}
    for name, entry in index.components.items():
        if entry is not None and (name.startswith("transformer") or name.endswith("transformer")):
            found[entry.class_name] = None
    return tuple(found)


def _port(name: str, plan: PipelinePlan, transformer: str) -> PortPlan:
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


def main() -> int:
    """Run the pipeline corpus; 0 if every pipeline passes, 1 if not, 2 if it cannot be run."""
    parser = argparse.ArgumentParser(prog="python -m omniport.corpus.pipelines", description=__doc__)
    parser.add_argument(
        "--tree", type=Path, default=Path(".corpus/pipelines"), help="folder to port into, written anew"
    )
    parser.add_argument("--source", type=Path, help="another diffusers: a checkout, or a folder that holds the package")
    parser.add_argument("--only", action="append", default=[], metavar="CLASS", help="this class only; may be repeated")
    parser.add_argument("--verify", action="store_true", help="run the ports beside diffusers, too")
    parser.add_argument("--proofs", type=Path, help="folder of proofs; those that still hold are not made again")
    parser.add_argument("--kept", action="store_true", help="with --proofs: take those that hold, run nothing")
    parser.add_argument("--goldens", type=Path, help="folder of plan goldens to compare with")
    parser.add_argument("--update-goldens", action="store_true", help="write the goldens instead of comparing")
    parser.add_argument("--json", type=Path, help="write the report as JSON")
    parser.add_argument("--markdown", type=Path, help="write the report as Markdown")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 200)
    try:
        with progress.shown(quiet=options.quiet) as shown:
            report, written = run_pipelines(
                options.tree,
                source=options.source,
                only=tuple(options.only),
                prove=options.verify,
                proofs=options.proofs,
                kept=options.kept,
                on_pipeline=lambda name: shown.step(f"{name} verified"),
            )
    except OmniportError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    console.print(pipeline_table(report))
    console.print("\n".join(["", *summary(report), f"{report.seconds:.0f} s"]), highlight=False)
    if options.json:
        options.json.write_text(to_json(report), "utf-8")
    if options.markdown:
        options.markdown.write_text(to_markdown(report), "utf-8")
    changed: list[str] = []
    if options.goldens and options.update_goldens:
        update_goldens(options.goldens, written.values())
    elif options.goldens:
        changed = differing(options.goldens, written.values())
        if changed:
            print(f"plans differ from their goldens (renew with --update-goldens): {', '.join(changed)}")
    return int(bool(changed) or report.ok < len(report.classes))


if __name__ == "__main__":
    sys.exit(main())
