"""An update brings what changed upstream and keeps what was changed by hand; a removal leaves no trace."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from omniport import port
from omniport import scaffold as room
from omniport.cli import app
from omniport.emit import port_files, record_files
from omniport.errors import OmniportError
from omniport.remove import remove
from omniport.target.features import DEFAULT
from omniport.target.merge import merge
from omniport.target.pristine import pristine
from omniport.target.registry import RegistryView
from omniport.target.tree import Target, open_target
from omniport.target.write import apply, prepare
from omniport.update import UpdateResult, update
from tests.support.ports import codes, copy_tree, port_plan, snapshot
from tests.support.trees import FILES

MODELS = "vllm_omni/diffusion/models"
TRANSFORMER = f"{MODELS}/toy/toy_transformer.py"
PIPELINE = f"{MODELS}/toy/pipeline_toy.py"
ASSUMED = Target(None, None, "unknown", DEFAULT, RegistryView("vllm_omni/diffusion/registry.py"), (), True)

Change = Callable[[str], str]


def same(text: str) -> str:
    return text


def generated(root: Path, inputs: dict[str, Any], change: Change = same, plugin: bool = False) -> room.Generated:
    """The toy port for the tree at ``root``, with its transformer changed."""
    target = ASSUMED if plugin else open_target(root)
    transformer, pipeline = codes()
    plan = port_plan()
    # The toy is no class of the installed diffusers, which the unit test of a port would build.
    plan = dataclasses.replace(plan, transformer=dataclasses.replace(plan.transformer, module="toys.transformer_toy"))
    changes = port_files(plan, change(transformer), pipeline, target, plugin=plugin, model_id="toy/toy-dev")
    changes += record_files(plan, changes, root, plugin=plugin, inputs=inputs, model_index={}, configs={})
    return room.Generated(plan, root, tuple(changes), (), ())


def inputs(version: str) -> dict[str, Any]:
    return {"model": "toy/toy-dev", "diffusers": version, "checkpoint": "toy/toy-dev"}


@pytest.fixture(params=["tree", "plugin"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tree, or a plugin, that holds the toy port."""
    folder = tmp_path / "a tree"
    plugin = request.param == "plugin"
    if not plugin:
        copy_tree(folder)
        (folder / "tests/diffusion/models").mkdir(parents=True)
    made = generated(folder, inputs("1"), plugin=plugin)
    apply(prepare(folder, made.changes, package=None if plugin else folder / "vllm_omni"))
    return folder


@pytest.fixture
def updated(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., UpdateResult]:
    """Run an update of the toy port to a reference whose transformer was changed."""
    plugin = (root / "pyproject.toml").exists()

    def run(change: Change, **options: Any) -> UpdateResult:
        monkeypatch.setattr(port, "analyse", lambda *_, **__: None)
        monkeypatch.setattr(room, "generate", lambda *_, **__: generated(root, inputs("2"), change, plugin))
        return update(root, **options)

    return run


def file_of(root: Path, name: str) -> Path:
    return next(p for p in root.rglob(name) if ".omniport" not in p.parts)


def upstream(text: str) -> str:
    return text.replace("dim: int = 8", "dim: int = 16")


def verbs(result: UpdateResult) -> dict[str, str]:
    return {f.path.rpartition("/")[2]: f.verb for f in result.files if f.verb != "identical"}


def test_an_unedited_port_takes_the_new_form(root: Path, updated: Callable[..., UpdateResult]):
    result = updated(upstream)
    assert verbs(result) == {"toy_transformer.py": "edit", "toy.json": "edit", "toy.base": "edit"}
    assert "dim: int = 16" in file_of(root, "toy_transformer.py").read_text()
    assert (result.was["diffusers"], result.now["diffusers"]) == ("1", "2")
    assert "diffusers: 1 -> 2" in result.text()
    before = snapshot(root)
    assert verbs(updated(upstream)) == {}
    assert snapshot(root) == before


def test_hand_edits_survive(root: Path, updated: Callable[..., UpdateResult]):
    transformer, pipeline = file_of(root, "toy_transformer.py"), file_of(root, "pipeline_toy.py")
    transformer.write_text(transformer.read_text() + "\n\nBY_HAND = 1\n")
    pipeline.write_text(pipeline.read_text() + "\n\nBY_HAND = 2\n")
    result = updated(upstream)
    assert verbs(result) == {"toy_transformer.py": "merge", "toy.json": "edit", "toy.base": "edit"}
    text = transformer.read_text()
    assert "dim: int = 16" in text and text.endswith("\n\nBY_HAND = 1\n")
    assert pipeline.read_text().endswith("BY_HAND = 2\n")
    assert not result.conflicts
    again = updated(lambda text: upstream(text).replace("scale=1.0", "scale=2.0"))
    assert not again.conflicts and "scale=2.0" in transformer.read_text() and "BY_HAND" in transformer.read_text()


def test_both_sides_of_a_line_are_marked(root: Path, updated: Callable[..., UpdateResult]):
    transformer = file_of(root, "toy_transformer.py")
    transformer.write_text(transformer.read_text().replace("dim: int = 8", "dim: int = 9"))
    result = updated(upstream)
    assert [f.verb for f in result.conflicts] == ["conflict"]
    text = transformer.read_text()
    assert "<<<<<<< your edits" in text and "=======" in text and ">>>>>>> the new port" in text
    assert "dim: int = 9" in text and "dim: int = 16" in text and "dim: int = 8" in text
    manifest = json.loads((root / ".omniport" / "toy.json").read_text())
    assert manifest["inputs"]["diffusers"] == "2"


def test_changes_that_do_not_fit_together_are_a_conflict(root: Path, updated: Callable[..., UpdateResult]):
    transformer = file_of(root, "toy_transformer.py")
    old = transformer.read_text()
    transformer.write_text(old.replace('"""A transformer."""', '"""A transformer.'))
    (conflict,) = updated(upstream).conflicts
    assert "not valid" in conflict.reason


def test_a_dry_run_changes_nothing(root: Path, updated: Callable[..., UpdateResult]):
    before = snapshot(root)
    result = updated(upstream, dry_run=True, diff=True)
    assert snapshot(root) == before
    assert verbs(result)["toy_transformer.py"] == "edit"
    assert any("+" in line and "dim: int = 16" in line for diff in result.diffs for line in diff.splitlines())


def test_a_deleted_file(root: Path, updated: Callable[..., UpdateResult]):
    file_of(root, "toy_transformer.py").unlink()
    assert verbs(updated(same)) == {"toy_transformer.py": "keep", "toy.json": "edit"}
    result = updated(upstream)
    assert [f.path.rpartition("/")[2] for f in result.conflicts] == ["toy_transformer.py"]
    assert not list(root.rglob("toy_transformer.py"))


def test_an_edited_file_without_a_base_is_refused(root: Path, updated: Callable[..., UpdateResult]):
    (root / ".omniport" / "toy.base").write_text('{"schema": 1, "files": {}}')
    assert verbs(updated(upstream))["toy_transformer.py"] == "edit"
    transformer = file_of(root, "toy_transformer.py")
    (root / ".omniport" / "toy.base").unlink()
    transformer.write_text(transformer.read_text() + "# mine\n")
    before = snapshot(root)
    with pytest.raises(OmniportError, match=r"toy_transformer\.py: edited since it was written"):
        updated(same)
    assert snapshot(root) == before


def test_a_record_that_was_tampered_with_is_no_base(root: Path):
    from omniport.target import manifest

    transformer = file_of(root, "toy_transformer.py")
    transformer.write_text(transformer.read_text() + "# mine\n")
    record = root / ".omniport" / "toy.base"
    port = manifest.find(root)["toy"]
    assert any(path.endswith("toy_transformer.py") for path in pristine(root, port))
    record.write_text(record.read_text().replace("dim: int = 8", "dim: int = 1"))
    with pytest.raises(OmniportError, match="nothing to merge against"):
        pristine(root, port)


@pytest.mark.parametrize(
    ("where", "name", "message"),
    [("nowhere", None, "no such folder"), ("", "other", "no port named"), ("tests", None, "holds no port")],
)
def test_what_is_no_port(root: Path, where: str, name: str | None, message: str):
    (root / "tests").mkdir(exist_ok=True)
    for command in (update, remove):
        with pytest.raises(OmniportError, match=message):
            command(root / where, name=name)


# ---------------------------------------------------------------------------------------------------------------- merge
def test_merge_keeps_the_line_endings_of_the_edited_side():
    base, theirs = "a\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\n"
    merged = merge("A\r\nb\r\nc\r\nd\r\ne\r\n", base, theirs)
    assert merged == type(merged)("A\r\nb\r\nc\r\nd\r\nE\r\n", 0)
    assert merge("a\n", "b\n", "c\n").conflicts == 1
    assert merge("a\n", "a\n", "c\n").text == "c\n"
    assert merge("a\n", "b\n", "b\n").text == "a\n"


def test_merge_needs_git(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(OmniportError, match="git is not installed"):
        merge("a\n", "b\n", "c\n")


# --------------------------------------------------------------------------------------------------------------- remove
@pytest.fixture(params=[False, True], ids=["lf", "crlf"])
def checkout(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A checkout with docs, tests, recipes and examples, in a folder with a blank, behind a link."""
    real = tmp_path / "the real tree"
    copy_tree(real)
    beside = {k: v for k, v in FILES.items() if not k.startswith("vllm_omni/")}
    for name, text in beside.items():
        path = real / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    if request.param:
        package = "vllm_omni/diffusion"
        for name in (f"{package}/registry.py", f"{package}/model_metadata.py", *beside):
            path = real / name
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    (tmp_path / "link").symlink_to(real)
    yield tmp_path / "link"


def test_a_removal_leaves_no_trace(checkout: Path):
    before = snapshot(checkout)
    made = generated(checkout, inputs("1"))
    written = apply(prepare(checkout, made.changes, package=checkout / "vllm_omni", others=[checkout / "tests"]))
    edited = {f.path for f in written if f.verb == "edit"}
    assert {"docs/models/supported_models.md", "recipes/README.md", "vllm_omni/diffusion/registry.py"} <= edited
    changes = generated(checkout, inputs("1")).changes
    again = prepare(checkout, changes, package=checkout / "vllm_omni", others=[checkout / "tests"])
    assert {f.verb for f in again.files} == {"identical"}
    result = remove(checkout, dry_run=True)
    assert {f.path for f in result.files if f.verb == "edit"} == edited
    remove(checkout)
    assert snapshot(checkout) == before


def test_an_edited_file_stands_in_the_way(root: Path):
    file = file_of(root, "pipeline_toy.py")
    file.write_text(file.read_text() + "# mine\n")
    before = snapshot(root)
    result = CliRunner().invoke(app, ["remove", str(root)])
    assert result.exit_code == 1 and "pipeline_toy.py" in result.stderr
    assert snapshot(root) == before
    assert CliRunner().invoke(app, ["remove", str(root), "--force"]).exit_code == 0
    assert not list(root.rglob("*toy*"))


def test_a_row_of_somebody_else_stays(tmp_path: Path):
    tree = copy_tree(tmp_path / "t")
    apply(prepare(tree, generated(tree, inputs("1")).changes, package=tree / "vllm_omni"))
    registry = tree / "vllm_omni/diffusion/registry.py"
    registry.write_text(registry.read_text().replace('"pipeline_toy"', '"pipeline_other"'))
    text = registry.read_text()
    result = remove(tree)
    assert registry.read_text() == text
    assert any("has another row now" in f.reason for f in result.files)


# ------------------------------------------------------------------------------------------------------ the whole thing
def reference(root: Path, change: Change) -> Path:
    """A copy of the installed diffusers with its FLUX transformer changed, as a newer version."""
    spec = importlib.util.find_spec("diffusers")
    assert spec is not None and spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])

    def ignore(folder: str, names: list[str]) -> set[str]:
        kept = {"flux", "__init__.py", "pipeline_utils.py", "free_noise_utils.py"}
        return set(names) - kept if Path(folder) == package / "pipelines" else {"__pycache__"}

    shutil.copytree(package, root / "diffusers", ignore=ignore)
    init = root / "diffusers" / "__init__.py"
    init.write_text(init.read_text().replace('__version__ = "', '__version__ = "9'))
    file = root / "diffusers/models/transformers/transformer_flux.py"
    text = file.read_text()
    assert change(text) != text
    file.write_text(change(text))
    return root


def test_flux_through_the_command_line(tmp_path: Path):
    tree = copy_tree(tmp_path / "tree")
    run = CliRunner().invoke
    command = ["scaffold", "diffusers:FluxPipeline", "--into", str(tree), "--name", "flux_dev", "--force"]
    assert run(app, command).exit_code == 0
    file = tree / MODELS / "flux_dev" / "flux_dev_transformer.py"
    marker = "class FluxTransformerBlock(nn.Module):"
    assert marker in file.read_text()
    file.write_text(file.read_text().replace(marker, f"BY_HAND = 1\n\n\n{marker}"))
    source = reference(
        tmp_path / "newer",
        lambda t: t.replace(
            "self.mlp_hidden_dim = int(dim * mlp_ratio)", "self.mlp_hidden_dim = round(dim * mlp_ratio)"
        ),
    )
    result = run(app, ["update", str(tree), "--source", str(source), "--json"])
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["now"]["diffusers"] == "9" + data["was"]["diffusers"]
    text = file.read_text()
    assert "BY_HAND = 1\n" in text and "round(" in text
    assert run(app, ["update", str(tree), "--source", str(source)]).exit_code == 0
    assert file.read_text() == text
    assert run(app, ["remove", str(tree), "--force"]).exit_code == 0
    assert not (tree / MODELS / "flux_dev").exists() and not (tree / ".omniport").exists()
