"""The heavy process of the pipeline corpus: imports vLLM-Omni and every reference once, then forks per pipeline.

Started by :mod:`omniport.corpus.pipeline_run`, as :mod:`omniport.corpus.runner` is by its own.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omniport.corpus.results import REFERENCE, StageResult
from omniport.corpus.runner import serve
from omniport.verify import stand_ins
from omniport.verify.forks import Rank, RankError, fork_ranks
from omniport.verify.halves import halved

LIMIT = 420.0  # seconds for all calls of one pipeline on one rank
HEAVY = ("import", "load", "e2e")
START = 240.0  # seconds for an engine to start, with its own request of 512 by 512, and to answer


def verify(job: dict[str, Any], root: Path, work: Path) -> list[StageResult]:
    """All heavy stages of one pipeline."""
    given = {**job, "features": tuple(job["features"])}
    given.pop("reference")
    if not given["module"]:
        return [reference(given, work)]
    progress = work / f"{job['key']}.stages"
    died = ""

    def alone(rank: Rank) -> None:
        from omniport.corpus.pipeline_stages import Job, one_rank

        with progress.open("a") as file:

            def done(result: StageResult) -> None:
                file.write(json.dumps(asdict(result)) + "\n")
                file.flush()

            one_rank(Job(**given), root, work, rank, done)

    try:
        fork_ranks(alone, 1, logs=work / "logs", name=job["key"], limit=LIMIT)
    except RankError as error:
        died = " ".join(error.outcome.error.split())
    lines = progress.read_text().splitlines() if progress.exists() else []
    results = [StageResult(**json.loads(line)) for line in lines]
    if died:
        reached = [r.stage for r in results]
        results.append(StageResult(next((s for s in HEAVY if s not in reached), HEAVY[-1]), "failed", died[:600]))
    if all(r.state == "ok" for r in results) and "cfg2" in given["features"]:
        results.append(cfg2(given, root, work))
    if any(r.stage == "e2e" and r.state == "ok" for r in results) and "omni" in given["features"]:
        results.append(omni(given, root, work))
    shutil.rmtree(work / f"{job['key']}.checkpoint", ignore_errors=True)
    (work / f"{job['key']}.reference").unlink(missing_ok=True)
    return results


def reference(job: dict[str, Any], work: Path) -> StageResult:
    """Whether diffusers' own class runs, of a pipeline that has no port."""

    def alone(rank: Rank) -> dict[str, str]:
        from omniport.corpus.pipeline_stages import Job, reference_alone

        return reference_alone(Job(**job), work)

    try:
        (found,) = fork_ranks(alone, 1, logs=work / "logs", name=job["key"], limit=LIMIT)
    except RankError as error:
        found = {"reason": " ".join(error.outcome.error.split())[:600]}
    shutil.rmtree(work / f"{job['key']}.checkpoint", ignore_errors=True)
    return StageResult(REFERENCE, "failed" if found["reason"] else "ok", found["reason"])


def cfg2(job: dict[str, Any], root: Path, work: Path) -> StageResult:
    """Guidance over two ranks: both give the reference's steps, each with half of the forwards."""

    def ranks(rank: Rank) -> dict[str, Any]:
        from omniport.corpus.pipeline_stages import Job, two_ranks

        return two_ranks(Job(**job), root, work, rank, "cfg2")

    try:
        whole = int((work / f"{job['key']}.forwards").read_text())  # of the same call on one rank, which e2e made
        both = fork_ranks(ranks, 2, logs=work / "logs", name=f"{job['key']}.cfg2", limit=LIMIT)
    except RankError as error:
        return StageResult("cfg2", "failed", " ".join(error.outcome.error.split())[:600])
    forwards = [r["forwards"] for r in both]
    reason = next((f"rank {i}: {r['reason']}" for i, r in enumerate(both) if r["reason"]), "")
    if not reason and not halved(forwards, whole, both[0]["steps"]):
        reason = f"forwards {forwards} on the two ranks, {whole} on one alone"
    detail = f"forwards {forwards[0]} and {forwards[1]}, one rank alone {whole}"
    return StageResult("cfg2", "failed" if reason else "ok", reason, detail, max(r["figure"] for r in both))


def omni(job: dict[str, Any], root: Path, work: Path) -> StageResult:
    """One call through vLLM-Omni's public interface."""

    def task(rank: Rank) -> dict[str, Any]:
        from omniport.corpus.pipeline_public import public
        from omniport.corpus.pipeline_stages import Job

        return public(Job(**job), root, work, rank)

    started = time.monotonic()
    try:
        (found,) = fork_ranks(task, 1, logs=work / "logs", name=f"{job['key']}.omni", limit=START)
    except RankError as error:
        return StageResult("omni", "failed", " ".join(error.outcome.error.split())[:600])
    seconds = round(time.monotonic() - started, 2)
    reason = found["reason"]
    return StageResult("omni", "failed" if reason else "ok", reason, found["detail"], found["figure"], seconds)


def stand_in() -> None:
    """Stand-ins for packages that are not installed, for the reference and its port alike."""
    stand_ins.processors()
    stand_ins.guardrail()
    stand_ins.ftfy()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), verify, stand_in)
