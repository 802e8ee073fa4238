"""Finding a port by its manifest; mistakes give one clear message."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from omniport import cli
from omniport.errors import OmniportError
from omniport.verify import api
from omniport.verify.api import make_job, run_jobs, verify
from omniport.verify.features import FEATURES
from omniport.verify.port import find_port
from omniport.verify.results import VerifyReport

from .conftest import manifest, write_manifest


def test_a_port_of_the_installed_package(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "flux", manifest())
    port = find_port(tmp_path)
    assert (port.kind, port.paths, port.name, port.manifest_path) == ("installed", (), "flux", path.resolve())
    assert find_port(path) == port
    assert port.evidence_path == path.resolve().with_name("flux.evidence.json")


def test_a_port_in_a_tree(tmp_path: Path) -> None:
    (tmp_path / "vllm_omni").mkdir()
    (tmp_path / "vllm_omni" / "__init__.py").touch()
    write_manifest(tmp_path, "flux", manifest())
    port = find_port(tmp_path)
    assert (port.kind, port.paths) == ("tree", (tmp_path.resolve(),))


@pytest.mark.parametrize("base", [".", "src"])
def test_a_plugin(tmp_path: Path, base: str) -> None:
    package = tmp_path / base / "my_flux"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    write_manifest(tmp_path, "flux", manifest(pipeline_module="my_flux.pipeline_flux"))
    port = find_port(tmp_path)
    assert (port.kind, port.paths) == ("plugin", ((tmp_path / base).resolve(),))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reading pyproject.toml needs tomllib")
@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ('[project.entry-points."vllm_omni.general_plugins"]\nflux = "my_flux:register"\n', "my_flux:register"),
        ('[project.entry-points."vllm_omni.general_plugins"]\nother = "other:register"\n', None),
        ('[project.entry-points."vllm.general_plugins"]\nflux = "my_flux:register"\n', None),
        ("[project]\n", None),
        ("not toml", None),
    ],
)
def test_the_entry_point_of_a_plugin(tmp_path: Path, text: str, entry: str | None) -> None:
    (tmp_path / "my_flux").mkdir()
    (tmp_path / "my_flux" / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text(text)
    write_manifest(tmp_path, "flux", manifest(pipeline_module="my_flux.pipeline_flux"))
    assert find_port(tmp_path).entry_point == entry


def test_several_ports_need_a_name(tmp_path: Path) -> None:
    for name in ("flux", "sd3"):
        write_manifest(tmp_path, name, manifest(name))
    (tmp_path / ".omniport" / "flux.evidence.json").write_text("{}")
    with pytest.raises(OmniportError, match=r"holds several ports \(flux, sd3\); choose one with --name"):
        find_port(tmp_path)
    assert find_port(tmp_path, "sd3").name == "sd3"
    with pytest.raises(OmniportError, match="no port named 'wan'; it holds flux, sd3"):
        find_port(tmp_path, "wan")


def test_no_port(tmp_path: Path) -> None:
    with pytest.raises(OmniportError, match="holds no port: .*omniport scaffold MODEL --into"):
        find_port(tmp_path)
    with pytest.raises(OmniportError, match="absent: no such folder"):
        find_port(tmp_path / "absent")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"port": {}}', '{"port": {"architecture": 1}, "model_index": {}}'])
def test_a_damaged_manifest(tmp_path: Path, text: str) -> None:
    path = write_manifest(tmp_path, "flux", {})
    path.write_text(text)
    with pytest.raises(OmniportError, match=r"flux\.json.*: "):
        find_port(tmp_path)


def test_a_missing_package(tmp_path: Path) -> None:
    write_manifest(tmp_path, "flux", manifest(pipeline_module="my_flux.pipeline_flux"))
    with pytest.raises(OmniportError, match="holds no package 'my_flux'"):
        find_port(tmp_path)


def test_a_file_that_is_no_manifest(tmp_path: Path) -> None:
    other = tmp_path / "model_index.json"
    other.write_text(json.dumps(manifest()))
    with pytest.raises(OmniportError, match="is no manifest"):
        find_port(other)


def test_the_digest_follows_source_and_configs(tmp_path: Path) -> None:
    (tmp_path / "my_flux").mkdir()
    source = tmp_path / "my_flux" / "pipeline_flux.py"
    for file in (tmp_path / "my_flux" / "__init__.py", source):
        file.write_text("a = 1\n")
    data = manifest(pipeline_module="my_flux.pipeline_flux", transformer_module="my_flux.pipeline_flux")
    write_manifest(tmp_path, "flux", data)
    first = find_port(tmp_path).digest()
    assert find_port(tmp_path).digest() == first
    source.write_text("a = 2\n")
    second = find_port(tmp_path).digest()
    write_manifest(tmp_path, "flux", {**data, "configs": {}})
    assert len({first, second, find_port(tmp_path).digest()}) == 3


def test_an_unknown_feature(tmp_path: Path) -> None:
    write_manifest(tmp_path, "flux", manifest())
    names = ", ".join(FEATURES)
    assert names.startswith("import, load, parity, flash, tp2, tp4, sp2, ring2, cfg2, pp2, hsdp2, layerwise")
    with pytest.raises(OmniportError, match=f"unknown feature speed; choose from {names}"):
        verify(tmp_path, features=("parity", "speed"))
    with pytest.raises(OmniportError, match=r"unknown feature \(none\)"):
        verify(tmp_path, features=())


def test_features_run_in_their_own_order(tmp_path: Path) -> None:
    write_manifest(tmp_path, "flux", manifest())
    job = make_job(tmp_path, ("e2e", "import"))
    assert job.features == ("import", "e2e")
    assert job.command.endswith("--feature import,e2e")


@pytest.mark.parametrize(("features", "name"), [(None, None), (("e2e", "import"), None), (("parity",), "flux")])
def test_the_recorded_command_is_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, features: tuple[str, ...] | None, name: str | None
) -> None:
    write_manifest(tmp_path, "flux", manifest())
    called: dict[str, Any] = {}

    def stand_in(port: Path, **options: Any) -> VerifyReport:
        called.update(options, port=port)
        return VerifyReport("flux", ".", (), 0.0)

    monkeypatch.setattr(api, "verify", stand_in)
    command = make_job(tmp_path, features, name).command
    CliRunner().invoke(cli.app, shlex.split(command)[1:])
    assert called["port"] == tmp_path and called["name"] == name
    assert make_job(tmp_path, called["features"]).features == make_job(tmp_path, features).features


def test_a_missing_environment_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_manifest(tmp_path, "flux", manifest())
    monkeypatch.setattr(api, "PACKAGES", {"no_such_package_here": "some-package==1.0"})
    with pytest.raises(OmniportError, match="verify needs packages that are not installed: some-package==1.0"):
        verify(tmp_path)
    assert not list((tmp_path / ".omniport").glob("*.evidence.json"))


def test_ports_of_different_trees_do_not_share_a_process(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "vllm_omni").mkdir(parents=True)
        (tmp_path / name / "vllm_omni" / "__init__.py").touch()
        write_manifest(tmp_path / name, "flux", manifest())
    with pytest.raises(OmniportError, match="different trees"):
        run_jobs([make_job(tmp_path / name, None) for name in ("a", "b")])
