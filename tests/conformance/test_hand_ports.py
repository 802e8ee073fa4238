"""Where hand-written ports are wrong: the generated port equals diffusers, and with the same mistake in it does not."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omniport.corpus.pipeline_run import job_of, write_transformers
from omniport.corpus.pipeline_write import Written, finish, write
from omniport.corpus.produce import MODELS, fresh_tree
from omniport.corpus.results import StageResult
from omniport.corpus.run import verify_ports
from tests.conformance.cases import CASES, Case

pytestmark = pytest.mark.verify


def _broken(tree: Path, port: str, twin: str, case: Case) -> None:
    """A copy of the port ``port`` with the mistake of ``case``, as the port ``twin``."""
    source, target = tree / MODELS / port, tree / MODELS / twin
    shutil.copytree(source, target)
    (target / f"{port}_transformer.py").rename(target / f"{twin}_transformer.py")
    (target / f"pipeline_{port}.py").rename(target / f"pipeline_{twin}.py")
    file = target / (f"pipeline_{twin}.py" if case.twin_in == "pipeline" else f"{twin}_transformer.py")
    old, new = case.twin
    text = file.read_text("utf-8")
    assert old in text, f"nothing in the port of {case.pipeline} is {old}"
    file.write_text(text.replace(old, new), "utf-8")
    pipeline = target / f"pipeline_{twin}.py"
    text = pipeline.read_text("utf-8")
    pipeline.write_text(text.replace(f".{port}_transformer", f".{twin}_transformer"), "utf-8")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, StageResult]]:
    tree = tmp_path_factory.mktemp("conformance") / "tree"
    package = importlib.util.find_spec("vllm_omni")
    assert package is not None and package.submodule_search_locations
    fresh_tree(Path(package.submodule_search_locations[0]), tree)
    ports = {name: write(None, name) for name in dict.fromkeys(c.pipeline for c in CASES.values())}
    assert not [w.stages for w in ports.values() if w.code is None]
    finish(tree, ports)
    assert write_transformers(tree, ports, None) == {}
    jobs = []
    for number, (name, case) in enumerate(CASES.items()):
        written = ports[case.pipeline]
        twin = replace(written, port=f"{written.port}_{number}")
        _broken(tree, written.port, twin.port, case)
        jobs.append(
            {
                "key": name,
                "reference": written.module,
                "port": _job(written, f"case {number}"),
                "twin": _job(twin, f"case {number}"),
            }
        )
    found, _ = verify_ports(tree, jobs, runner="tests.conformance.runner")
    return {key: {s.stage: s for s in stages} for key, stages in found.items()}


def _job(written: Written, key: str) -> dict[str, Any]:
    job = {**job_of(written), "key": key, "features": ()}
    job.pop("reference")
    return job


@pytest.mark.parametrize("name", CASES)
def test_the_generated_port_equals_diffusers(results: dict[str, dict[str, StageResult]], name: str) -> None:
    sound = results[name]["sound"]
    assert (sound.state, sound.reason) == ("ok", "")


@pytest.mark.parametrize("name", CASES)
def test_the_mistake_of_the_hand_written_port_is_caught(results: dict[str, dict[str, StageResult]], name: str) -> None:
    twin = results[name]["twin"]
    assert twin.state == "failed"
    assert CASES[name].told in twin.reason
