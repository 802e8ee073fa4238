"""The light half of the corpus run: a fresh tree, and one transformer file per class.  Imports no torch."""

from __future__ import annotations

import ast
import gc
import resource
import shutil
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from omniport import progress
from omniport.analyse.modes import MODES, shown
from omniport.corpus.facts import transformer_facts
from omniport.corpus.results import LeftOut, StageResult
from omniport.errors import OmniportError, UnsupportedError
from omniport.plan.model import TransformerPlan
from omniport.source.tree import SourceTree

MODELS = "vllm_omni/diffusion/models"
SHOWN = 3  # findings in a message
OWN_CALLS = ("dispatch_attention_fn", "scaled_dot_product_attention", "flex_attention")


@dataclass(frozen=True)
class Produced:
    """What became of one class: its stages so far, the plan's facts, and the features the plan declares or refuses."""

    name: str
    port: str
    stages: tuple[StageResult, ...]
    facts: dict[str, Any]
    supported: tuple[str, ...]
    unsupported: dict[str, str]  # feature -> reason
    absent: tuple[str, ...]  # inputs that cannot be given under sequence parallelism
    left_out: tuple[LeftOut, ...] = ()


def fresh_tree(package: Path, tree: Path) -> None:
    """Copy the package ``vllm_omni`` at ``package`` to ``tree``, which must not exist or be of an earlier run.

    Raises:
        OmniportError: ``tree`` holds something else.
    """
    if tree.exists():
        if not (tree / "vllm_omni").is_dir() or len(list(tree.iterdir())) > 2:
            raise OmniportError(f"{tree} exists and is no tree of an earlier corpus run; choose another folder")
        shutil.rmtree(tree)
    shutil.copytree(package, tree / "vllm_omni", ignore=shutil.ignore_patterns("__pycache__"))


def port_name(file: str) -> str:
    """The folder of a port, from the file of its reference class; no model of vLLM-Omni has such a name."""
    stem = Path(file).stem
    return "corpus_" + stem.removeprefix("transformer_").removesuffix("_transformer")


def produce_all(
    source: Path | None, tree: Path, classes: Iterable[tuple[str, str]], processes: int
) -> dict[str, Produced]:
    """Plan and write every class, in ``processes`` processes; by class name."""
    jobs = [(source, tree, name, file) for name, file in classes]
    gc.set_threshold(1_000_000)  # as the command line does: syntax trees live to the end
    gc.freeze()
    found = {}
    with get_context("fork").Pool(processes) as pool:
        for produced in pool.imap_unordered(_produce, jobs):
            found[produced.name] = produced
            progress.say(f"{produced.name} written ({len(found)} of {len(jobs)})")
    return found


def _produce(job: tuple[Path | None, Path, str, str]) -> Produced:
    return produce(*job)


def produce(source: Path | None, tree: Path, name: str, file: str) -> Produced:
    """Plan one class and write its transformer file into ``tree``; never raises for what the class holds."""
    from omniport.port import analyse_transformer

    stages: list[StageResult] = []
    facts: dict[str, Any] = {}
    supported: tuple[str, ...] = ()
    unsupported: dict[str, str] = {}
    absent: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    cpu = cpu_seconds()
    started = time.monotonic()
    try:
        analysis = analyse_transformer(SourceTree.locate(source), name)
        plan = analysis.plan
        facts = transformer_facts(plan, analysis.normal.code)
        supported = tuple(f.name for f in plan.features if f.supported)
        absent = plan.region.absent if plan.region else ()
        unsupported = {f.name: f"{f.why.reason} ({f.why.file}:{f.why.line})" for f in plan.features if not f.supported}
        left_out = _left_out(plan)
        detail = f"{len(plan.classes)} classes, {len(plan.linears)} linears, {len(plan.attentions)} attentions"
        stages.append(StageResult("plan", "ok", detail=detail, seconds=_since(started)))
        started = time.monotonic()
        stages.append(_scaffold(analysis, tree, file, cpu, started))
    except Exception as error:
        stage = "scaffold" if stages else "plan"
        facts = facts or {"refused": str(error)}
        stages.append(failure(stage, error, _since(started)))
    return Produced(name, port_name(file), tuple(stages), facts, supported, unsupported, absent, left_out)


def _left_out(plan: TransformerPlan) -> tuple[LeftOut, ...]:
    """Parameters of the forward that the port lacks, and config values that no port of the class serves."""
    inputs = [LeftOut(decision.subject, decision.why.reason) for decision in plan.dropped]
    modes = MODES.get(plan.class_name, {}).items()
    values = [LeftOut(f"{key} other than {shown(mode.values)}", mode.reason) for key, mode in modes if mode.only]
    return (*inputs, *values)


def _scaffold(analysis: Any, tree: Path, file: str, cpu: float, started: float) -> StageResult:
    from omniport.check.engine import check
    from omniport.emit.format import format_files, ruff_settings
    from omniport.emit.split import CACHED_BLOCKS, split_cached_blocks
    from omniport.rewrite.transformer import render_transformer

    code = render_transformer(
        analysis.normal, analysis.plan, header=analysis.header, attributes=(), separate_cfg=False, stages=True
    )
    code, cached_blocks = split_cached_blocks(code)
    port = port_name(file)
    path = f"{MODELS}/{port}/{port.removeprefix('corpus_')}_transformer.py"
    files = {path: code, f"{MODELS}/{port}/__init__.py": ""}
    if cached_blocks:
        files[f"{MODELS}/{port}/{CACHED_BLOCKS}.py"] = cached_blocks
    texts, lint = format_files(files, ruff_settings(tree))
    cpu = cpu_seconds() - cpu
    for where, text in texts.items():
        target = tree / where
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, "utf-8")
    findings = [f"{f.path.rpartition('/')[2]}:{f.line}: {f.code} {f.message}" for f in lint]
    checked = check([tree / where for where in files]).findings
    findings += [f"{f.path.rpartition('/')[2]}:{f.line}: {f.code} {f.message}" for f in checked]
    layers, own = attention_calls(texts[path])
    detail = f"{texts[path].count(chr(10))} lines, {layers} attention layers, {own} attention calls of its own"
    reason = "; ".join(findings[:SHOWN]) + (f"; and {len(findings) - SHOWN} more" if len(findings) > SHOWN else "")
    return StageResult("scaffold", "failed" if findings else "ok", reason, detail, round(cpu, 2), _since(started))


def attention_calls(code: str) -> tuple[int, int]:
    """How many attention layers of vLLM-Omni a port constructs, and how many attention calls bypass them."""
    tree = ast.parse(code)
    imported = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "vllm_omni.diffusion.attention.layer"
        for name in node.names
    }
    for node in tree.body:  # a class stands behind its bases
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) in imported for base in node.bases):
            imported.add(node.name)
    calls = [ast.unparse(node.func).rpartition(".")[2] for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return sum(c in imported for c in calls), sum(c in OWN_CALLS for c in calls)


def failure(stage: str, error: Exception, seconds: float) -> StageResult:
    """``refused`` for a construct that is not understood, else ``failed``, with the place of the error."""
    if isinstance(error, UnsupportedError):
        return StageResult(stage, "refused", str(error), seconds=seconds)
    if isinstance(error, OmniportError):
        return StageResult(stage, "failed", str(error), seconds=seconds)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    message = " ".join(str(error).split())
    return StageResult(stage, "failed", f"{type(error).__name__}: {message} ({where})", seconds=seconds)


def cpu_seconds() -> float:
    """CPU seconds of this process and of its ended children (ruff)."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _since(started: float) -> float:
    return round(time.monotonic() - started, 2)
