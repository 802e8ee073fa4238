"""Before anything is compared: the tiny checkpoint, inputs of the transformer and what the reference makes of them.

Runs in forked children.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omniport.errors import OmniportError
from omniport.verify import block_outputs, checkpoint
from omniport.verify.cases import EVEN, ODD
from omniport.verify.classes import ENTRIES, Entry, Variant
from omniport.verify.components.build import build_checkpoint
from omniport.verify.inputs import Sizes, plainly, synthesise
from omniport.verify.port import Port
from omniport.verify.tasks import flatten_output, saved, the_references_own
from omniport.verify.transformers import for_four_ranks

CALLS = {EVEN: Sizes(), ODD: Sizes(1, 3, 5, 9, frames=2)}


def prepare(port: Port, work: Path) -> dict[str, Any]:
    """Build the checkpoint, the inputs of the transformer and what the reference makes of them.

    Returns:
        how many ``parameters`` and ``tensors`` the tiny transformer has, and how many tokens the call :data:`EVEN` has
        of ``image`` (of all frames) and of ``text``; the names of the inputs that it is ``given``.
    """
    torch.set_num_threads(1)
    folder = saved(work, "checkpoint")
    component = checkpoint.transformer_component(port)
    with the_references_own("building the tiny checkpoint"):
        build_checkpoint(port, folder)
        model = checkpoint.import_object(port.reference_transformer).from_pretrained(folder / component).eval()
    return _keep_reference(model, work)


def prepare_wide(port: Port, work: Path, tiny: Path) -> dict[str, Any]:
    """The same for the transformer alone, with sizes that four ranks can share; ``tiny`` is where the other's are."""
    torch.set_num_threads(1)
    folder, component = saved(work, "checkpoint"), checkpoint.transformer_component(port)
    cls = checkpoint.import_object(port.reference_transformer)
    with the_references_own("building the tiny checkpoint for four ranks"):
        folder.mkdir()
        shutil.copy(saved(tiny, "checkpoint") / "model_index.json", folder)
        config = {k: v for k, v in cls.load_config(saved(tiny, "checkpoint") / component).items() if k[0] != "_"}
        torch.manual_seed(0)
        model = cls.from_config(for_four_ranks(cls.__name__, config)).float().eval()
        checkpoint.redraw(model, component)
        model.save_pretrained(folder / component)
    return _keep_reference(model, work)


def _keep_reference(model: nn.Module, work: Path) -> dict[str, Any]:
    """Make up the inputs of a reference transformer and keep what it makes of them; see :func:`prepare`."""
    with the_references_own("the reference's transformer"):
        inputs, outputs, blocks = _first_that_runs(model)
    for name, tensors in outputs.items():
        if not all(torch.isfinite(t).all() and t.std() > 0 for t in tensors):
            raise OmniportError(
                f"the reference's output for {name} is constant or not finite; the comparison would show nothing"
            )
    torch.save(inputs, saved(work, "inputs"))
    torch.save(outputs, saved(work, "outputs"))
    torch.save(blocks, saved(work, "blocks"))
    counts = {"parameters": sum(p.numel() for p in model.parameters()), "tensors": len(model.state_dict())}
    given = [name for name, value in inputs[EVEN].items() if value is not None]
    return counts | _tokens(inputs[EVEN]) | {"given": given}


def _first_that_runs(model: nn.Module) -> tuple[dict[str, Any], dict[str, list[torch.Tensor]], block_outputs.Outputs]:
    """Inputs by name of the call, and what a reference transformer and its blocks make of them.

    A config may be that of another form than the class's usual one, which takes other inputs: those of the first form
    that the reference runs on.  Where it runs on none, what it says of the usual one is raised.
    """
    failed: Exception | None = None
    for form in input_forms(model):
        outputs: dict[str, list[torch.Tensor]] = {}
        blocks: block_outputs.Outputs = {}
        try:
            inputs = form()
            for name, kwargs in inputs.items():
                with torch.inference_mode(), block_outputs.recorded(model) as blocks[name]:
                    outputs[name] = flatten_output(model(**kwargs, **plainly(model)))
        except Exception as error:
            failed = failed or error
        else:
            return inputs, outputs, blocks
    assert failed is not None
    raise failed


def input_forms(model: nn.Module) -> Iterator[Callable[[], dict[str, dict[str, Any]]]]:
    """What makes the inputs of a reference transformer by name of the call, for each form that its class has."""
    entry = ENTRIES.get(type(model).__name__, Entry())
    for form in (Variant(entry.reason), *entry.variants.values()):

        def make(form: Variant = form) -> dict[str, dict[str, Any]]:
            return {
                name: synthesise(
                    model,
                    model.config,  # type: ignore[arg-type]
                    replace(sizes, **{**entry.sizes, **form.sizes}),
                    inputs={**entry.inputs, **form.inputs},
                    words={**entry.words, **form.words},
                )
                for name, sizes in CALLS.items()
                if name == EVEN or not (entry.even_only or form.even_only)
            }

        yield make


def _tokens(inputs: dict[str, Any]) -> dict[str, int]:
    """Tokens of image and text that a call's inputs stand for."""
    sizes = CALLS[EVEN]
    video = any(isinstance(value, torch.Tensor) and value.ndim == 5 for value in inputs.values())
    text = inputs.get("encoder_hidden_states")
    told = isinstance(text, torch.Tensor) and text.ndim == 3
    return {
        "image": sizes.image * (sizes.frames if video else 1),
        "text": int(text.shape[1]) if told and text is not None else sizes.text,
    }
