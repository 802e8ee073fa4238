"""The heavy half's work in forked children: import, load and compare one port on the real vLLM-Omni."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omniport.corpus import half, staged
from omniport.corpus.refusals import unclear_refusals
from omniport.corpus.results import PARITY, UNTRIED, StageError, StageResult
from omniport.corpus.shares import hand_share, per_block, published_share
from omniport.errors import OmniportError
from omniport.verify import engine, over_stages, probes
from omniport.verify.block_meter import surplus, too_much
from omniport.verify.features.sp2 import shares
from omniport.verify.forks import Rank, place_of
from omniport.verify.meter import Meter
from omniport.verify.port import Port
from omniport.verify.signatures import LEFT_OUT
from omniport.verify.tasks import flatten_output, the_references_own
from omniport.verify.transformers import TransformerCase, build_reference, for_four_ranks, transformer_cases

SHOWN = 3  # names in a message
PARALLEL: dict[str, dict[str, Any]] = {
    "tp2": {"tensor_parallel_size": 2},
    "tp4": {"tensor_parallel_size": 4},
    "sp2": {"ulysses_degree": 2},
    "sp2-odd": {"ulysses_degree": 2},
    "pp2": {"pipeline_parallel_size": 2},
    "hsdp2": {"use_hsdp": True, "hsdp_shard_size": 2},
}
TENSOR = ("tp2", "tp4")
CALLS = {"sp2": ("even",), "sp2-odd": ("odd",)}


@dataclass(frozen=True)
class Job:
    """One port of the corpus: where its module is, and the reference class it stands for; ``key`` names its files."""

    key: str
    name: str
    module: str  # of the port
    reference: str  # module of the reference class
    features: tuple[str, ...]
    absent: tuple[str, ...] = ()  # inputs that cannot be given under sequence parallelism

    def port(self, root: Path) -> Port:
        """The port as the verifier knows ports; there is no pipeline."""
        return Port(
            root=root,
            manifest_path=root / "none",
            name=self.name,
            kind="tree",
            paths=(root,),
            architecture=self.name,
            pipeline_module="",
            pipeline_class="",
            transformer_module=self.module,
            transformer_class=self.name,
            reference_pipeline="",
            reference_transformer=f"{self.reference}.{self.name}",
            pre_process=None,
            post_process=None,
            model_index={},
            configs={},
            files=(),
        )


class Stages:
    """Runs stages one after the other and keeps what they say; the first that fails ends the run."""

    def __init__(self, done: Callable[[StageResult], None]) -> None:
        self._done = done

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """The body fills ``detail`` and ``figure``; what it raises becomes the stage's reason and goes on as
        :class:`StageError`."""
        started = time.monotonic()
        said: dict[str, Any] = {}
        try:
            yield said
        except Exception as error:
            reason = str(error) if isinstance(error, (StageError, OmniportError)) else _text(error)
            self._done(StageResult(name, "failed", reason, seconds=_since(started), **said))
            raise StageError(reason) from error
        self._done(StageResult(name, "ok", seconds=_since(started), **said))


def _text(error: Exception) -> str:
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:300]}{place_of(error)}"


def one_rank(job: Job, root: Path, work: Path, rank: Rank, done: Callable[[StageResult], None]) -> None:
    """Import the port, load it strictly, and compare every call of every form with the reference."""
    torch.set_num_threads(1)
    stages = Stages(done)
    port = job.port(root)
    reference = getattr(importlib.import_module(job.reference), job.name)
    cases = transformer_cases(job.name, reference)
    try:
        with stages.stage("import"):
            check = probes.constructor_check(port, engine.transformer_class(port))
            if not check.ok:
                raise StageError(check.note)
        with worker(port, work, rank, cases[0], {}) as config, torch.no_grad():
            with stages.stage("load") as said:
                said["detail"] = "; ".join(_load(port, config, reference, case, i == 0) for i, case in enumerate(cases))
            with stages.stage("parity") as said:
                readings = _parity(said, port, config, reference, cases)
                _queries(work, job.key).write_text(json.dumps(readings))
            with stages.stage("bf16") as said:
                half.bf16(said, lambda case: _build_half(port, config, case), reference, work / port.name, cases)
    except StageError:
        return


@contextmanager
def worker(port: Port, work: Path, rank: Rank, case: TransformerCase, parallel: dict[str, Any]) -> Iterator[Any]:
    """A worker of one rank for a model folder that has configs and no weights."""
    folder = work / "models" / f"{port.transformer_module}.{rank.world}.{rank.rank}"
    (folder / "transformer").mkdir(parents=True, exist_ok=True)
    index = {"_class_name": port.architecture, "transformer": ["diffusers", port.transformer_class]}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "transformer" / "config.json").write_text(json.dumps({"_class_name": port.name, **case.init}))
    config = engine.make_config(port, folder, rank, parallel)
    with engine.bare_worker(config, rank):
        yield config


def build(port: Port, config: Any, case: TransformerCase) -> nn.Module:
    """The port with a form's config; no key of it may be lost on the way to the constructor."""
    from vllm_omni.diffusion.utils.tf_utils import get_transformer_config_kwargs

    config.tf_model_config.params.clear()
    config.tf_model_config.params.update(case.init)
    taken = get_transformer_config_kwargs(config.tf_model_config, engine.transformer_class(port))
    if lost := sorted(case.init.keys() - taken.keys()):
        raise StageError(f"config keys that the port does not take: {', '.join(lost)}")
    return engine.build_transformer(port, config)


def _build_half(port: Port, config: Any, case: TransformerCase) -> nn.Module:
    """The port as vLLM-Omni's loader constructs it for a model in bfloat16."""
    from vllm.utils.torch_utils import set_default_torch_dtype

    config.dtype = half.HALF
    with set_default_torch_dtype(half.HALF):
        return build(port, config, case)


def _load(port: Port, config: Any, reference: Any, case: TransformerCase, thorough: bool) -> str:
    """Load marked weights; ``thorough`` also tries checkpoints with something wrong, one of each kind of tensor."""
    with the_references_own(f"building the reference ({case.variant})"):
        weights = build_reference(reference, case).state_dict()
    model = build(port, config, case)
    kinds = {re.sub(r"\d+", "N", name): name for name in weights} if thorough else {}
    found = probes.load_marked(model, weights, set(kinds.values()) if thorough else set())
    problems = [
        f"{what}: {_names(found[key])}"
        for key, what in (
            ("unfilled", "never filled"),
            ("unconsumed", "not consumed"),
            ("overfilled", "used twice"),
            ("accepted", "accepted"),
        )
        if found[key]
    ]
    if problems:
        raise StageError(f"{case.variant}: {'; '.join(problems)}")
    return f"{case.variant}: {found['tensors']} tensors, {found['parameters']} parameters"


def _names(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _queries(work: Path, key: str) -> Path:
    """Where the query lengths of one rank alone, and their numbers of sequences, are kept, by form and call."""
    return work / f"{key}.queries"


def _parity(
    said: dict[str, Any], port: Port, config: Any, reference: Any, cases: list[TransformerCase]
) -> dict[str, tuple[list[int], list[int]]]:
    """Errors go into ``said``; returns the query lengths and the numbers of sequences of all attention layers, by form
    and call."""
    errors: dict[str, float] = {}
    queries: dict[str, tuple[list[int], list[int]]] = {}
    failures: list[str] = []
    tried: set[str] = set()
    for case in cases:
        try:
            for call, (error, meter) in compare(port, config, reference, case, tried=tried).items():
                errors[f"{case.variant}, {call}"] = error
                queries[f"{case.variant}, {call}"] = meter.reading.queries, meter.reading.samples
        except OmniportError:
            raise
        except Exception as error:
            failures.append(f"{case.variant}: {str(error) if isinstance(error, StageError) else _text(error)}")
    said["figure"] = max(errors.values(), default=None)
    untried = [n for n in inspect.signature(engine.transformer_class(port).forward).parameters if n not in tried]
    left = [name for name in untried if name not in ("self", "return_dict", over_stages.RECEIVED)]
    said["detail"] = f"{len(errors)} calls of {len(cases)} forms" + (f"{UNTRIED}{', '.join(left)}" if left else "")
    failures += [f"{name}: relative error {error:.1e}" for name, error in errors.items() if not error <= PARITY]
    if failures:
        raise StageError("; ".join(failures))
    return queries


def compare(
    port: Port,
    config: Any,
    reference: Any,
    case: TransformerCase,
    calls: tuple[str, ...] = ("even", "odd"),
    after: Callable[[nn.Module], None] | None = None,
    tried: set[str] | None = None,
    without: tuple[str, ...] = (),
) -> dict[str, tuple[float, Meter]]:
    """Relative error of the port's outputs and what was measured meanwhile, by call.

    ``after`` is called with the loaded port; ``tried`` takes the names of the inputs that were not None;
    inputs in ``without`` are not given to either.
    """
    with the_references_own(f"the reference ({case.variant})"):
        model = build_reference(reference, case)
    ported = build(port, config, case)
    ported.load_weights(iter(model.state_dict().items()))  # type: ignore[operator]
    engine.finish_loading(ported)
    if after is not None:
        after(ported)
    accepted = inspect.signature(ported.forward).parameters.keys()
    results: dict[str, tuple[float, Meter]] = {}
    for name, make in case.calls.items():
        if name not in calls:
            continue
        with the_references_own(f"the reference ({case.variant}, {name})"), torch.inference_mode():
            given = {key: value for key, value in make(model).items() if key not in without}
            expected = flatten_output(model(**given, return_dict=False))
        if not all(torch.isfinite(t).all() and t.std() > 0 for t in expected):
            raise OmniportError(f"the reference's output ({case.variant}, {name}) is constant or not finite")
        given = {key: value for key, value in make(model).items() if key not in without}
        inputs = {k: v for k, v in given.items() if k in accepted or k not in LEFT_OUT}
        if tried is not None:
            tried.update(k for k, v in inputs.items() if v is not None)
        with torch.inference_mode(), Meter(ported) as meter:
            got = flatten_output(ported(**inputs, return_dict=False))
        if len(got) != len(expected):
            raise StageError(f"{name}: {len(got)} outputs instead of {len(expected)}")
        results[name] = max(engine.relative_error(a, b) for a, b in zip(got, expected, strict=True)), meter
    return results


def two_ranks(job: Job, root: Path, work: Path, rank: Rank, feature: str) -> dict[str, Any]:
    """Compare the port on this rank of two with the reference: ``figure``, ``reason`` (empty if equal), ``detail``."""
    torch.set_num_threads(1)
    port = job.port(root)
    reference = getattr(importlib.import_module(job.reference), job.name)
    cases = transformer_cases(job.name, reference)
    if feature == "tp4":
        cases = [replace(case, init=for_four_ranks(job.name, case.init)) for case in cases]
    worst = 0.0
    problems: list[str] = []
    measures: dict[str, float] = {}
    details = [f"{len(cases)} forms", *(f"without {name}" for name in job.absent if feature.startswith("sp"))]
    alone = json.loads(_queries(work, job.key).read_text())
    with worker(port, work, rank, cases[0], PARALLEL[feature]) as config, torch.no_grad():
        if feature == "hsdp2":
            kept = work / f"{port.name}.hsdp.{rank.rank}"
            return half.hsdp(
                lambda case: _build_half(port, config, case),
                lambda model: engine.apply_hsdp(model, config),
                reference,
                kept,
                cases,
            )
        if feature == "pp2":
            return staged.two_stages(lambda case: build(port, config, case), reference, cases)
        for case in cases:
            if feature in TENSOR:
                results = compare(port, config, reference, case)
            else:
                results = _sequence_parallel(port, config, reference, case, problems, CALLS[feature], tuple(job.absent))
            for call, (error, meter) in results.items():
                worst = max(worst, error)
                measures = measures or per_block(meter.reading)
                exchanged = meter.reading.block_collectives, meter.reading.token_gathers
                measures["extra"] = max(measures.get("extra", 0), surplus(exchanged[0]))
                name = f"{case.variant}, {call}"
                if not error <= PARITY:
                    problems.append(f"{name}: relative error {error:.1e}")
                elif not sum(meter.reading.collectives.values()):
                    problems.append(f"{name}: the ranks exchange nothing")
                if feature in TENSOR:
                    problems += [f"{name}: {fault}" for fault in too_much(*exchanged)]
                else:
                    lengths, samples = alone[name]
                    said, fault = shares(lengths, meter.reading.queries, (samples, meter.reading.samples))
                    details.append(f"{name}: {said}")
                    problems += [f"{name}: {fault}"] if fault else []
        if feature == "tp2" and rank.rank == 0:
            for case in cases:
                wrong = unclear_refusals(lambda case=case: build(port, config, case))  # type: ignore[misc]
                problems += [f"{case.variant}: {problem}" for problem in wrong]
            shares_held = {
                "share": published_share(config, reference, engine.transformer_class(port)),
                "hand share": hand_share(port, config, reference, root),
            }
            measures |= {key: round(value, 4) for key, value in shares_held.items() if value is not None}
    return {"figure": worst, "reason": "; ".join(problems), "detail": "; ".join(details), "measures": measures}


def _sequence_parallel(
    port: Port,
    config: Any,
    reference: Any,
    case: TransformerCase,
    problems: list[str],
    calls: tuple[str, ...],
    absent: tuple[str, ...],
) -> dict[str, tuple[float, Meter]]:
    def hook(ported: nn.Module) -> None:
        if not engine.apply_sequence_parallel(ported, config):
            problems.append(f"{case.variant}: vLLM-Omni found no plan to apply")

    return compare(port, config, reference, case, calls, hook, without=absent)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 2)
