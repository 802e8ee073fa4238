"""Packages read as text."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from omniport.errors import OmniportError
from omniport.source.tree import SourceTree


def test_finds_the_package_in_a_folder(reference: SourceTree) -> None:
    assert (reference.package, reference.version) == ("diffusers", "0.0.1")


def test_a_folder_without_the_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OmniportError, match="no package diffusers here"):
        SourceTree.locate(tmp_path)


def test_an_import_is_followed_to_its_definition(reference: SourceTree) -> None:
    found = reference.resolve("diffusers.models.transformers.transformer_mini", "FeedForward")
    assert found is not None
    assert (found[0].name, found[1]) == ("diffusers.models.layers", "FeedForward")


def test_a_name_from_outside_is_not_resolved(reference: SourceTree) -> None:
    assert reference.resolve("diffusers.models.layers", "torch") is None


def test_find_class_names_the_unknown(reference: SourceTree) -> None:
    with pytest.raises(OmniportError, match="defines no class NoSuchModel"):
        reference.find_class("NoSuchModel")


@pytest.mark.parametrize("name", ["../x", "a.b", "", "1a", "x y"])
def test_find_class_takes_class_names_only(reference: SourceTree, name: str) -> None:
    with pytest.raises(OmniportError, match="is no class name"):
        reference.find_class(name)


def test_module_names_cannot_leave_the_package(reference: SourceTree) -> None:
    assert reference.module("os") is None
    assert reference.module("diffusers.models...tree") is None


def test_lazy_packages_resolve(diffusers: SourceTree) -> None:
    found = diffusers.resolve("diffusers.pipelines.flux.pipeline_flux", "AutoencoderKL")
    assert found is not None
    assert found[0].file == "diffusers/models/autoencoders/autoencoder_kl.py"


def test_a_syntax_error_is_one_message(tmp_path: Path) -> None:
    package = tmp_path / "diffusers"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "1"\n')
    (package / "bad.py").write_text("class A(:\n")
    module = SourceTree.locate(tmp_path).module("diffusers.bad")
    assert module is not None
    with pytest.raises(OmniportError, match=r"diffusers/bad\.py:1: not valid Python"):
        _ = module.ast


def test_the_version_of_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SourceTree.locate().version == metadata.version("diffusers")
    (tmp_path / "pack_without_text").mkdir()
    (tmp_path / "pack_without_text" / "__init__.py").write_text("")
    (tmp_path / "pack_without_text-1.5.dist-info").mkdir()
    (tmp_path / "pack_without_text-1.5.dist-info" / "METADATA").write_text("Name: pack-without-text\nVersion: 1.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert SourceTree.locate(package="pack_without_text").version == "1.5"
    (tmp_path / "pack_without_text" / "__init__.py").write_text('__version__ = "2.0"\n')
    assert SourceTree.locate(package="pack_without_text").version == "2.0"
