"""Building every component of a pipeline, tiny, fitting together, and drawn at random.  Runs in a forked child."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omniport.errors import OmniportError
from omniport.rewrite.pipeline.init import CONFIG_PARTS
from omniport.verify import checkpoint
from omniport.verify.checkpoint import GAIN, constructor_defaults, redraw
from omniport.verify.classes import ENTRIES, Entry
from omniport.verify.components import tokens
from omniport.verify.components.denoisers import DENOISERS
from omniport.verify.components.encoders import ENCODERS, TOKENIZERS
from omniport.verify.components.others import OTHERS, PROCESSORS, SCHEDULERS
from omniport.verify.components.vaes import VAES
from omniport.verify.defaults import tiny_defaults
from omniport.verify.pipelines import RECIPES, Recipe
from omniport.verify.port import Port

_WIDTHS = ("d_model", "hidden_size")
_LATENTS = ("latent_channels", "z_dim", "latent_dim", "decoder_input_channels")


class Builder:
    """The components of one pipeline by name, each built when it is first asked for.

    Expressions in configs (strings that begin with ``=``) may use ``z`` (latent channels of the VAE), ``width(name)``
    and ``pooled(name)`` of an encoder, ``config(name)`` of a component, and in an encoder's config ``vocabulary``,
    ``begin``, ``end``, ``pad`` and ``token(text)`` of its tokenizer.

    Args:
        pipeline: the reference's class.
        entries: component -> (library, class name) as in ``model_index.json``; None where it is absent.
        recipe: of the pipeline.
        published: configs of the denoiser and the scheduler that a model publishes, in place of their classes'
            defaults.  Their switches hold; sizes are made tiny.
    """

    def __init__(
        self,
        pipeline: Any,
        entries: Mapping[str, tuple[str, str] | None],
        recipe: Recipe,
        published: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.pipeline, self.entries, self.recipe = pipeline, dict(entries), recipe
        self.published = published or {}
        self.built: dict[str, Any] = {}
        self._words: list[str] | None = None

    def all(self) -> dict[str, Any]:
        """Every component."""
        return {name: self.component(name) for name in self.entries}

    def component(self, name: str) -> Any:
        """One component.

        Raises:
            OmniportError: the pipeline has none of that name, or no recipe makes its class tiny.
        """
        if name not in self.built:
            if name not in self.entries:
                raise OmniportError(f"{self.pipeline.__name__} has no component {name}")
            entry = self.entries[name]
            self.built[name] = None if entry is None else self._build(name, *entry)
        return self.built[name]

    # ---------------------------------------------------------------------------------------------------- components
    def _build(self, name: str, library: str, class_name: str) -> Any:
        if class_name in PROCESSORS:
            return PROCESSORS[class_name](self, name)
        if name.startswith(("tokenizer", "text_tokenizer")) or "Tokenizer" in class_name or "tokenizer" in name:
            return tokens.build(self._family(name, class_name), self.words())
        cls = self._class(library, class_name)
        overrides = {**self._known(class_name), **self.recipe.configs.get(name, {})}
        if name == "scheduler" or class_name.endswith("Scheduler"):
            usual = self.published.get(name) or SCHEDULERS.get(class_name, {})
            return cls.from_config({**usual, **self._resolved(overrides, name)})
        torch.manual_seed(0)
        if not hasattr(cls, "from_config") and hasattr(cls, "config_class"):
            model = self._encoder(cls, self._resolved(overrides, name))
        elif class_name in DENOISERS:
            entry = ENTRIES.get(class_name, Entry())
            published = {k: v for k, v in self.published.get(name, {}).items() if not k.startswith("_")}
            given = {**entry.config, **self._resolved(overrides, name), **_switches(published)}
            model = cls.from_config(_lists(tiny_defaults({**constructor_defaults(cls), **published}, given)))
        elif hasattr(cls, "from_pretrained") and issubclass(cls, nn.Module):
            model = cls.from_config({**constructor_defaults(cls), **self._resolved(overrides, name)})
        else:
            return cls(**self._resolved(overrides, name))
        model = model.float().eval()
        redraw(model, name, gain=1.0 if class_name in VAES else GAIN)
        _redraw_statistics(model)
        return model

    def _encoder(self, cls: Any, values: dict[str, Any]) -> nn.Module:
        """A model of transformers; an encoder half takes the encoder's part of its config."""
        config = cls.config_class(**values)
        if values.get("is_encoder_decoder") is False:
            config.is_encoder_decoder = False
        half = CONFIG_PARTS.get(cls.__name__)
        model: nn.Module = cls(getattr(config, half) if half else config)
        if half:
            model.config = config
        return model

    def _known(self, class_name: str) -> Mapping[str, Any]:
        for table in (ENCODERS, VAES, DENOISERS, OTHERS):
            if class_name in table:
                return table[class_name]
        if class_name.endswith("Scheduler"):
            return {}
        raise OmniportError(f"no recipe makes a tiny {class_name}")

    def _class(self, library: str, class_name: str) -> Any:
        modules = [f"diffusers.pipelines.{library}"] if library not in ("diffusers", "transformers") else [library]
        modules.append(self.pipeline.__module__)
        for module in modules:
            try:
                found = getattr(importlib.import_module(module), class_name, None)
            except ModuleNotFoundError:
                continue
            if found is not None:
                # diffusers puts a subclass of its own into transformers, under which nothing can be saved
                own = [c for c in found.__mro__ if c.__name__ == class_name and c.__module__.startswith(module)]
                return own[0] if own else found
        raise OmniportError(f"{library} has no class {class_name}")

    def _family(self, name: str, class_name: str) -> str:
        if name in self.recipe.tokenizers:
            return self.recipe.tokenizers[name]
        if class_name in tokens.BY_CLASS:
            return tokens.BY_CLASS[class_name]
        encoder = self.entries.get(name.replace("tokenizer", "text_encoder"))
        if encoder is not None and encoder[1] in TOKENIZERS:
            return TOKENIZERS[encoder[1]]
        raise OmniportError(f"no recipe says of which family the tokenizer {name} ({class_name}) is")

    def words(self) -> list[str]:
        """The words of the pipeline's module."""
        if self._words is None:
            self._words = tokens.words_of(Path(str(sys.modules[self.pipeline.__module__].__file__)))
        return self._words

    # --------------------------------------------------------------------------------------------------- expressions
    def _resolved(self, value: Any, name: str) -> Any:
        if isinstance(value, Mapping):
            return {k: self._resolved(v, name) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._resolved(v, name) for v in value]
        if isinstance(value, str) and value.startswith("="):
            # ``eval`` of this package's own data: plain Python is its syntax, and no builtin is reachable.
            return eval(value[1:], {"__builtins__": {}}, _Names(self, name))
        return value

    def width(self, name: str) -> int:
        """Width of an encoder's output."""
        config = self.component(name).config
        for holder in (config, getattr(config, "text_config", None), getattr(config, "encoder", None)):
            for key in _WIDTHS:
                if holder is not None and getattr(holder, key, None) is not None:
                    return int(getattr(holder, key))
        raise OmniportError(f"the width of {name} is not known")

    def pooled(self, name: str) -> int:
        """Width of an encoder's projected output."""
        return int(self.component(name).config.projection_dim)

    def tokenizer_of(self, name: str) -> Any:
        """The tokenizer that belongs to an encoder, out of its processor if need be."""
        first = "processor" if "language" in name else name.replace("text_encoder", "tokenizer")
        for candidate in (first, "tokenizer", "processor", "text_processor"):
            if candidate in self.entries and candidate != name and self.entries[candidate] is not None:
                found = self.component(candidate)
                return getattr(found, "tokenizer", found)
        raise OmniportError(f"no tokenizer belongs to {name}")

    @property
    def z(self) -> int:
        """Latent channels of the VAE."""
        name = next((n for n in ("vae", "vqvae") if self.entries.get(n) is not None), None)
        if name is None:
            raise OmniportError(f"{self.pipeline.__name__} has no autoencoder; its recipe must say the channels")
        config = self.component(name).config
        return int(next(config[key] for key in _LATENTS if key in config))


class _Names(dict[str, Any]):
    """Names of an expression, computed when they are read."""

    def __init__(self, builder: Builder, name: str) -> None:
        super().__init__()
        self._builder, self._name = builder, name

    def __missing__(self, key: str) -> Any:
        builder = self._builder
        if key in ("width", "pooled"):
            return getattr(builder, key)
        if key == "z":
            return builder.z
        if key == "config":
            return lambda name: builder.component(name).config
        tokenizer = builder.tokenizer_of(self._name)
        if key == "token":
            return tokenizer.convert_tokens_to_ids
        facts = {
            "vocabulary": len(tokenizer),
            "begin": tokenizer.bos_token_id if tokenizer.bos_token_id is not None else 0,
            "end": tokenizer.eos_token_id,
            "pad": tokenizer.pad_token_id,
        }
        return facts[key]


def _lists(config: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}


def _switches(published: Mapping[str, Any]) -> dict[str, Any]:
    """What a published config chooses rather than measures: what is on or off, or goes by a name."""
    return {k: v for k, v in published.items() if isinstance(v, bool | str)}


def _redraw_statistics(model: nn.Module) -> None:
    """Batch norms of an autoencoder scale its latents by their running statistics: not 0 and 1."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            generator = torch.Generator().manual_seed(module.num_features)
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
            assert module.running_var is not None
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))


def build_pipeline(
    pipeline: Any,
    entries: Mapping[str, tuple[str, str] | None],
    recipe: Recipe,
    folder: Path,
    published: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Build the reference pipeline from tiny components and save it with ``save_pretrained``."""
    parameters = inspect.signature(pipeline.__init__).parameters
    components = {n: c for n, c in Builder(pipeline, entries, recipe, published).all().items() if n in parameters}
    pipeline(**components, **recipe.settings).save_pretrained(folder, safe_serialization=True)


def _pipeline_package(library: str) -> bool:
    """Whether diffusers has a package of pipelines of that name, whose own classes an index names by it."""
    homes = ("diffusers.pipelines", "diffusers.pipelines.deprecated")
    return library.isidentifier() and any(importlib.util.find_spec(f"{home}.{library}") for home in homes)


def recipe_of(port: Port) -> Recipe:
    """The recipe of the pipeline that a port stands for."""
    return RECIPES.get(port.reference_pipeline.rpartition(".")[2], Recipe())


def build_checkpoint(port: Port, folder: Path) -> None:
    """Build a tiny checkpoint of the pipeline that a port stands for.

    Where every class has a recipe that keeps what is published, the configs of the port are shrunk
    (:mod:`omniport.verify.checkpoint`); else the components are those of the classes, with what the denoiser and the
    scheduler publish.
    """
    if port.form != "diffusers" and checkpoint.shrinks(port):
        checkpoint.build_checkpoint(port, folder)
        return
    recipe = recipe_of(port)
    entries = {
        name: (entry[0], entry[1]) if entry[0] is not None else None
        for name, entry in port.model_index.items()
        if not name.startswith("_") and isinstance(entry, list | tuple) and len(entry) == 2
    }
    for entry in entries.values():
        if entry is not None and entry[0] not in ("diffusers", "transformers") and not _pipeline_package(entry[0]):
            checkpoint.component_class(*entry)  # refuses: it is custom code
    published = {} if port.form == "diffusers" else {n: c for n, c in port.configs.items() if c}
    build_pipeline(checkpoint.import_object(port.reference_pipeline), entries, recipe, folder, published)
