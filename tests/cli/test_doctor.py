"""``doctor`` says what is there without importing it, and wants what its own metadata want."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from omniport import cli, doctor
from omniport.doctor import PACKAGES, Need, examine, requirements, to_json, to_text

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def declared(key: str) -> set[str]:
    """The packages of one list of requirements in pyproject.toml (tomllib is not in Python 3.10)."""
    found = re.search(rf"^{key} = \[\n(.*?)^\]", PYPROJECT.read_text("utf-8"), re.M | re.S)
    assert found is not None
    return {Requirement(text).name for text in re.findall(r'^\s*"([^"]+)"', found.group(1), re.M)}


def listed(*groups: str) -> set[str]:
    return {package for group, package, _, _ in PACKAGES if group in groups}


def test_every_requirement_is_listed_with_its_purpose() -> None:
    assert listed(doctor.BASE, "all") == declared("dependencies")
    assert listed(doctor.VERIFY) >= declared("verify")
    assert listed(doctor.VERIFY) >= {"vllm", "vllm-omni"}  # no extra can name them: the build depends on the machine


REQUIRES = [
    "diffusers>=0.36",
    "huggingface_hub>=1.0",
    "libcst>=1.8",
    'transformers<5.15,>=5.13; extra == "verify"',
    'diffusers==0.40.0; extra == "verify"',
    'pytest>=8; extra == "dev"',
]


def test_versions_come_from_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIRES if name == "omniport" else None)
    assert requirements() == {
        (doctor.BASE, "diffusers"): ">=0.36",
        (doctor.BASE, "huggingface-hub"): ">=1.0",
        (doctor.BASE, "libcst"): ">=1.8",
        (doctor.VERIFY, "transformers"): "<5.15,>=5.13",
        (doctor.VERIFY, "diffusers"): "==0.40.0",
    }


def test_without_metadata_any_version_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert requirements() == {}
    assert {n.wanted for n in examine() if n.package != "python"} == {""}


def test_versions_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIRES)
    found = {"diffusers": "0.35.0", "transformers": "5.20", "torch": None}
    monkeypatch.setattr(doctor, "_installed", lambda package, module: found.get(package, "99"))
    states = {(n.package, n.wanted): n.ok for n in examine()}
    assert states[("diffusers", ">=0.36")] is False
    assert states[("diffusers", "==0.40.0")] is False
    assert states[("transformers", "<5.15,>=5.13")] is False
    assert states[("torch", "")] is False
    assert states[("vllm", "")] is True
    assert states[("libcst", ">=1.8")] is True
    assert states[("huggingface_hub", ">=1.0")] is True


def test_a_module_that_is_not_there_is_missing_whatever_the_metadata_say() -> None:
    assert doctor._installed("typer", "no_such_module") is None
    assert doctor._installed("no-such-distribution", "json") == "unknown"


NEEDS = (
    Need("all", "typer", ">=0.16", "command line", "0.20", True),
    Need(doctor.BASE, "libcst", ">=1.8", "rewriting", "1.9", True),
    Need(doctor.VERIFY, "torch", "", "running", None, False),
)


def test_the_text_says_which_commands_can_run() -> None:
    lines = to_text(NEEDS).splitlines()
    assert "check, explain: ready" in lines
    assert "scaffold, plan: ready" in lines
    assert "verify: needs torch" in lines
    assert lines[-1].startswith("next: `make setup`")
    assert not any(line.startswith("next:") for line in to_text(NEEDS[:2]).splitlines())
    assert any(line.split()[:2] == ["--", "torch"] and "missing" in line for line in lines)


def test_the_json_holds_every_need() -> None:
    data = json.loads(to_json(NEEDS))
    assert data["schema"] == 1 and [n["package"] for n in data["needs"]] == ["typer", "libcst", "torch"]


@pytest.mark.parametrize(("needs", "code"), [(NEEDS, 1), (NEEDS[:2], 0)])
def test_the_exit_code_says_whether_every_command_can_run(
    monkeypatch: pytest.MonkeyPatch, needs: tuple[Need, ...], code: int
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: needs)
    assert CliRunner().invoke(cli.app, ["doctor"]).exit_code == code
    assert CliRunner().invoke(cli.app, ["doctor", "--json"]).exit_code == code
