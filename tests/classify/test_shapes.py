"""Every published shape of ``model_index.json``, and the malformed and hostile: its classification or its error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from omniport.classify import classify
from omniport.errors import OmniportError
from omniport.hub import open_model
from omniport.source.tree import SourceTree
from tests.classify.shapes import SHAPES, Shape


def written(folder: Path, shape: Shape) -> Path:
    contents = {**shape.files, **({} if shape.index is None else {"model_index.json": shape.index})}
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), "utf-8")
    return folder


def judged(folder: Path, source: SourceTree) -> str:
    """The classification as text: path, components with their roles, settings, evidence; or the error."""
    try:
        repo = open_model(str(folder), source=source, require_index=False)
        plan = classify(repo, source, None)
    except OmniportError as error:
        return f"error: {error}\n".replace(str(folder), "MODEL")
    lines = [f"path: {plan.path}", f"pipeline: {plan.pipeline_class or '-'}"]
    lines += [
        f"component {c.name}: {c.library or '-'}.{c.class_name or '-'}, {c.role}: {c.why.reason}"
        for c in plan.components
    ]
    lines += [f"setting {key}: {json.dumps(value)}" for key, value in repo.index.settings.items()]
    lines += [f"because {why.reason}" for why in plan.why]
    return ("\n".join(lines) + "\n").replace(str(folder), "MODEL").replace(f"diffusers {source.version}", "diffusers")


@pytest.mark.parametrize("name", SHAPES)
def test_classification(
    name: str,
    tmp_path: Path,
    diffusers: SourceTree,
    golden: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a module of the repository was imported")

    monkeypatch.setattr("importlib.import_module", never)
    text = judged(written(tmp_path, SHAPES[name]), diffusers)
    golden(f"classify/{name}.golden", text)


def test_no_shape_is_taken_for_path_a_while_it_has_code_of_its_own(tmp_path: Path, diffusers: SourceTree) -> None:
    stock = {
        "single_files_beside_the_layout", "list_of_numbers",
        "list_of_two_numbers_and_text", "nulls", "settings", "underscore_keys", "many_encoders_and_transformers",
        "unet_in_place_of_the_transformer", "folder_missing", "folder_not_in_the_index",
    }  # fmt: skip
    found = {
        name
        for name, shape in SHAPES.items()
        if judged(written(tmp_path / name, shape), diffusers).startswith("path: path A")
    }
    assert found == stock


def test_every_error_names_the_file() -> None:
    goldens = Path(__file__).parents[2] / "fixtures" / "goldens" / "classify"
    errors = [text for file in goldens.glob("*.golden") if (text := file.read_text("utf-8")).startswith("error:")]
    assert len(errors) >= 18
    assert all(".json" in text for text in errors)


def test_code_of_the_repository_is_never_run(tmp_path: Path, diffusers: SourceTree) -> None:
    """Every Python file of the shapes raises when it is run; one that says so when it is imported left no mark."""
    mark = tmp_path / "mark"
    shape = SHAPES["custom_transformer_in_subfolder"]
    files = {
        name: f"open({str(mark)!r}, 'w')" if name.endswith(".py") else content for name, content in shape.files.items()
    }
    assert judged(written(tmp_path / "repo", Shape(shape.index, files)), diffusers).startswith("path: hybrid")
    assert not mark.exists()
