"""Targets: strings of others in what is written, and whole scaffolds into a folder of their own."""

from __future__ import annotations

import ast
import functools
import json
import sys
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from omniport.emit.names import check_name, default_name
from omniport.emit.render import comment, markdown, python, render, toml
from omniport.scaffold import scaffold
from tests.fuzz.files import configs, fresh
from tests.fuzz.harness import EVIL, Target, broken_bytes, broken_json, json_text

TEXTS = st.one_of(st.sampled_from(EVIL), st.text(max_size=60), st.lists(st.sampled_from(EVIL), max_size=3).map("".join))


def _filters(text: str) -> None:
    assert ast.literal_eval(python(text)) == text and python(text).isascii()
    line = comment(text)
    assert len(line.splitlines()) <= 1 and ast.parse(f"# {line}\nx = 1\n").body
    if sys.version_info >= (3, 11):
        import tomllib

        assert tomllib.loads(f"x = {toml(text)}\n")["x"] == comment(text)
    inner = markdown(text)
    assert "\n" not in inner and not any(f"{c}" in inner.replace(f"\\{c}", "") for c in "|`*_[<")


def _templates(case: tuple[str, str, str]) -> None:
    title, source, model = case
    values: dict[str, Any] = {
        "spdx": "# SPDX", "title": title, "name": "toy", "package": "vllm_omni_toy", "distribution": "vllm-omni-toy",
        "architecture": "ToyPipeline", "module": "vllm_omni_toy.pipeline_toy", "pipeline_class": "ToyPipeline",
        "pipeline_file": "pipeline_toy.py", "post_process": "get_post", "pre_process": None, "hooks": ["get_post"],
        "stale": [], "source": source, "model": model, "reference_pipeline": "a.B", "reference_transformer": "a.C",
        "made_for": model, "metadata": {}, "enabler": "", "uncached": False, "caching": "Caching is declared.",
    }  # fmt: skip
    readme = render("plugin/README.md.j2", **values)
    empty = {**values, "source": "", "model": "", "title": "", "made_for": ""}
    assert readme.count("\n") == render("plugin/README.md.j2", **empty).count("\n")
    if sys.version_info >= (3, 11):
        import tomllib

        project = tomllib.loads(render("plugin/pyproject.toml.j2", **values))["project"]
        assert project["name"] == "vllm-omni-toy" and project["dependencies"] == []


def _names(text: str) -> None:
    for make in (default_name, check_name):
        name = make(text)
        assert name.isidentifier() and name == name.lower() and Path(name).name == name


@functools.cache
def _repo() -> dict[str, bytes]:
    folder = next(p.parent for p in configs() if p.parent.name == "FLUX.1-schnell" and p.name == "model_index.json")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.json") if p in configs()}


@st.composite
def _models(draw: Any) -> dict[str, bytes]:
    files = dict(_repo())
    name = draw(st.sampled_from([n for n in sorted(files) if n.endswith(("index.json", "config.json"))]))
    if draw(st.booleans()):
        value = draw(broken_json([json.loads(files[name])]))
        files[name] = json_text(value).encode("utf-8", "surrogatepass")
    else:
        files[name] = draw(broken_bytes([files[name]]))
    return files


def _scaffold(files: dict[str, bytes]) -> None:
    base = fresh()
    for name, data in files.items():
        (base / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (base / "model" / name).write_bytes(data)
    before = {p: p.read_bytes() for p in base.rglob("*") if p.is_file()}
    written: tuple[str, ...] = ()
    try:
        result = scaffold(str(base / "model"), into=None, plugin=base / "port", name="toy", offline=True)
        written = tuple(f.path for f in result.files)
        for file in (base / "port").rglob("*.py"):
            compile(file.read_text("utf-8"), str(file), "exec", dont_inherit=True)
    finally:
        after = {p: p.read_bytes() for p in base.rglob("*") if p.is_file()}
        new = {p.relative_to(base / "port").as_posix() for p in after.keys() - before.keys()}
        assert new == set(written), "a partial write, or a file outside of the port"
        assert all(after[p] == content for p, content in before.items())
        assert written or not (base / "port").exists()


TARGETS = [
    Target(
        "filters", "strings for Python, TOML, Markdown and comments", "one literal, one line, no markup",
        lambda: TEXTS, _filters, 10,
    ),
    Target(
        "templates", "hostile titles, sources and models in the files of a plugin", "the same lines; valid TOML",
        lambda: st.tuples(TEXTS, TEXTS, TEXTS), _templates, 4, 10_000,
    ),
    Target("port-names", "names of ports", "a plain folder and package name", lambda: TEXTS, _names, 6),
    Target(
        "scaffold", "whole scaffolds of broken model folders", "all files or none, none outside of the target",
        _models, _scaffold, 0.1, 400,
    ),
]  # fmt: skip
