"""Targets: Python source, the passes over it, the registry of a tree, and ports that are checked."""

from __future__ import annotations

import ast
import functools
import shutil
from pathlib import Path
from typing import Any

import libcst
from hypothesis import strategies as st

from omniport.check.engine import check_port
from omniport.check.fix import fixed_texts
from omniport.check.port import parse_port
from omniport.check.rules import load_rules
from omniport.emit import default_name
from omniport.errors import OmniportError
from omniport.hub.synthetic import synthesise
from omniport.port import analyse_transformer, config_keys
from omniport.rewrite.transformer import render_transformer
from omniport.source.reading import read_source
from omniport.source.slice import definition
from omniport.source.tree import SourceModule, SourceTree
from omniport.target import features
from omniport.target.registry import parse_registry
from omniport.target.registry_edit import RowEdit, edit_registry
from omniport.target.write import check_syntax
from tests.fuzz.files import configs, fresh, source
from tests.fuzz.harness import EVIL, Target, broken_json, broken_source

#: classes whose passes are quick, so that a run tries many mutations of them
QUICK = (
    "FluxTransformer2DModel",
    "CogView4Transformer2DModel",
    "ErnieImageTransformer2DModel",
    "MiniMaxMusic3Transformer1DModel",
    "PRXTransformer2DModel",
    "WanTransformer3DModel",
    "Krea2Transformer2DModel",
    "LTXVideoTransformer3DModel",
    "JoyImageEditPlusTransformer3DModel",
    "StableAudioDiTModel",
)
PIPELINES = ("FluxPipeline", "CogView4Pipeline", "LTXPipeline", "WanPipeline", "QwenImagePipeline", "SanaPipeline")


@functools.cache
def texts() -> list[str]:
    """The modules of the quick classes."""
    return [source().find_class(name, "models").text for name in QUICK]


class Mutant(SourceTree):
    """The installed reference with the text of one module exchanged."""

    def __init__(self, name: str, text: str) -> None:
        tree = source()
        super().__init__(tree.root, tree.version)
        for known, module in tree._modules.items():  # what was read before stays read: only one module is another
            self._modules[known] = module
        module = tree.module(name)
        assert module is not None
        self.mutated = SourceModule(module.name, module.path, module.file, text, module.is_package)
        self._modules[name] = self.mutated

    def find_class(self, name: str, under: str = "") -> SourceModule:
        found = source().find_class(name, under)
        if found.name != self.mutated.name:
            return found
        self.mutated.class_def(name)  # as the search itself would find no other
        return self.mutated


def _read(text: str) -> None:
    """The text through a file, then every reader of source."""
    path = fresh() / "module.py"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    read = read_source(path, "module.py")
    module = SourceModule("diffusers.module", path, "module.py", read)
    for name in module.imports:
        assert name
    refused: OmniportError | None = None
    nodes: dict[str, ast.AST] = {}
    for name in module.definitions:
        try:
            nodes[name] = module.definitions[name]
        except (OmniportError, KeyError) as error:
            refused = error if isinstance(error, OmniportError) else refused
    classes = [name for name, node in nodes.items() if isinstance(node, ast.ClassDef)]
    if classes:
        definition(module, classes[len(text) % len(classes)], libcst.ClassDef)
    if refused is not None:
        raise refused


@st.composite
def _mutants(draw: Any) -> tuple[int, str]:
    number = draw(st.integers(0, len(QUICK) - 1))
    return number, draw(broken_source(lambda: [texts()[number]]))


def _valid(code: str) -> None:
    """What scaffolding does before it writes: text that is no program is refused."""
    check_syntax("port.py", code)


def _as_read(text: str) -> str:
    path = fresh() / "module.py"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return read_source(path, "module.py")


def _transformer(case: tuple[int, str]) -> None:
    number, text = case
    name = source().find_class(QUICK[number], "models").name
    found = analyse_transformer(Mutant(name, _as_read(text)), QUICK[number])
    code = render_transformer(found.normal, found.plan, header=found.header, attributes=(), separate_cfg=False)
    _valid(code)


@st.composite
def _pipelines(draw: Any) -> tuple[str, str]:
    name = draw(st.sampled_from(PIPELINES))
    return name, draw(broken_source(lambda: [source().find_class(name, "pipelines").text]))


def _pipeline(case: tuple[str, str]) -> None:
    from omniport.analyse.pipeline import analyse_pipeline
    from omniport.corpus.pipeline_write import denoiser_classes, named_port
    from omniport.rewrite.pipeline.module import render_pipeline

    name, text = case
    tree = Mutant(source().find_class(name, "pipelines").name, _as_read(text))
    index, _ = synthesise(name, tree)
    plan = analyse_pipeline(tree, name, index, features.DEFAULT, name=default_name(name))
    transformers = denoiser_classes(index)
    if not transformers:
        raise OmniportError("no transformer in the index")
    _valid(render_pipeline(tree, named_port(default_name(name), plan, transformers[0]), features.DEFAULT))


def _published() -> list[tuple[str, dict[str, Any]]]:
    import json

    found = []
    for path in configs():
        data = json.loads(path.read_text("utf-8"))
        if str(data.get("_class_name", "")) in QUICK:
            found.append((data["_class_name"], data))
    return found


@st.composite
def _configured(draw: Any) -> tuple[str, Any]:
    name, data = draw(st.sampled_from(_published()))
    return name, draw(broken_json([data]))


def _config(case: tuple[str, Any]) -> None:
    name, value = case
    if not isinstance(value, dict):
        return
    found = analyse_transformer(source(), name, value)
    config_keys("transformer", value, found.plan, source().version)
    code = render_transformer(found.normal, found.plan, header=found.header, attributes=(), separate_cfg=False)
    _valid(code)


@functools.cache
def registries() -> list[str]:
    from tests.support.ports import installed_package

    small = (
        "_DIFFUSION_MODELS = {\n"
        '    # (folder, module, class)\n    "A": ("a", "pipeline_a", "A"),\n'
        '    "B": (\n        "b",\n        "pipeline_b",\n        "B",\n    ),\n}\n'
        '_DIFFUSION_MODELS["C"] = _DIFFUSION_MODELS["A"]\n'
        '_DIFFUSION_POST_PROCESS_FUNCS = {"A": "get_a"}\n_DIFFUSION_PRE_PROCESS_FUNCS = {}\n'
        '_NO_CACHE_ACCELERATION = {"A"}\n\n\ndef register(x):\n    _DIFFUSION_MODELS[x] = x\n'
    )
    crlf = small.replace("\n", "\r\n")
    real = (installed_package() / "diffusion" / "registry.py").read_text("utf-8")
    return [small, crlf, "\ufeff" + small, small, small, real]


@st.composite
def _rows(draw: Any) -> tuple[str, RowEdit]:
    text = draw(broken_source(registries))
    good = st.sampled_from(["A", "B", "C", "New", "x", "get_a"])
    fields = [draw(good), draw(good), draw(good), draw(good), draw(st.none() | good), draw(st.none() | good)]
    if draw(st.integers(0, 3)) == 0:
        fields[draw(st.integers(0, 5))] = draw(st.sampled_from(EVIL) | st.text(max_size=8))
    return text, RowEdit(*fields)


def _registry(case: tuple[str, RowEdit]) -> None:
    text, edit = case
    before = parse_registry(text, "registry.py")
    after = parse_registry(edit_registry(text, "registry.py", edit), "registry.py")
    assert {k: v for k, v in after.models.items() if k != edit.architecture}.keys() == before.models.keys() - {
        edit.architecture
    }
    row = after.models[edit.architecture]
    assert (row.folder, row.module, row.cls) == (edit.folder, edit.module, edit.cls)


@functools.cache
def ports() -> list[str]:
    """The two files of a generated FLUX, and code that each rule finds something in."""
    import tempfile
    import textwrap

    from omniport.scaffold import scaffold

    with tempfile.TemporaryDirectory() as folder:
        result = scaffold("diffusers:FluxPipeline", into=None, plugin=Path(folder), offline=True)
        generated = [
            (Path(folder) / f.path).read_text("utf-8")
            for f in result.files
            if f.path.endswith(".py") and "flux" in f.path
        ]
    examples = [textwrap.dedent(e) for rule in load_rules().values() for e in rule.INVALID if isinstance(e, str)]
    comments = ["x = 1  # omniport: ignore[OP101]\n# omniport: ignore\n# omniport: ignore[OP607, OP1]\ny = 2\n"]
    return generated + examples + comments


def _check(text: str) -> None:
    path = fresh() / "pipeline_x.py"
    data = text.encode("utf-8", "surrogatepass")
    path.write_bytes(data)
    port, findings = parse_port("x", {path: data})
    findings += check_port(port, load_rules().values())
    lines = data.count(b"\n") + data.count(b"\r") + 1
    assert all(1 <= f.line <= lines and f.col >= 1 and f.message for f in findings)
    fixed_texts(findings)


def _tree(case: tuple[str, str]) -> None:
    """A tree whose files are other than they should be: what is declared and what the docs say, and the probes."""
    from omniport.check.docs_tables import rows_of
    from omniport.report.matrix import matrix, render
    from omniport.target.tree import open_target

    registry, metadata = case
    root = fresh()
    models = root / "vllm_omni" / "diffusion" / "models"
    (models / "a").mkdir(parents=True)
    (models / "a" / "pipeline_a.py").write_text("class A:\n    _repeated_blocks = ['B']\n")
    (models.parent / "registry.py").write_bytes(registry.encode("utf-8", "surrogatepass"))
    (models.parent / "model_metadata.py").write_bytes(metadata.encode("utf-8", "surrogatepass"))
    page = root / "docs" / "user_guide" / "diffusion_features.md"
    page.parent.mkdir(parents=True)
    page.write_bytes(metadata.encode("utf-8", "surrogatepass"))
    path = models / "a" / "pipeline_a.py"
    port, findings = parse_port("a", {path: path.read_bytes()})
    list(check_port(port, load_rules().values()))
    rows_of(port)
    render(matrix(root))
    open_target(root)
    assert not findings


_METADATA = (
    "from x import DiffusionModelMetadata\n_DIFFUSION_MODEL_METADATA = {\n"
    '    "A": DiffusionModelMetadata(final_output_type="video"),\n    "C": "A",\n}\n',
    "# Features\n\n| Model | Cache-DiT | Tensor-Parallel |\n|---|:---:|---|\n| **A** | \u2705 | \u274c |\n| B | x |\n",
)


@functools.cache
def repositories() -> list[Path]:
    """Custom model repositories of our own making."""
    return [p for p in sorted((Path(__file__).parents[2] / "fixtures" / "custom").iterdir()) if p.is_dir()]


@st.composite
def _customs(draw: Any) -> tuple[Path, str, str]:
    root = draw(st.sampled_from(repositories()))
    file = draw(st.sampled_from([p.relative_to(root).as_posix() for p in sorted(root.rglob("*.py"))]))
    return root, file, draw(broken_source(lambda: [(root / file).read_text("utf-8")]))


def _custom(case: tuple[Path, str, str]) -> None:
    """A repository with its own code: read, and cut out as a port, without running anything of it."""
    from omniport.custom import read_repository
    from omniport.custom.scaffold import custom_port

    root, file, text = case
    copy = fresh() / "repo"
    shutil.copytree(root, copy)
    (copy / file).write_bytes(text.encode("utf-8", "surrogatepass"))
    plan = read_repository(copy)
    assert plan is not None
    made = custom_port("org/model", copy, name="toy", backbone=None, protocol="image")
    _valid(made.transformer)
    _valid(made.pipeline)


PORT = "a port that compiles, or a refusal"
TARGETS = [
    Target(
        "source", "mutations of real transformer modules, read as text", "a tree, or the line that is none",
        lambda: broken_source(texts), _read, 2, 6_000,
    ),
    Target(
        "transformer", "mutations of real transformers through analysis and rewriting", PORT,
        _mutants, _transformer, 0.2, 1_500,
    ),
    Target(
        "pipeline", "mutations of real pipelines through analysis and rewriting", PORT,
        _pipelines, _pipeline, 0.2, 1_000,
    ),
    Target(
        "config", "published configs with absurd values through analysis and rewriting", PORT,
        _configured, _config, 0.2, 1_000,
    ),
    Target(
        "custom", "repositories with their own code, mutated, through the readers and passes of Path B", PORT,
        _customs, _custom, 1.0, 3_000,
    ),
    Target(
        "registry", "mutated registries and rows through the editor", "the new row, and every other as before",
        _rows, _registry, 6, 10_000,
    ),
    Target(
        "check", "mutated ports under every rule, with --fix", "findings on lines that exist, fixes that parse",
        lambda: broken_source(ports), _check, 1.5, 6_000,
    ),
    Target(
        "tree", "trees with a mutated registry, metadata and docs table", "probes, matrix and rules end",
        lambda: st.tuples(broken_source(registries), broken_source(lambda: list(_METADATA))), _tree, 4, 6_000,
    ),
]  # fmt: skip
