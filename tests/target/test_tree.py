"""What is a target, and what is not."""

import importlib.util
import os
from pathlib import Path

import pytest

from omniport.errors import OmniportError
from omniport.target.features import DEFAULT
from omniport.target.tree import installed_target, open_target
from tests.support.ports import copy_tree, installed_package


def test_a_folder_with_the_package_the_package_and_a_link(tmp_path: Path):
    root = copy_tree(tmp_path / "a tree")
    target = open_target(root)
    assert (target.root, target.package) == (root, root / "vllm_omni")
    assert target.features.plugin_register and not target.assumed and target.evidence
    assert "FluxPipeline" in target.registry.models
    assert open_target(root / "vllm_omni") == target
    (tmp_path / "link").symlink_to(root)
    assert open_target(tmp_path / "link", writable=True).registry == target.registry


def test_the_version_is_what_the_tree_says(tmp_path: Path):
    root = copy_tree(tmp_path / "t")
    for file in ("_version.py", "version.py"):
        (root / "vllm_omni" / file).unlink()
    assert open_target(root).version == "unknown"
    (root / "vllm_omni" / "version.py").write_text('__version__ = "9.9.dev1+g12"\n')
    assert open_target(root).version == "9.9.dev1+g12"


def test_what_is_no_tree(tmp_path: Path):
    with pytest.raises(OmniportError, match="no such folder"):
        open_target(tmp_path / "nowhere")
    (tmp_path / "vllm_omni").mkdir()
    with pytest.raises(OmniportError, match="looked for vllm_omni/diffusion/registry.py"):
        open_target(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OmniportError, match="no vLLM-Omni tree"):
        open_target(tmp_path / "file")


def test_an_unwritable_tree_is_refused_when_it_is_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = copy_tree(tmp_path / "t")
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "models" and real(path, mode))
    with pytest.raises(OmniportError, match="models: no permission to write"):
        open_target(root, writable=True)
    assert open_target(root).package


def test_the_installed_one_is_found_without_importing_it():
    package = installed_package()
    target = installed_target()
    assert target.package == package and not target.assumed


def test_without_one_the_newest_generation_is_assumed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    target = installed_target()
    assert (target.package, target.assumed, target.features) == (None, True, DEFAULT)
    assert target.registry.models == {} and target.evidence[0].why.reason
