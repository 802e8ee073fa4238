"""What the features share: one checkpoint, one reference, and every run of the port done once.  Lives in the parent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omniport.plan.model import DISPATCHED
from omniport.plan.subjects import ALIKE, COMPONENT, STAYS
from omniport.target.manifest import load
from omniport.verify.cases import BASE, EVEN, ODD
from omniport.verify.forks import Rank, RankError, fork_ranks, reserve_port
from omniport.verify.port import Port
from omniport.verify.results import BlockError, ModuleNode

PARITY = 1e-5
"""Largest relative error of one transformer call, fp32 against fp32 (contract, "Evidence")."""

PIPELINE = 1e-5
"""Largest relative error of latents and image after a whole run that makes errors of its transformer no larger."""

LARGEST = 1e-4
"""The same of any run: see :meth:`Lab.limit`."""

ALONE, TOGETHER = 240.0, 120.0
"""Seconds for one rank, which has nobody to wait for, and for several, of which one may wait for ever."""


class Lab:
    """Runs tasks in forks and remembers what they returned, or how they failed.

    ``tiny``: where the lab works whose transformer this one has in wider, see :meth:`wide`.
    """

    def __init__(self, port: Port, work: Path, tiny: Path | None = None) -> None:
        self.port, self.work, self._tiny = port, work, tiny
        self.logs = work / "logs"
        self.logs.mkdir(exist_ok=True)
        self._done: dict[str, Any] = {}
        self.shared = 0.0  # seconds for what features share, whichever asked first

    @contextmanager
    def _sharing(self) -> Iterator[None]:
        """Count the time inside as shared."""
        started, before = time.monotonic(), self.shared
        try:
            yield
        finally:
            self.shared = before + time.monotonic() - started

    def fork(self, name: str, task: Callable[[Rank], Any], world: int = 1) -> list[Any]:
        """Run ``task`` once per rank; the second call with the same name returns what the first did.

        Raises:
            RankError: a rank failed, now or the first time.
        """
        if name not in self._done:
            limit = ALONE if world == 1 else TOGETHER
            try:
                self._done[name] = fork_ranks(task, world, logs=self.logs, name=name, limit=limit)
            except RankError as error:
                self._done[name] = error
        if isinstance(self._done[name], RankError):
            raise self._done[name]
        answer: list[Any] = self._done[name]
        return answer

    def prepare(self) -> dict[str, Any]:
        """Build the checkpoint and the reference transformer's outputs."""

        def task(rank: Rank) -> Any:
            from omniport.verify import preparing

            if self._tiny is not None:
                return preparing.prepare_wide(self.port, self.work, self._tiny)
            return preparing.prepare(self.port, self.work)

        with self._sharing():
            answer: dict[str, Any] = self.fork("prepare", task)[0]
        return answer

    def wide(self) -> Lab:
        """A lab for the transformer alone, of a size that four ranks can share."""
        self.prepare()
        folder = self.work / "wide"
        folder.mkdir()
        return Lab(self.port, folder, self.work)

    def transformer(
        self,
        parallel: dict[str, Any],
        world: int = 1,
        names: tuple[str, ...] = (EVEN, ODD),
        published: bool = False,
        without: tuple[str, ...] = (),
    ) -> list[dict[str, Any]]:
        """Run the port's transformer on the named calls; outputs are kept as :meth:`transformer_file`.

        ``published``: count what each rank holds at published size, too.  ``without``: inputs that are not given.
        """
        self.prepare()
        keep = self.transformer_file(parallel, without)

        def task(rank: Rank) -> Any:
            from omniport.verify import tasks

            return tasks.run_transformer(self.port, self.work, rank, parallel, names, keep, published, without)

        if parallel:
            return self.fork(keep, task, world)
        with self._sharing():
            return self.fork(keep, task)

    def transformer_file(self, parallel: dict[str, Any], without: tuple[str, ...] = ()) -> str:
        """File name of the transformer's outputs under ``parallel``, without some of its inputs."""
        return ".".join(("transformer", _label(parallel), *without, "pt"))

    def undeclared(self, feature: str) -> str:
        """Why the plan in the manifest leaves a feature of the transformer out, and where; "" if it has it.

        A manifest without a plan leaves it to the feature to find out.
        """
        for entry in load(self.port.manifest_path).plan.get("transformer", {}).get("features", ()):
            if entry["name"] == feature and not entry["supported"]:
                return _reason(entry["why"])
        return ""

    def needed_by_cache(self) -> dict[str, Any]:
        """Arguments of a request that have to keep one value while there is a cache, as the plan says, with it."""
        plan = load(self.port.manifest_path).plan.get("pipeline", {})
        kept = (d for d in plan.get("decisions", ()) if d["subject"].startswith(f"{ALIKE} "))
        return {d["subject"].removeprefix(f"{ALIKE} "): d["value"] for d in kept}

    def refused_inputs(self) -> tuple[str, ...]:
        """Inputs of the transformer that cannot be given with sequence parallelism, as the plan says."""
        region = load(self.port.manifest_path).plan.get("transformer", {}).get("region") or {}
        return tuple(region.get("absent", ()))

    def staying(self) -> dict[str, str]:
        """Components that the plan leaves on the device under offload, and why."""
        plan = load(self.port.manifest_path).plan.get("pipeline", {})
        found = [d for d in plan.get("decisions", ()) if d["subject"].startswith(f"{STAYS} ")]
        return {d["subject"].partition(" ")[2]: _reason(d["why"]) for d in found}

    def beside(self) -> dict[str, str]:
        """Components that no offload of vLLM-Omni is told of, as they are no encoder, and their classes."""
        plan = load(self.port.manifest_path).plan.get("pipeline", {})
        found = [d for d in plan.get("decisions", ()) if d["subject"].startswith(f"{COMPONENT} ")]
        others = [d for d in found if d["why"]["reason"].startswith("other:")]
        return {d["subject"].partition(" ")[2]: str(d["value"]).rpartition(".")[2] for d in others}

    def undispatched(self) -> str:
        """The same of guidance by ranks."""
        plan = load(self.port.manifest_path).plan.get("pipeline", {})
        if plan.get("cfg", DISPATCHED[0]) in DISPATCHED:
            return ""
        why = next((d["why"] for d in plan.get("decisions", ()) if d["subject"] == "guidance"), None)
        return f"guidance {plan['cfg']}{f': {_reason(why)}' if why else ''}"

    def reference(self) -> dict[str, float]:
        """Run the reference pipeline on every case; how far each case is from ``base``."""
        answer: dict[str, float] = self._reference()["distances"]
        return answer

    def reference_skipped(self) -> dict[str, str]:
        """The cases that the reference itself cannot do, and why."""
        answer: dict[str, str] = self._reference()["skipped"]
        return answer

    def no_latents(self) -> str:
        """Why the reference gives no latents, so that what is decoded is compared everywhere; empty if it does."""
        answer: str = self._reference()["no_latents"]
        return answer

    def limit(self) -> float:
        """Largest relative error of a whole run: what the reference's own run makes of an error of :data:`PARITY`."""
        gain: float = self._reference()["gain"]
        return min(LARGEST, PIPELINE * max(1.0, gain))

    def _reference(self) -> dict[str, Any]:
        self.prepare()

        def task(rank: Rank) -> Any:
            from omniport.verify import tasks

            return tasks.reference_cases(self.port, self.work)

        with self._sharing():
            answer: dict[str, Any] = self.fork("reference", task)[0]
        return answer

    def pipeline(
        self, parallel: dict[str, Any], world: int, names: tuple[str, ...], images: bool
    ) -> list[dict[str, Any]]:
        """Run the port's pipeline on cases in vLLM-Omni's worker; results are kept as :meth:`pipeline_file`."""
        self.reference()
        keep = self.pipeline_file(parallel)

        def task(rank: Rank) -> Any:
            from omniport.verify import tasks

            return tasks.run_pipeline(self.port, self.work, rank, parallel, names, images, keep)

        return self.fork(keep, task, world)

    def pipeline_alone(self) -> dict[str, Any]:
        """The port's pipeline on one rank, on every case."""
        with self._sharing():
            answer: dict[str, Any] = self.pipeline({}, 1, tuple(self.reference()), True)[0]
        return answer

    def pipeline_file(self, parallel: dict[str, Any]) -> str:
        """File name of the pipeline's results under ``parallel``."""
        return f"pipeline.{_label(parallel)}.pt"

    def proof(self, name: str, parallel: dict[str, Any] | None = None, world: int = 1) -> list[Any]:
        """A proof of :mod:`omniport.verify.proofs` about the transformer, by rank."""
        self.prepare()

        def task(rank: Rank) -> Any:
            from omniport.verify import proving

            return proving.prove(self.port, self.work, rank, name, parallel or {})

        return self.fork(f"proof.{name}", task, world)

    def proof_in_parts(self, name: str, parts: int) -> list[Any]:
        """The same of a proof that takes time: at once in ``parts`` workers that know nothing of each other."""
        self.prepare()

        def task(rank: Rank) -> Any:
            from omniport.verify import proving

            port, mark = reserve_port()
            with mark:
                alone = Rank(0, 1, port)
                return proving.prove(self.port, self.work, alone, name, {}, part=(rank.rank, rank.world))

        return self.fork(f"proof.{name}", task, parts)

    def pipeline_with(self, what: str, options: dict[str, Any], case: str) -> dict[str, Any]:
        """The port's pipeline on one case with more options of the engine; latents are kept as ``pipeline.<what>.pt``.

        Returns:
            what :func:`omniport.verify.proving.run_with` counted.
        """
        self.reference()

        def task(rank: Rank) -> Any:
            from omniport.verify import proving

            return proving.run_with(self.port, self.work, rank, options, case, f"pipeline.{what}.pt")

        answer: dict[str, Any] = self.fork(f"pipeline.{what}", task)[0]
        return answer

    def refusals(self, options: dict[str, Any], case: str, changed: dict[str, Any]) -> dict[str, str]:
        """What the port's pipeline raises on one case with each of ``changed``; "" of those that it takes."""
        self.reference()

        def task(rank: Rank) -> Any:
            from omniport.verify import proving

            return proving.refusals(self.port, self.work, rank, options, case, changed)

        answer: dict[str, str] = self.fork("refusals", task)[0]
        return answer

    def compare(self, got: str, expected: str) -> dict[str, float]:
        """Relative error per call or case between two kept results; done in a fork, the parent computes nothing."""
        return self.compare_each([(got, expected)])[0]

    def compare_each(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, float]]:
        """The same of several pairs in one fork."""

        def task(rank: Rank) -> Any:
            from omniport.verify import tasks

            return [tasks.compare(self.work, got, expected) for got, expected in pairs]

        answer: list[dict[str, float]] = self.fork(
            f"compare.{'.'.join(name for pair in pairs for name in pair)}", task
        )[0]
        return answer

    def against_one_rank(
        self, parallel: dict[str, Any], without: tuple[str, ...] = ()
    ) -> tuple[dict[str, float], float]:
        """Errors of the kept runs under ``parallel``: per call of the transformer, and of the pipeline's latents.

        ``without``: inputs that the transformer was not given.
        """
        transformers = self.transformer_file(parallel, without), self.transformer_file({}, without)
        transformer, pipeline = self.compare_each(
            [transformers, (self.pipeline_file(parallel), self.pipeline_file({}))]
        )
        return transformer, pipeline[BASE]

    def block_errors(self, parallel: dict[str, Any]) -> list[BlockError]:
        """How far each block of a run of :meth:`transformer` is from the reference's, in every call."""
        got = f"blocks.{self.transformer_file(parallel)}"

        def task(rank: Rank) -> Any:
            from omniport.verify import block_outputs, tasks

            return block_outputs.errors(self.work / got, tasks.saved(self.work, "blocks"))

        answer: list[BlockError] = self.fork(got, task)[0]
        return answer

    def module_tree(self) -> ModuleNode:
        """The modules of the port's transformer at published size, in the order in which its forward calls them."""
        try:
            order = self.transformer({})[0]["order"]
        except RankError:  # it does not run; the tree may still be built
            order = ()

        def task(rank: Rank) -> Any:
            from omniport.verify import module_tree

            return module_tree.published(self.port, self.work, rank, order)

        answer: ModuleNode = self.fork("tree", task)[0]
        return answer


def _reason(why: dict[str, Any]) -> str:
    """A reason of a plan, with its place."""
    return f"{why['reason']} ({why['file']}:{why['line']})" if why["file"] else str(why["reason"])


def _label(parallel: dict[str, Any]) -> str:
    return "_".join(f"{k}{v}" for k, v in sorted(parallel.items())) or "alone"
