"""A generated port is clean under every rule, and each of its broken twins is caught by the rule it breaks."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from omniport.check.engine import check
from omniport.check.rules import rule_codes
from omniport.scaffold import scaffold
from tests.check.twins import TWINS


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The Python files of FLUX as a plugin, by name."""
    root = tmp_path_factory.mktemp("plugin")
    result = scaffold("diffusers:FluxPipeline", into=None, plugin=root, offline=True)
    return {
        Path(f.path).name: (root / f.path).read_text("utf-8")
        for f in result.files
        if f.path.endswith("_transformer.py") or Path(f.path).name.startswith("pipeline_")
    }


def codes(root: Path, files: dict[str, str], beside: dict[str, str]) -> set[str]:
    """The codes of what is found in the port, written into a tree with ``beside`` where that is given."""
    folder = root / "vllm_omni/diffusion/models/flux" if beside else root / "flux"
    written = {folder / name: text for name, text in files.items()} | {root / n: text for n, text in beside.items()}
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return {finding.code for finding in check([folder]).findings}


@pytest.fixture(scope="module")
def found_in_sound(
    generated: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[dict[str, str]], set[str]]:
    """The codes of what is found in the sound port with these files beside it; most twins have the same beside them."""
    known: dict[tuple[tuple[str, str], ...], set[str]] = {}

    def found(beside: dict[str, str]) -> set[str]:
        key = tuple(sorted(beside.items()))
        if key not in known:
            known[key] = codes(tmp_path_factory.mktemp("sound"), generated, beside)
        return known[key]

    return found


def test_a_generated_port_has_no_finding(generated: dict[str, str], tmp_path: Path) -> None:
    assert len(generated) == 2
    assert codes(tmp_path, generated, {}) == set()


def test_every_rule_has_a_broken_twin() -> None:
    assert set(TWINS) == set(rule_codes())


@pytest.mark.parametrize("code", TWINS)
def test_a_broken_twin_is_caught(
    generated: dict[str, str], found_in_sound: Callable[[dict[str, str]], set[str]], tmp_path: Path, code: str
) -> None:
    twin = TWINS[code]
    (name,) = [n for n in generated if twin.part in n]
    broken = twin.edit(generated[name])
    changed = ast.dump(ast.parse(broken)) != ast.dump(ast.parse(generated[name])) or broken != generated[name]
    assert changed or twin.broken_beside, "the twin is not broken"
    assert found_in_sound(twin.beside) == set()
    assert code in codes(tmp_path / "broken", {**generated, name: broken}, twin.broken_beside or twin.beside)
