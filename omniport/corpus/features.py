"""The stages of features that need one rank: what :mod:`omniport.verify.proofs` says of each form of a class."""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from omniport.corpus import stages
from omniport.corpus.results import ALONE, StageError, StageResult
from omniport.errors import OmniportError
from omniport.verify import engine
from omniport.verify.forks import Rank, place_of
from omniport.verify.proofs import Proof, Subject, run
from omniport.verify.signatures import LEFT_OUT
from omniport.verify.transformers import TransformerCase, build_reference, transformer_cases


def alone(job: stages.Job, root: Path, work: Path, rank: Rank, done: Callable[[StageResult], None]) -> None:
    """Prove every feature of ``job`` that needs one rank; one that fails does not end the others."""
    torch.set_num_threads(1)
    port = job.port(root)
    reference = getattr(importlib.import_module(job.reference), job.name)
    cases = transformer_cases(job.name, reference)
    with stages.worker(port, work, rank, cases[0], {}) as config:
        subjects = {case.variant: subject_of(port, config, reference, case) for case in cases}
        for feature in job.features:
            if feature in ALONE:
                done(_stage(feature, subjects))


def subject_of(port: Any, config: Any, reference: Any, case: TransformerCase) -> Subject:
    """The port with one form's config and the reference's weights."""
    model = build_reference(reference, case)
    accepted = inspect.signature(engine.transformer_class(port).forward).parameters.keys()

    def build_with(weights: dict[str, torch.Tensor]) -> torch.nn.Module:
        with torch.no_grad():
            ported = stages.build(port, config, case)
            ported.load_weights(iter(weights.items()))  # type: ignore[operator]
            engine.finish_loading(ported)
        return ported

    calls = {
        name: {k: v for k, v in make(model).items() if k in accepted or k not in LEFT_OUT}
        for name, make in case.calls.items()
    }

    def expected(call: str) -> list[torch.Tensor]:
        return run(model, case.calls[call](model))

    return Subject(build_with, model.state_dict(), calls, config, expected)


def _stage(feature: str, subjects: dict[str, Subject]) -> StageResult:
    started = time.monotonic()
    prove: Callable[[Subject], Proof] = importlib.import_module(f"omniport.verify.proofs.{ALONE[feature]}").prove
    worst: float | None = None
    problems: list[str] = []
    details: list[str] = []
    for variant, subject in subjects.items():
        try:
            proof = prove(subject)
        except Exception as error:
            own = isinstance(error, StageError | OmniportError)
            message = str(error) if own else f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            problems.append(f"{variant}: {message}{'' if own else place_of(error)}")
            continue
        worst = max(worst or 0.0, proof.figure or 0.0) if proof.figure is not None else worst
        problems += [f"{variant}: {problem}" for problem in proof.problems]
        details.append(f"{variant}: {proof.detail}")
    seconds = round(time.monotonic() - started, 2)
    return StageResult(feature, "failed" if problems else "ok", "; ".join(problems), "; ".join(details), worst, seconds)
