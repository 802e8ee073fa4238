"""A model, opened: its index, the configurations of its components, and what its weights are."""

from __future__ import annotations

import re
from dataclasses import field
from typing import Any

from omniport.errors import OmniportError
from omniport.hub.index import ABSENT, INDEX_FILE, MODULAR_INDEX_FILE, ModelIndex, read_index
from omniport.hub.names import Form, check_revision, parse_model
from omniport.hub.safetensors import TENSOR_LIMIT, TensorInfo
from omniport.hub.stores import HubStore, LocalStore, NoStore, Store
from omniport.records import dataclass
from omniport.source.tree import SourceTree
from omniport.strict_json import CONFIG_LIMIT, INDEX_LIMIT, Document, read_object

SCHEDULER_FILE = "scheduler_config.json"
_CONFIG_FILES = ("config.json", SCHEDULER_FILE, "preprocessor_config.json", "processor_config.json")
_SINGLE = re.compile(r"(?:diffusion_pytorch_model|model)(?:\.(?P<variant>[A-Za-z0-9_]+))?\.safetensors\Z")
_SHARDS = re.compile(r"(?:diffusion_pytorch_model|model)\.safetensors\.index(?:\.(?P<variant>[A-Za-z0-9_]+))?\.json\Z")


@dataclass
class Repo:
    """A model at one revision.

    ``model`` is MODEL as given, ``revision`` the commit sha (None where there is none).  Nothing of the repository is
    ever imported, run or unpickled.
    """

    model: str
    form: Form
    index: ModelIndex
    store: Store = field(repr=False)
    synthetic: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    _configs: dict[str, Document] = field(default_factory=dict, repr=False)

    @property
    def revision(self) -> str | None:
        return self.store.revision

    def files(self) -> list[str]:
        """Relative paths of the repository's files, sorted; empty for ``diffusers:<Class>``."""
        return self.store.files()

    def config(self, component: str) -> dict[str, Any]:
        """Configuration of a component (``config.json``, ``scheduler_config.json``...); ``{}`` if it has none.

        Raises:
            OmniportError: the file is no valid JSON object; the message gives file, line and column.
        """
        if component in self.synthetic:
            return self.synthetic[component]
        return self.config_document(component).value

    def config_document(self, component: str) -> Document:
        """As :meth:`config`, with the lines of its keys; a document without name if there is none."""
        if component not in self._configs:
            files = set(self.files())
            path = next((p for name in _CONFIG_FILES if (p := f"{component}/{name}") in files), None)
            document = Document("", {})
            if path is not None:
                data = self.store.read(path, CONFIG_LIMIT)
                document = read_object(data, self.store.name(path), infinity=True)
                document = Document(path, document.value, document.lines)
            self._configs[component] = document
        return self._configs[component]

    def weights(self, component: str) -> dict[str, TensorInfo] | None:
        """Tensors of a component from its safetensors headers; None if it has no safetensors files.

        A file without variant (``diffusion_pytorch_model.safetensors``) is preferred; a single variant is taken if
        there is nothing else.

        Raises:
            OmniportError: two weight sets in one folder, an index that names a file or tensor that is not there, or a
                damaged header.
        """
        prefix = f"{component}/"
        names = [path[len(prefix) :] for path in self.files() if path.startswith(prefix)]
        chosen = self._weight_file(component, names)
        if chosen is None:
            return None
        if chosen.endswith(".safetensors"):
            return self.store.header(prefix + chosen)
        return self._sharded(component, prefix + chosen, set(names))

    def _weight_file(self, component: str, names: list[str]) -> str | None:
        """Index or single file of the weight set to read; an index wins over a single file, as in diffusers."""
        for pattern in (_SHARDS, _SINGLE):
            found: dict[str | None, list[str]] = {}
            for name in names:
                if match := pattern.match(name):
                    found.setdefault(match["variant"], []).append(name)
            if not found:
                continue
            if None not in found and len(found) > 1:
                variants = ", ".join(sorted(str(variant) for variant in found))
                raise OmniportError(f"{self.model}: {component} has weights only in several variants: {variants}")
            files = found.get(None) or next(iter(found.values()))
            if len(files) > 1:
                raise OmniportError(f"{self.model}: {component} has two sets of weights: {', '.join(sorted(files))}")
            return files[0]
        return None

    def _sharded(self, component: str, path: str, names: set[str]) -> dict[str, TensorInfo]:
        name = self.store.name(path)
        weight_map = read_object(self.store.read(path, INDEX_LIMIT), name, limit=INDEX_LIMIT).value.get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
            raise OmniportError(f"{name}: no weight_map of tensor names to file names")
        if len(weight_map) > TENSOR_LIMIT:
            raise OmniportError(f"{name}: {len(weight_map)} tensors; more than {TENSOR_LIMIT} are refused")
        tensors: dict[str, TensorInfo] = {}
        for shard in sorted(set(weight_map.values())):
            if shard not in names or not shard.endswith(".safetensors"):
                raise OmniportError(f"{name}: names the shard {shard[:200]!r}, which is not in the folder")
            header = self.store.header(f"{component}/{shard}")
            twice = header.keys() & tensors.keys()
            if twice:
                raise OmniportError(f"{name}: tensor {min(twice)!r} is in two shards")
            tensors.update(header)
            missing = [tensor for tensor, file in weight_map.items() if file == shard and tensor not in header]
            if missing:
                raise OmniportError(
                    f"{name}: {shard} does not hold {missing[0][:200]!r} ({len(missing)} tensors missing)"
                )
        return tensors


def open_model(
    model: str,
    *,
    revision: str | None = None,
    offline: bool = False,
    source: SourceTree,
    require_index: bool = True,
) -> Repo:
    """Open MODEL: ``org/name`` on the Hub, a local folder, or ``diffusers:<PipelineClass>`` of ``source``.

    ``offline`` (or HF_HUB_OFFLINE=1) answers from the caches alone.  ``require_index`` False admits a repository
    without ``model_index.json``; its index then has ``present`` False.

    Raises:
        OmniportError: MODEL has none of the three forms or names nothing; the Hub cannot be asked or refuses; a file of
            the repository is missing or not valid.  The message says which and what to do.
    """
    reference = parse_model(model)
    if revision is not None and reference.form != "hub":
        raise OmniportError(f"--revision applies to a Hub id; {model} is {_FORM_NAMES[reference.form]}")
    if reference.form == "diffusers":
        from omniport.hub.published import with_published
        from omniport.hub.synthetic import synthesise
        from omniport.verify.pipelines import RECIPES, Recipe

        index, configs = synthesise(reference.value, source)
        named = index.components
        index = with_published(index, RECIPES.get(reference.value, Recipe()))
        configs = {n: c for n, c in configs.items() if index.components.get(n) == named.get(n) is not None}
        return Repo(model, "diffusers", index, NoStore(), configs)
    store: Store
    if reference.form == "local":
        store = LocalStore(reference.value)
    else:
        from omniport.hub.client import offline_by_environment

        store = HubStore(reference.value, check_revision(revision or "main"), offline or offline_by_environment())
    return Repo(model, reference.form, _open_index(store, reference.value, require_index), store)


_FORM_NAMES = {"local": "a local folder", "diffusers": "a class of the installed source"}


def _open_index(store: Store, where: str, require: bool) -> ModelIndex:
    files = set(store.files())
    path = next((name for name in (INDEX_FILE, MODULAR_INDEX_FILE) if name in files), None)
    if path is None:
        if require:
            raise OmniportError(f"{where}: no {INDEX_FILE}, so this is no diffusers pipeline; {_hint(files)}")
        return ABSENT
    document = read_object(store.read(path, CONFIG_LIMIT), store.name(path))
    index = read_index(document)
    index.places.update({key: (path, line) for key, (_, line) in index.places.items()})
    return index


def _hint(files: set[str]) -> str:
    nested = sorted(path for path in files if path.endswith(f"/{INDEX_FILE}"))
    if nested:
        return f"there is one in {nested[0].rsplit('/', 1)[0]}/: give that folder"
    if not files:
        return "the folder is empty"
    return "a model with its own code needs Path B"
