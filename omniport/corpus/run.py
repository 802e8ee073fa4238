"""The corpus run from beginning to end: classes, tree, ports, verification, report."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from omniport.corpus.classes import corpus_classes
from omniport.corpus.produce import MODELS, Produced, fresh_tree, produce_all
from omniport.corpus.results import FEATURES, STAGES, ClassResult, CorpusReport, StageResult, completed
from omniport.errors import OmniportError
from omniport.source.tree import SourceTree
from omniport.verify import sandbox
from omniport.verify.api import ENVIRONMENT, missing_packages

WORKERS = 2


def run_corpus(
    tree: Path,
    *,
    source: Path | None = None,
    only: tuple[str, ...] = (),
    features: tuple[str, ...] = (),
    on_class: Callable[[str], None] | None = None,
) -> tuple[CorpusReport, dict[str, Produced]]:
    """Port every transformer class of diffusers into the fresh tree ``tree`` and verify the ports.

    Args:
        tree: folder that is written anew with a copy of the installed vllm_omni.
        source: another diffusers than the installed one, a checkout or a folder that holds the package.
        only: class names; all if empty.
        features: stages beyond those of one rank, by name.
        on_class: called with the name of each class that was verified.

    Returns:
        the report, and what was produced by class name.

    Raises:
        OmniportError: an unknown class, a package of the verify environment is missing, ``tree`` holds something else,
            or the process that runs vLLM-Omni ended without all answers.
    """
    started = time.monotonic()
    found = SourceTree.locate(source)
    classes = corpus_classes(found)
    if unknown := sorted(set(only) - classes.keys()):
        raise OmniportError(f"no transformer class {', '.join(unknown)} in {found.root}")
    classes = {name: file for name, file in classes.items() if not only or name in only}
    if missing := missing_packages():
        raise OmniportError(f"the corpus run needs packages that are not installed: {'; '.join(missing)}")
    package = importlib.util.find_spec("vllm_omni")
    assert package is not None and package.submodule_search_locations
    fresh_tree(Path(package.submodule_search_locations[0]), tree)
    produced = produce_all(source, tree, classes.items(), WORKERS)
    stages = (*STAGES, *features)
    heavy, versions = verify_ports(tree, jobs_of(classes, produced, features), source=source, on_class=on_class)
    results = tuple(
        ClassResult(
            name,
            file,
            completed([*produced[name].stages, *heavy.get(name, [])], stages, _undeclared(produced[name])),
            produced[name].left_out,
        )
        for name, file in classes.items()
    )
    versions["diffusers"] = found.version
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    report = CorpusReport(results, stages, versions, date, round(time.monotonic() - started, 1))
    return report, produced


def jobs_of(classes: dict[str, str], produced: dict[str, Produced], features: tuple[str, ...]) -> list[dict[str, Any]]:
    """What the heavy process is asked for: every port that was written."""
    return [
        {
            "key": name,
            "name": name,
            "module": f"{MODELS.replace('/', '.')}.{done.port}.{done.port.removeprefix('corpus_')}_transformer",
            "reference": "diffusers." + classes[name].removesuffix(".py").replace("/", "."),
            "features": tuple(name for name in _declared(done) if name in features),
            "absent": done.absent,
        }
        for name, done in sorted(produced.items())
        if any(s.stage == "scaffold" and s.detail for s in done.stages)
    ]


def verify_ports(
    tree: Path,
    jobs: list[dict[str, Any]],
    *,
    source: Path | None = None,
    on_class: Callable[[str], None] | None = None,
    on_stages: Callable[[str, list[StageResult]], None] | None = None,
    runner: str = "omniport.corpus.runner",
    keep: Path | None = None,
) -> tuple[dict[str, list[StageResult]], dict[str, str]]:
    """Run the heavy stages of ports in ``tree`` in one process.

    Args:
        tree: where the ports are.
        jobs: what the runner's ``verify`` is asked for, one each.
        source: another diffusers than the installed one.
        on_class: called with the key of each job that is done.
        on_stages: called with its key and stages, too.
        runner: module to run as the heavy process.
        keep: folder for the logs of all ranks.

    Returns:
        the stages by key of the job, and the versions of what took part.

    Raises:
        OmniportError: the process ended without all answers.
    """
    with sandbox.workspace("corpus") as work:
        request = {"root": str(tree.resolve()), "jobs": jobs, "workers": WORKERS}
        (work / "jobs.json").write_text(json.dumps(request))

        def seen(key: str) -> None:
            if on_stages is not None:
                on_stages(key, [StageResult(**data) for data in json.loads((work / f"{key}.json").read_text())])
            if on_class is not None:
                on_class(key)

        log = _heavy_process(work, tree, source, seen, runner)
        if keep is not None and (work / "logs").is_dir():
            shutil.copytree(work / "logs", keep, dirs_exist_ok=True)
        heavy: dict[str, list[StageResult]] = {}
        for key in (job["key"] for job in jobs):
            path = work / f"{key}.json"
            if not path.exists():
                raise OmniportError(f"the verify process ended before {key} was done:\n{log}")
            heavy[key] = [StageResult(**data) for data in json.loads(path.read_text())]
        return heavy, json.loads((work / "versions.json").read_text())


def _declared(done: Produced) -> tuple[str, ...]:
    """The features that the plan declares, and those of every port: what it does not is no failure."""
    return tuple(stage for stage, feature in FEATURES.items() if not feature or feature in done.supported)


def _undeclared(done: Produced) -> dict[str, str]:
    """The others, with the plan's reason."""
    return {stage: done.unsupported[name] for stage, name in FEATURES.items() if name in done.unsupported}


def _heavy_process(
    work: Path, tree: Path, source: Path | None, on_class: Callable[[str], None] | None, runner: str
) -> str:
    """Start the runner and wait; returns the end of its log."""
    package = Path(__file__).resolve().parents[2]
    other = [str(SourceTree.locate(source).root.resolve().parent)] if source else []
    paths = [str(tree.resolve()), *other, str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths), "VLLM_RPC_BASE_PATH": str(work)}

    def on_line(line: str) -> None:
        if on_class is not None and line.strip():
            on_class(line.strip())

    sandbox.heavy_process(runner, work, env, on_line)
    return sandbox.log_tail(work)
