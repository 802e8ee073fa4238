from pathlib import Path

import pytest

from omniport.errors import OmniportError
from omniport.hub.names import check_revision, is_identifier, is_plain_path, is_repo_id, parse_model


@pytest.mark.parametrize(
    ("model", "form", "value"),
    [
        ("black-forest-labs/FLUX.1-dev", "hub", "black-forest-labs/FLUX.1-dev"),
        ("Wan-AI/Wan2.2-T2V-A14B-Diffusers", "hub", "Wan-AI/Wan2.2-T2V-A14B-Diffusers"),
        ("diffusers:FluxPipeline", "diffusers", "FluxPipeline"),
    ],
)
def test_form(model: str, form: str, value: str) -> None:
    reference = parse_model(model)
    assert (reference.form, reference.value) == (form, value)


def test_existing_folder_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse_model("org/name").form == "local"
    assert parse_model("org/name/").form == "local"
    assert parse_model("org/other").form == "hub"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("", "MODEL is empty"),
        ("gpt2", "no Hub id either"),
        ("a/b/c", "no Hub id either"),
        ("org/na--me", "no Hub id either"),
        ("org/..", "no Hub id either"),
        ("org/name.git", "no Hub id either"),
        ("org/" + "n" * 100, "no Hub id either"),
        ("./missing", "no such folder"),
        ("/missing/folder", "no such folder"),
        ("diffusers:", "is no class name"),
        ("diffusers:Flux-Pipeline", "is no class name"),
        ("diffusers:os.system", "is no class name"),
    ],
)
def test_refused(model: str, message: str) -> None:
    with pytest.raises(OmniportError, match=message):
        parse_model(model)


def test_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(OmniportError, match="a file, not a folder"):
        parse_model(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/3", "fp16", "0" * 40])
def test_revision(revision: str) -> None:
    assert check_revision(revision) == revision


@pytest.mark.parametrize("revision", ["", "../main", "a b", "/main", "main/", "a//b", "-x", "x" * 300])
def test_revision_refused(revision: str) -> None:
    with pytest.raises(OmniportError, match="no branch, tag or commit"):
        check_revision(revision)


def test_predicates() -> None:
    assert is_repo_id("a/b") and not is_repo_id("a/.b") and not is_repo_id("a\n/b")
    assert is_identifier("text_encoder_2")
    for name in ("class", "__init__", "a.b", "a/b", "ä", "", None, 3, "a" * 101):
        assert not is_identifier(name)
    assert is_plain_path("a/b.json")
    for path in ("", "/a", "../a", "a/../b", "a\\b", "a//b"):
        assert not is_plain_path(path)
