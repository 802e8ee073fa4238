"""Targets: the files of a model repository, and our own files that somebody else may have edited."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from omniport.check.config import find_settings
from omniport.classify import classify
from omniport.hub import open_model
from omniport.hub.index import read_index
from omniport.hub.names import check_revision, is_identifier, is_plain_path, parse_model
from omniport.hub.safetensors import read_header
from omniport.plan import serial
from omniport.plan.model import PortPlan
from omniport.report.evidence import read_evidence
from omniport.source.tree import SourceTree
from omniport.strict_json import Document, read_object
from omniport.target import journal, manifest
from omniport.target.paths import confine
from omniport.verify.port import find_port
from tests.fuzz.harness import EVIL, VALUES, Target, broken_bytes, broken_json, json_text
from tests.support.hubserver import FIXTURES, safetensors


@functools.cache
def configs() -> list[Path]:
    """Every published configuration file of the fixtures."""
    return [p for p in sorted(FIXTURES.rglob("*.json")) if p.name not in ("SOURCE.json", "headers.json")]


@functools.cache
def source() -> SourceTree:
    return SourceTree.locate()


@functools.cache
def work() -> Path:
    """A folder for one case at a time, in memory where there is room."""
    base = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="omniport-fuzz-", dir=base if base.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def fresh() -> Path:
    """An empty folder."""
    folder = work() / "case"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _json(data: bytes) -> None:
    document = read_object(data, "x.json", infinity=True)
    assert document.value == json.loads(data)
    assert all(1 <= line <= data.count(b"\n") + 1 for line in document.lines.values())
    json.dumps(document.value, ensure_ascii=False).encode("utf-8")


def _headers() -> list[bytes]:
    blobs = [safetensors([("a.weight", [4, 2]), ("b", [3])], "BF16"), safetensors([], "F32")]
    return [blob.read(0, blob.size) for blob in blobs]


def _header(data: bytes) -> None:
    tensors = read_header(lambda begin, end: data[begin:end], "x.safetensors", len(data))
    total = int.from_bytes(data[:8], "little") + 8
    assert total <= len(data) and all(min(info.shape, default=0) >= 0 for info in tensors.values())


@st.composite
def _tilings(draw: Any) -> bytes:
    """Headers whose entries overlap, leave holes, are negative, enormous or of another type."""
    number = st.one_of(
        st.integers(-4, 64), st.integers(-(2**70), 2**70), st.floats(), st.none(), st.sampled_from(["8"])
    )
    entry = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "BF16", "F4", "Q4", None, 3]),
            "shape": st.one_of(st.lists(number, max_size=4), VALUES),
            "data_offsets": st.one_of(st.lists(number, min_size=2, max_size=2), VALUES),
        }
    )
    entries = draw(st.dictionaries(st.text(max_size=6), st.one_of(entry, VALUES), max_size=5))
    header = json_text(entries).encode("utf-8", "surrogatepass")
    length = draw(st.one_of(st.just(len(header)), st.integers(0, 2**64 - 1)))
    return length.to_bytes(8, "little") + header + b"\0" * draw(st.integers(0, 64))


def _index(value: Any) -> None:
    if not isinstance(value, dict):
        return
    index = read_index(Document("model_index.json", value, dict.fromkeys(value, 1)))
    assert is_identifier(index.pipeline_class)
    assert all(is_identifier(name) for name in (*index.components, *index.settings))
    for entry in index.components.values():
        assert entry is None or (is_identifier(entry.class_name) and entry.library)


def _indexes() -> list[Any]:
    extra = [
        {"_class_name": ["pipeline", "OwnPipeline"], "x": ["own", "Own"]},
        {
            "_class_name": "FluxPipeline",
            "_blocks_class_name": "B",
            "vae": [None, None, {"type_hint": ["diffusers", "V"]}],
        },
    ]
    return [json.loads(p.read_text("utf-8")) for p in configs() if p.name == "model_index.json"] + extra


@st.composite
def _repositories(draw: Any) -> dict[str, bytes]:
    """A published repository with some files broken, exchanged, missing or more."""
    folder = draw(st.sampled_from([p.parent for p in configs() if p.name == "model_index.json"]))
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.json") if p in configs()}
    names = sorted(files)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(names))
        kind = draw(st.integers(0, 4))
        if kind == 0:
            files[name] = json_text(draw(broken_json([json.loads(folder.joinpath(name).read_text("utf-8"))]))).encode(
                "utf-8", "surrogatepass"
            )
        elif kind == 1:
            files[name] = draw(broken_bytes([folder.joinpath(name).read_bytes()]))
        elif kind == 2:
            files.pop(name, None)
        elif kind == 3:
            files[draw(st.sampled_from(["vae/x.json", "unet/config.json", "a/b", "transformer/model.safetensors"]))] = (
                b"{}"
            )
        else:
            files[name] = folder.joinpath(draw(st.sampled_from(names))).read_bytes()
    return files


def _open(files: dict[str, bytes]) -> None:
    folder = fresh()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    repo = open_model(str(folder), source=source(), require_index=False)
    plan = classify(repo, source(), None)
    assert plan.path and plan.why
    for component in repo.index.components:
        repo.config(component)
        repo.weights(component)
    serial.dumps(plan).encode("utf-8")


def _shards(value: Any) -> None:
    folder = fresh()
    blob = safetensors([("a.weight", [4, 2])], "F32")
    (folder / "transformer").mkdir()
    (folder / "transformer/one.safetensors").write_bytes(blob.read(0, blob.size))
    (folder / "model_index.json").write_text('{"_class_name": "FluxPipeline", "transformer": ["diffusers", "F"]}')
    text = json_text(value).encode("utf-8", "surrogatepass")
    (folder / "transformer/model.safetensors.index.json").write_bytes(text)
    tensors = open_model(str(folder), source=source()).weights("transformer")
    assert set(tensors or ()) <= {"a.weight"}


_SHARD_MAPS = [
    {"metadata": {"total_size": 32}, "weight_map": {"a.weight": "one.safetensors"}},
    {"weight_map": {"a.weight": "../transformer/one.safetensors", "b": "/etc/passwd"}},
]


def _manifests() -> list[Any]:
    from tests.support.ports import port_plan

    plan = port_plan()
    entry = manifest.PortEntry("A", "a.b", "C", "a.c", "D", None, None, "r.P", "r.T")
    files = [manifest.FileEntry("a/b.py", "0" * 64, "create"), manifest.FileEntry("c.py", "1" * 64, "edit")]
    made = manifest.build(plan, entry, files, inputs={"model": "m"}, model_index={}, configs={"vae": {}})
    return [json.loads(manifest.dumps(made))]


def _manifest(value: Any) -> None:
    folder = fresh()
    path = folder / ".omniport" / "toy.json"
    path.parent.mkdir()
    path.write_bytes(json_text(value).encode("utf-8", "surrogatepass"))
    read = 0
    for reader in (lambda: manifest.load(path), lambda: manifest.owned(folder), lambda: find_port(folder)):
        try:
            reader()
            read += 1
        except Exception as error:
            from omniport.errors import OmniportError

            if not isinstance(error, OmniportError):
                raise
            last = error
    if not read:
        raise last


def _evidence(data: bytes) -> None:
    path = fresh() / "toy.evidence.json"
    path.write_bytes(data)
    for result in read_evidence(path).values():
        result.to_data()


def _results() -> list[bytes]:
    from omniport.verify.results import Check, FeatureResult

    check = Check("error", True, "one call", 1e-7, 1e-5)
    result = FeatureResult(
        "parity",
        "validated",
        1e-7,
        "",
        (check,),
        ("a line",),
        1.0,
        "omniport verify x",
        {"torch": "2"},
        "2026-01-01",
        "0",
    )
    return [json.dumps({"schema": 1, "name": "toy", "features": {"parity": result.to_data()}}).encode()]


def _journal(value: Any) -> None:
    outside = fresh()
    root = outside / "root"
    (root / ".omniport").mkdir(parents=True)
    (outside / "kept.txt").write_text("kept")
    (root / "a.py").write_text("a")
    (root / ".omniport/journal.json").write_bytes(json_text(value).encode("utf-8", "surrogatepass"))
    try:
        journal.recover(root)
    finally:
        assert (outside / "kept.txt").read_text() == "kept"
        assert sorted(p.name for p in outside.iterdir()) == ["kept.txt", "root"]


_SHA_A = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
_JOURNALS = [
    {
        "schema": 1,
        "entries": [
            {"path": "a.py", "before": None, "after": _SHA_A},
            {"path": "../kept.txt", "before": "0" * 64, "after": "1" * 64},
        ],
        "folders": ["b", "../c"],
    }
]


def _plans() -> list[Any]:
    from tests.support.ports import port_plan

    return [serial.to_data(port_plan())]


def _plan(value: Any) -> None:
    try:
        plan = serial.from_data(PortPlan, value)
    except ValueError:
        return
    assert serial.to_data(plan) == json.loads(json.dumps(value))


def _settings(data: bytes) -> None:
    folder = fresh()
    (folder / "pyproject.toml").write_bytes(data)
    settings = find_settings(folder)
    assert all(isinstance(code, str) for code in (*settings.select, *settings.ignore))


_TOML = [
    b'[tool.omniport]\nselect = ["OP1"]\nignore = ["OP607"]\n[tool.omniport.per-file-ignores]\n"*/ops/*" = ["OP7"]\n',
    b"[project]\nname = 'x'\n[tool.omniport]\n",
]

_NAMES = st.one_of(st.sampled_from(EVIL), st.text(max_size=30), st.from_regex(r"[a-zA-Z0-9_./\\:~-]{0,20}"))


def _name(name: str) -> None:
    root = work() / "names"
    root.mkdir(exist_ok=True)
    from omniport.errors import OmniportError

    raised: OmniportError | None = None
    for check in (
        lambda: confine(root, name),
        lambda: root / check_revision(name),
        lambda: parse_model(name) and root,
    ):
        try:
            place = check()
        except OmniportError as error:
            raised = error
        else:
            assert isinstance(place, Path) and place.resolve().is_relative_to(root.resolve())
    if is_plain_path(name) and len(name) < 100:
        assert (root / name).resolve().is_relative_to(root.resolve())
    if raised is not None:
        raise raised


TARGETS = [
    Target(
        "json", "JSON files: bytes changed, cut, NaN, marks, depth", "equal to what json reads, lines true",
        lambda: broken_bytes([p.read_bytes() for p in configs()]), _json, 18,
    ),
    Target(
        "safetensors-bytes", "safetensors headers: bytes changed, cut", "sizes fit",
        lambda: broken_bytes(_headers()), _header, 15,
    ),
    Target(
        "safetensors-entries", "safetensors entries: overlaps, holes, negative, huge, wrong types", "sizes fit",
        _tilings, _header, 15,
    ),
    Target(
        "index", "model_index.json: values and keys replaced, moved, doubled", "only identifiers come out",
        lambda: broken_json(_indexes()), _index, 15,
    ),
    Target(
        "repository", "whole model folders through the reader and the classifier", "a plan that can be written",
        _repositories, _open, 6,
    ),
    Target(
        "shards", "index files of shards", "no file outside the folder is read",
        lambda: broken_json(_SHARD_MAPS), _shards, 5,
    ),
    Target(
        "manifest", "manifests of ports", "read, or named as damaged", lambda: broken_json(_manifests()), _manifest, 4
    ),
    Target("evidence", "evidence of verify", "read, or named", lambda: broken_bytes(_results()), _evidence, 4),
    Target(
        "journal", "the journal of an interrupted write", "nothing outside the root changes",
        lambda: broken_json(_JOURNALS), _journal, 4,
    ),
    Target("plan", "plans as JSON", "a ValueError, or the same plan again", lambda: broken_json(_plans()), _plan, 4),
    Target("settings", "pyproject.toml", "settings of the right types", lambda: broken_bytes(_TOML), _settings, 4),
    Target("names", "names of models, revisions and files", "no place outside the root", lambda: _NAMES, _name, 8),
]  # fmt: skip
