"""Building the tiny random checkpoint that both the reference and the port load.  Runs in a forked child."""

from __future__ import annotations

import importlib
import inspect
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omniport.errors import OmniportError
from omniport.verify.port import Port
from omniport.verify.published_sizes import SIZES
from omniport.verify.recipes import ENCODERS, VAES
from omniport.verify.tiny import Width, recipe_for, shrink_component, shrink_transformer
from omniport.verify.tokenizers import BUILDERS as TOKENIZERS
from omniport.verify.tokenizers import build_tokenizer, tokenizer_facts

GAIN = 1.5
"""Matrices get a standard deviation of GAIN/sqrt(fan in).  Constructor weights leave the softmax near uniform, where a
wrong rope, norm or head split stays below any tolerance; with this gain every model measured reacts to its queries."""


def import_object(path: str) -> Any:
    """Import ``module.Name``."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def component_class(library: str, name: str) -> Any:
    """The class a ``model_index.json`` entry names.

    Raises:
        OmniportError: the library is neither diffusers nor transformers, or has no such class.
    """
    if library not in ("diffusers", "transformers"):
        raise OmniportError(f"model_index.json: {library}.{name} is custom code, which is never imported")
    found = getattr(importlib.import_module(library), name, None)
    if found is None:
        raise OmniportError(f"model_index.json: the installed {library} has no class {name}")
    return found


def redraw(module: nn.Module, label: str, gain: float = GAIN) -> None:
    """Draw every parameter anew, in place: no zero gate, no unit norm, nothing that hides a mistake.

    Matrices and convolutions: normal with standard deviation gain/sqrt(fan in).  Norm weights: uniform in 1±0.2.
    Biases, embeddings and tables: uniform in ±0.1.  The seed depends on ``label`` and the parameter's name only.
    """
    for prefix, owner in module.named_modules():
        for name, parameter in owner.named_parameters(recurse=False):
            seed = zlib.crc32(f"{label}.{prefix}.{name}".encode())
            generator = torch.Generator().manual_seed(seed)
            shape = parameter.shape
            if parameter.ndim >= 2 and name == "weight" and not isinstance(owner, nn.Embedding):
                drawn = torch.randn(shape, generator=generator) * (gain / parameter[0].numel() ** 0.5)
            elif name in ("weight", "gamma") and "norm" in type(owner).__name__.lower():
                drawn = 1 + (torch.rand(shape, generator=generator) - 0.5) * 0.4
            else:
                drawn = (torch.rand(shape, generator=generator) - 0.5) * 0.2
            with torch.no_grad():
                parameter.copy_(drawn)


def constructor_defaults(cls: Any) -> dict[str, Any]:
    """Parameters of a constructor that have a default."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def transformer_component(port: Port) -> str:
    """The name of the component that is the ported transformer.

    A repository may name it by an older class (``Transformer2DModel``), which diffusers maps to the reference's: it is
    then the one that was classified as the transformer.

    Raises:
        OmniportError: ``model_index`` names none of the reference class, and none was classified.
    """
    wanted = port.reference_transformer.rpartition(".")[2]
    for name, entry in port.model_index.items():
        if isinstance(entry, (list, tuple)) and len(entry) == 2 and entry[1] == wanted:
            return name
    if port.denoiser in port.model_index:
        return port.denoiser
    raise OmniportError(f"model_index names no component of the class {wanted}")


def published_config(port: Port) -> dict[str, Any]:
    """The published arguments of the reference transformer's constructor, its defaults where nothing was published.

    Of a port whose model was named by its class, what the defaults leave open is as usually published.
    """
    given = port.configs.get(transformer_component(port), {})
    cls = import_object(port.reference_transformer)
    usual = SIZES.get(cls.__name__, {}) if port.form == "diffusers" else {}
    return {**constructor_defaults(cls), **{k: v for k, v in given.items() if not k.startswith("_")}, **usual}


def shrinks(port: Port) -> bool:
    """Whether every component of a port has a recipe of :mod:`omniport.verify.recipes`."""
    transformer = transformer_component(port)
    classes = [entry[1] for name, entry in port.model_index.items() if name != transformer and _named(name, entry)]
    known = ENCODERS.keys() | VAES.keys() | TOKENIZERS.keys()
    return all(name in known or name.endswith("Scheduler") for name in classes)


def _named(name: str, entry: Any) -> bool:
    """Whether an entry of ``model_index.json`` names a class."""
    return name[0] != "_" and isinstance(entry, list | tuple) and len(entry) == 2 and entry[0] is not None


def build_components(port: Port) -> dict[str, Any]:
    """Build every component of the pipeline, tiny and redrawn; absent ones are None.

    Raises:
        OmniportError: a component's class has no recipe, or its published widths do not fit together.
    """
    entries = {
        name: tuple(entry)
        for name, entry in port.model_index.items()
        if not name.startswith("_") and isinstance(entry, (list, tuple)) and len(entry) == 2
    }
    built: dict[str, Any] = {name: None for name, (library, _) in entries.items() if library is None}
    todo = {name: entry for name, entry in entries.items() if entry[0] is not None}
    transformer = transformer_component(port)
    text: list[Width] = []
    latent: Width | None = None
    for name, (library, class_name) in todo.items():
        config = port.configs.get(name, {})
        if port.form == "diffusers" and class_name in (ENCODERS.keys() | VAES.keys()):
            config = {}  # the classes' defaults do not fit together; the recipe knows what is usually published
        if "Tokenizer" in class_name:
            built[name] = build_tokenizer(class_name, config)
        elif class_name.endswith("Scheduler"):
            built[name] = component_class(library, class_name).from_config(
                config
            )  # as published: sigmas are the port's task
        elif class_name in ENCODERS:
            tokenizer = name.replace("text_encoder", "tokenizer")
            built[name], widths = _encoder(
                name, library, class_name, config, todo.get(tokenizer), port.configs.get(tokenizer, {})
            )
            text += widths
        elif class_name in VAES:
            built[name], latent = _vae(name, library, class_name, config)
        elif name != transformer:
            recipe_for(class_name)
    cls = import_object(port.reference_transformer)
    tiny = shrink_transformer(constructor_defaults(cls), port.configs.get(transformer, {}), text, latent)
    torch.manual_seed(0)
    built[transformer] = cls.from_config(tiny).eval()
    redraw(built[transformer], transformer)
    return built


def _encoder(
    name: str,
    library: str,
    class_name: str,
    config: dict[str, Any],
    tokenizer: tuple[str, str] | None,
    tokenizer_config: dict[str, Any],
) -> tuple[Any, list[Width]]:
    cls, recipe = component_class(library, class_name), recipe_for(class_name)
    full, tiny = shrink_component(recipe, cls.config_class().to_dict(), config)
    if tokenizer is not None:
        facts = tokenizer_facts(build_tokenizer(tokenizer[1], tokenizer_config))
        # eos_token_id 2 in CLIP configs selects the pooling of the published checkpoints (position of the largest id).
        keep = {"eos_token_id"} if full.get("eos_token_id") == 2 else set()
        tiny.update({key: facts[what] for key, what in recipe.tokenizer.items() if key in tiny and key not in keep})
    torch.manual_seed(0)
    model = cls(
        cls.config_class(**{k: v for k, v in tiny.items() if k not in ("architectures", "dtype", "torch_dtype")})
    ).eval()
    redraw(model, name)
    return model, [Width(name, full[key], tiny[key]) for key in recipe.widths]


def _vae(name: str, library: str, class_name: str, config: dict[str, Any]) -> tuple[Any, Width]:
    cls, recipe = component_class(library, class_name), recipe_for(class_name)
    full, tiny = shrink_component(recipe, constructor_defaults(cls), {k: v for k, v in config.items() if k[0] != "_"})
    torch.manual_seed(0)
    model = cls.from_config(tiny).eval()
    redraw(model, name, gain=1.0)  # no attention to keep off the uniform; a larger gain saturates the image
    (key,) = recipe.widths
    return model, Width(name, full[key], tiny[key])


def build_checkpoint(port: Port, folder: Path) -> None:
    """Build the pipeline of the reference from tiny components and save it with ``save_pretrained``."""
    cls = import_object(port.reference_pipeline)
    accepted = set(inspect.signature(cls.__init__).parameters)
    settings = {k: v for k, v in port.model_index.items() if k in accepted and not isinstance(v, (list, tuple))}
    pipeline = cls(**build_components(port), **settings)
    pipeline.save_pretrained(folder, safe_serialization=True)
