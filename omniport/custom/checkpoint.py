"""The weights of MODEL: which sets of files there are, and what each holds, by their headers alone.

A set is one folder's shards or one file.  Pickles are never opened: their names show once they are safetensors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from omniport.custom.remap import Proof, Shape, prove
from omniport.custom.remap_guess import guess
from omniport.errors import OmniportError
from omniport.hub.names import check_revision, parse_model
from omniport.hub.stores import HubStore, LocalStore, Store
from omniport.plan.remap import RemapTable
from omniport.records import dataclass
from omniport.strict_json import CONFIG_LIMIT, INDEX_LIMIT, read_object

_SETS = 32  # sets that are read
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\.safetensors\Z")


@dataclass(frozen=True)
class WeightSet:
    """``folder`` is empty for the root; ``pattern`` names the files of the set within it."""

    folder: str
    pattern: str
    header: Mapping[str, Shape] = field(repr=False)
    config: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.folder}/{self.pattern}" if self.folder else self.pattern


@dataclass(frozen=True)
class Weights:
    """What MODEL holds; ``reason`` says why nothing was read."""

    sets: tuple[WeightSet, ...]
    alone: bool  # whether one set is all that its folder holds, so that the loader needs no pattern
    revision: str | None
    reason: str = ""


def read_weights(model: str, *, revision: str | None, offline: bool, names: Path | None = None) -> Weights:
    """The sets of safetensors of MODEL, or the one that a file of names and shapes describes.

    Raises:
        OmniportError: a header or configuration is damaged, or MODEL has none of its forms.
    """
    if names is not None:
        return Weights((_from_file(names),), True, None)
    reference = parse_model(model)
    store: Store
    if reference.form == "local":
        store = LocalStore(reference.value)
    else:
        from omniport.hub.client import offline_by_environment

        try:
            store = HubStore(reference.value, check_revision(revision or "main"), offline or offline_by_environment())
        except OmniportError as error:
            return Weights((), True, None, str(error))
    files = [path for path in store.files() if path.endswith(".safetensors")]
    sets: dict[tuple[str, str], list[str]] = {}
    for path in files:
        folder, _, name = path.rpartition("/")
        shard = _SHARD.match(name)
        sets.setdefault((folder, f"{shard[1]}-*.safetensors" if shard else name), []).append(path)
    if not files:
        pickles = [p for p in store.files() if p.endswith((".pth", ".pt", ".bin", ".ckpt"))]
        reason = f"{pickles[0]} is a pickle, which is not opened" if pickles else "there are no weights"
        return Weights((), True, store.revision, f"{model}: {reason}")
    if len(sets) > _SETS:
        raise OmniportError(f"{model}: {len(sets)} sets of weights; more than {_SETS} are not compared")
    found = tuple(
        WeightSet(folder, pattern, _joined(store, paths), _config(store, folder))
        for (folder, pattern), paths in sorted(sets.items())
    )
    return Weights(found, len({s.folder for s in found}) == len(found), store.revision)


def _joined(store: Store, paths: list[str]) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for path in sorted(paths):
        for name, tensor in store.header(path).items():
            _check(name, store.name(path))
            if name in found:
                raise OmniportError(f"{store.name(path)}: tensor {name!r} is in two shards")
            found[name] = tensor.shape
    return found


def _check(name: str, file: str) -> None:
    """A star in a name would mean any index in a rule."""
    if "*" in name:
        raise OmniportError(f"{file}: the name {name[:100]!r} holds a star")


def _config(store: Store, folder: str) -> dict[str, Any]:
    path = f"{folder}/config.json" if folder else "config.json"
    if path not in store.files():
        return {}
    return read_object(store.read(path, CONFIG_LIMIT), store.name(path), infinity=True).value


def _from_file(path: Path) -> WeightSet:
    """Of a JSON object, tensor -> shape, or a safetensors file.

    Raises:
        OmniportError: it is neither.
    """
    if path.suffix == ".safetensors":
        store = LocalStore(str(path.parent))
        return WeightSet("", path.name, _joined(store, [path.name]), {})
    try:
        with path.open("rb") as file:
            data = file.read(INDEX_LIMIT + 1)
    except OSError as error:
        raise OmniportError(f"{path}: {error.strerror}") from None
    given = read_object(data, str(path), limit=INDEX_LIMIT).value
    header: dict[str, Shape] = {}
    for name, shape in given.items():
        _check(name, str(path))
        if not isinstance(shape, list) or any(type(dim) is not int or dim < 0 for dim in shape):
            raise OmniportError(f"{path}: {json.dumps(name)[:100]} has no shape, a list of sizes")
        header[name] = tuple(shape)
    return WeightSet("", path.name, header, {})


@dataclass(frozen=True)
class Match:
    """The set that a class's weights are, the rules of their names, and how far they are proved."""

    weights: WeightSet
    table: RemapTable
    proof: Proof


def match(sets: tuple[WeightSet, ...], parameters: Mapping[str, Shape], ties: Mapping[str, str]) -> Match | None:
    """The set that fills most parameters; None if none fills any, or two fill equally many.

    Ties are equal sets too: the weights and their average are published beside each other.
    """
    found = []
    for item in sets:
        table = guess(item.header, parameters, ties, item.name)
        proof = prove(table, item.header, parameters)
        found.append(Match(item, table, proof))
    found.sort(key=lambda m: (-m.proof.filled, len(m.proof.faults)))
    if not found or not found[0].proof.filled:
        return None
    if len(found) > 1 and (found[1].proof.filled, len(found[1].proof.faults)) == (
        found[0].proof.filled,
        len(found[0].proof.faults),
    ):
        return None
    return found[0]
