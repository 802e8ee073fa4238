"""The heavy process of the corpus run: imports vLLM-Omni and every reference once, then forks a child per class.

``python -m omniport.corpus.runner WORK`` reads ``WORK/jobs.json``, writes ``WORK/<key>.json`` for each port and its key
to stdout.  It is started by :mod:`omniport.corpus.run`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from omniport.corpus.results import ALONE, STAGES, StageResult
from omniport.errors import OmniportError
from omniport.verify import sandbox, stand_ins
from omniport.verify.forks import Rank, RankError, fork_ranks
from omniport.verify.preload import PRELOAD
from omniport.verify.runner import versions

LIMIT = 180.0  # seconds for all stages of one class on one rank
MODULES = (
    "vllm.config",
    "omniport.corpus.features",
    *(f"omniport.verify.proofs.{name}" for name in ALONE.values()),
    "torch._dynamo",
    "vllm_omni.diffusion.cache.cachedit",
    "vllm_omni.diffusion.offloader",
)


def preload(root: Path, references: list[str], ready: Callable[[], None]) -> None:
    """Import the stack and the references; freeze the heap so that children do not walk it.

    Raises:
        OmniportError: another vllm_omni than the tree's was imported.
    """
    import torch

    torch.set_num_threads(1)
    for name in (*PRELOAD, *MODULES):
        importlib.import_module(name)
    ready()
    for name in references:
        importlib.import_module(name)
    import vllm_omni
    from vllm_omni.plugins import load_omni_general_plugins

    package = Path(str(vllm_omni.__file__)).resolve().parent
    if package != (root / "vllm_omni").resolve():
        raise OmniportError(f"{package} was imported instead of the vllm_omni of {root}; unset PYTHONPATH")
    load_omni_general_plugins()
    if any(name in references or name in sys.modules for name in stand_ins.USERS):
        stand_ins.install()
    gc.collect()
    gc.freeze()


def serve(
    work: Path,
    verify: Callable[[dict[str, Any], Path, Path], list[StageResult]],
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Verify the ports listed in ``work``.

    Args:
        work: folder with ``jobs.json``.
        verify: gets a job, the tree and ``work``; runs in a child.
        ready: called once when vLLM-Omni is imported and the references are not.
    """
    request = json.loads((work / "jobs.json").read_text())
    root = Path(request["root"])
    sandbox.enter(work)
    answers = os.dup(1)
    os.dup2(2, 1)  # libraries print to stdout; the answers have a descriptor of their own
    preload(root, sorted({job["reference"] for job in request["jobs"]}), ready)
    _write(work / "versions.json", versions())
    _say(answers, "")
    (work / "logs").mkdir(exist_ok=True)
    read, write = os.pipe()
    os.write(write, bytes(range(len(request["jobs"]))))
    os.close(write)
    workers = []
    for _ in range(request["workers"]):
        pid = os.fork()
        if pid == 0:
            _work(read, work, root, request["jobs"], answers, verify)
        workers.append(pid)
    status = [os.waitpid(pid, 0)[1] for pid in workers]
    os._exit(int(any(status)))


def _work(
    queue: int,
    work: Path,
    root: Path,
    jobs: list[dict[str, Any]],
    answers: int,
    verify: Callable[[dict[str, Any], Path, Path], list[StageResult]],
) -> NoReturn:
    """Take jobs off the queue, a pipe of job numbers, until it is empty."""
    while number := os.read(queue, 1):
        job = jobs[number[0]]
        _write(work / f"{job['key']}.json", [asdict(result) for result in verify(job, root, work)])
        _say(answers, job["key"])
    os._exit(0)


def verify(job: dict[str, Any], root: Path, work: Path) -> list[StageResult]:
    """All heavy stages of one class: the first four in one child, each feature on two ranks."""
    given = {**job, "features": tuple(job["features"])}
    results = one_rank(given, root, work, "stages", STAGES[2:])
    if all(r.state == "ok" for r in results):
        results += [two_ranks(given, root, work, f) for f in given["features"] if f not in ALONE]
        results += one_rank(given, root, work, "features", tuple(f for f in given["features"] if f in ALONE))
    return results


def one_rank(job: dict[str, Any], root: Path, work: Path, what: str, stages: tuple[str, ...]) -> list[StageResult]:
    """Stages in one child on one rank, kept as they pass; the one during which it dies has failed.

    Args:
        job: the port.
        root: of the tree.
        work: folder for results and logs.
        what: "stages", each of which needs the one before, or "features".
        stages: their names in order.
    """
    progress = work / f"{job['key']}.{what}"
    died = ""

    def alone(rank: Rank) -> None:
        from omniport.corpus import features
        from omniport.corpus.stages import Job, one_rank

        with progress.open("a") as file:

            def done(result: StageResult) -> None:
                file.write(json.dumps(asdict(result)) + "\n")
                file.flush()

            (one_rank if what == "stages" else features.alone)(Job(**job), root, work, rank, done)

    if stages:
        try:
            fork_ranks(alone, 1, logs=work / "logs", name=f"{job['key']}.{what}", limit=LIMIT)
        except RankError as error:
            died = " ".join(error.outcome.error.split())
    lines = progress.read_text().splitlines() if progress.exists() else []
    results = [StageResult(**json.loads(line)) for line in lines]
    reached = [r.stage for r in results]
    if died:
        missing = next((s for s in stages if s not in reached), stages[-1])
        results.append(StageResult(missing, "failed", died))
    return results


def two_ranks(job: dict[str, Any], root: Path, work: Path, feature: str) -> StageResult:
    """One feature on two ranks, ``tp4`` on four; all must agree with the reference."""

    def task(rank: Rank) -> dict[str, Any]:
        from omniport.corpus.stages import Job, two_ranks

        return two_ranks(Job(**job), root, work, rank, feature)

    try:
        ranks = fork_ranks(
            task, 4 if feature == "tp4" else 2, logs=work / "logs", name=f"{job['key']}.{feature}", limit=LIMIT
        )
    except RankError as error:
        said = " ".join(error.outcome.error.split())[:400]
        return StageResult(feature, "refused" if "tensor_parallel_size=" in said else "failed", said)
    reason = next((r["reason"] for r in ranks if r["reason"]), "")
    return StageResult(
        feature,
        "failed" if reason else "ok",
        reason,
        ranks[0]["detail"],
        max(r["figure"] for r in ranks),
        measures=ranks[0].get("measures", {}),
    )


def _write(path: Path, data: Any) -> None:
    """Write a file so that a reader never sees half of it."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(data))
    part.replace(path)


def _say(answers: int, line: str) -> None:
    os.write(answers, f"{line}\n".encode())


if __name__ == "__main__":
    serve(Path(sys.argv[1]), verify)
