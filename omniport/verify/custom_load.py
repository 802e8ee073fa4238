"""The child's work for ``load`` of a custom port: its parameters beside the original's and the checkpoint's.

The port is built with the constructor arguments that the source shows.  A small one is filled with marks
(:func:`omniport.verify.probes.load_marked`); a large one stays on the meta device, where shapes are checked and
``load_weights`` has to take the whole checkpoint and to refuse every wrong one, and no data is followed.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omniport.errors import OmniportError
from omniport.verify import engine, module_tree, probes
from omniport.verify.forks import Rank
from omniport.verify.port import Port
from omniport.verify.results import Check, ModuleNode

SMALL = 20_000_000  # elements that are filled with marks
LEFT_OUT = 48  # tensors of a large checkpoint that are left out one at a time
_SHOWN = 4


def load_port(port: Port, work: Path, rank: Rank, original: dict[str, Any]) -> tuple[list[Check], list[str]]:
    """Load the original's parameters, then the published tensors; what was found, and the evidence in words.

    Raises:
        OmniportError: the source does not show a size, and the port has no parameter of that name; or it does not show
            an argument of the constructor.
    """
    torch.set_num_threads(1)
    with _built(port, work, rank, original) as (model, device), torch.no_grad():
        own = {name: tuple(t.shape) for name, t in model.state_dict().items()}
        names = _weights(original["parameters"], own, device)
        checks, evidence = _loaded(model, names, f"the original's {len(names)} parameters, by its source,")
        published = _weights(original["published"], {}, device)
        if published:
            what = f"the {len(published)} tensors of the published checkpoint"
            renamed = importlib.util.find_spec(f"{port.pipeline_module.rpartition('.')[0]}.weight_names") is not None
            if renamed:
                _rename(model, port)
                what += ", through weight_names.py,"
            more, said = _loaded(model, published, what, frozenset(original["dropped"]))
            checks, evidence = [*checks, *more], [*evidence, *said]
        else:
            evidence.append("the published checkpoint was not read: its names are not compared")
        return checks, evidence


def tree(port: Port, work: Path, rank: Rank, original: dict[str, Any] | None) -> ModuleNode:
    """The modules of the port's transformer at published size.

    Raises:
        OmniportError: nobody knows what it is built with.
    """
    if original is None:
        raise OmniportError("the constructor's arguments are not known")
    torch.set_num_threads(1)
    with _built(port, work, rank, original, meta=True) as (model, _):
        return module_tree.tree_of(model)


def _class(port: Port, module: str, name: str) -> Any:
    """What the pipeline builds as its transformer: the port's, or a fusion of such."""
    if not module:
        return engine.transformer_class(port)
    return getattr(importlib.import_module(f"{port.pipeline_module.rpartition('.')[0]}.{module}"), name)


@contextmanager
def _built(
    port: Port, work: Path, rank: Rank, original: dict[str, Any], meta: bool = False
) -> Iterator[tuple[nn.Module, str]]:
    """The port's transformer inside a worker, and the device that its weights are on."""
    folder = work / "checkpoint"
    (folder / "transformer").mkdir(parents=True, exist_ok=True)
    index = {"_class_name": port.architecture, "_diffusers_version": "0.40.0"}
    (folder / "model_index.json").write_text(json.dumps(index), "utf-8")
    (folder / "transformer" / "config.json").write_text(json.dumps(original["arguments"]), "utf-8")
    config = engine.make_config(port, folder, rank, {})
    cls = _class(port, *original.get("root", ("", "")))
    given = dict(original["arguments"])
    taken = inspect.signature(cls.__init__).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        given = {name: value for name, value in given.items() if name in taken}  # as vLLM-Omni does
    needed = [p.name for p in taken.values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    unknown = [name for name in needed if name in original.get("needed", ()) and name not in given]
    if unknown:
        raise OmniportError(f"the source does not show what {cls.__name__} is built with: {', '.join(unknown)}")
    if "od_config" in taken:
        given |= {"od_config": config, "quant_config": config.quantization_config}
    with engine.bare_worker(config, rank):
        with torch.device("meta"):
            model = cls(**given).eval()
        if meta or sum(p.numel() for p in model.parameters()) > SMALL:
            yield model, "meta"
            return
        yield cls(**given).eval(), "cpu"


def _weights(shapes: dict[str, list[int | None]], own: dict[str, tuple[int, ...]], device: str) -> dict[str, Any]:
    """Empty tensors; a size that is not known is the port's own."""
    found = {}
    for name, shape in shapes.items():
        sizes = [*shape]
        if None in sizes:
            known = own.get(name, ())
            if len(known) != len(sizes):
                raise OmniportError(f"the source does not show the shape of {name}")
            sizes = [b if a is None else a for a, b in zip(sizes, known, strict=True)]
        found[name] = torch.empty(sizes, device=device)  # type: ignore[arg-type]
    return found


def _rename(model: nn.Module, port: Port) -> None:
    """Let the model's ``load_weights`` take the names of the checkpoint, as the port's pipeline does."""
    map_weights = importlib.import_module(f"{port.pipeline_module.rpartition('.')[0]}.weight_names").map_weights
    own = model.load_weights

    def load_weights(weights: Iterable[tuple[str, torch.Tensor]]) -> Any:
        return own(map_weights(weights))  # type: ignore[operator]

    object.__setattr__(model, "load_weights", load_weights)


def _loaded(
    model: nn.Module, weights: dict[str, torch.Tensor], what: str, dropped: frozenset[str] = frozenset()
) -> tuple[list[Check], list[str]]:
    """Load ``weights`` and wrong ones like them; ``dropped`` names those that the class has not, as the plan says."""
    # unknown names are made from the first one, which must be of a part that is not dropped as a whole
    weights = dict(sorted(weights.items(), key=lambda item: item[0] in dropped))
    large = next(iter(model.parameters())).is_meta
    try:
        found = _on_meta(model, weights) if large else probes.load_marked(model, weights)
    except Exception as error:  # whatever the port raises: it does not take them
        text = " ".join(str(error).split())[:400]
        return [Check(f"{what} are loaded".replace(",,", ","), False, f"{type(error).__name__}: {text}")], []
    found["unconsumed"] = [name for name in found["unconsumed"] if name not in dropped]
    found["accepted"] = [case for case in found["accepted"] if case.removeprefix("without ") not in dropped]
    checks = [
        _names(f"{what} fill every parameter", found["unfilled"], "never filled"),
        _names(f"of {what} every one is consumed", found["unconsumed"], "not consumed"),
        _names(f"of {what} none is used twice", found["overfilled"], "used twice"),
        _names("an incomplete or foreign checkpoint is refused", found["accepted"], "accepted", main=False),
    ]
    refused = found["probes"] - len(found["accepted"])
    where = ", on the meta device: names and shapes, no data" if large else ""
    said = f"{what} fill {found['parameters']} parameters, {found['fused']} of them fused{where}; "
    return checks, [f"{said}{refused} of {found['probes']} wrong checkpoints refused"]


def _on_meta(model: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The counts of :func:`~omniport.verify.probes.load_marked` as far as there are any without data."""
    loaded = set(model.load_weights(iter(weights.items())) or ())  # type: ignore[operator]
    parameters = {name for name, _ in model.named_parameters()}
    every = max(1, len(weights) // LEFT_OUT)
    return {
        "parameters": len(parameters),
        "fused": len(parameters - weights.keys()),
        "unfilled": sorted(parameters - loaded),
        "unconsumed": [],
        "overfilled": [],
        **probes.refusals(model, weights, [], set(list(weights)[::every])),
    }


def _names(name: str, names: list[str], what: str, main: bool = True) -> Check:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return Check(name, not names, f"{what}: {', '.join(names[:_SHOWN])}{more}" if names else "", main=main)
