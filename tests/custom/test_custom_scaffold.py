"""A port of a custom repository: its files, its counted gaps, and what it does without an absent package."""

from __future__ import annotations

import ast
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from omniport.check import api
from omniport.cli import app
from omniport.custom.into import scaffold_custom
from omniport.errors import OmniportError
from omniport.plan.todos import blocks, markers
from omniport.update import update
from tests.support.ports import copy_tree

FIXTURES = Path(__file__).parents[2] / "fixtures" / "custom"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return copy_tree(tmp_path / "tree")


def written(tree: Path, name: str) -> dict[str, str]:
    folder = tree / "vllm_omni" / "diffusion" / "models" / name
    return {path.name: path.read_text("utf-8") for path in sorted(folder.iterdir())}


#: repository -> the denoiser, where the reader rightly asks
REPOSITORIES = {
    "root_files": None,
    "fusion": None,
    "external": None,
    "packed": None,
    "unified": None,
    "ode": "sound/model.py:Tone",
    "mapped": None,
    "studio": None,
    "melody": None,
    "reel": None,
}


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_full_text(tree: Path, repository: str, golden: Callable[[str, str], None]) -> None:
    scaffold_custom("org/toy", FIXTURES / repository, into=tree, name="toy", backbone=REPOSITORIES[repository])
    for name, text in written(tree, "toy").items():
        golden(f"custom/{repository}/{name}.golden", text)


def test_gaps_are_in_the_plan_the_code_and_the_check(tree: Path) -> None:
    result = scaffold_custom("org/toy", FIXTURES / "fusion", into=tree, name="toy")
    subjects = sorted(todo.subject for todo in result.plan.todos)
    assert subjects == [
        "DECODE",
        "DENOISE",
        "DENOISE",
        "ENCODE_PROMPT",
        "LICENCE",
        "MEDIA",
        "REMAP",
        "REVISION",
    ]
    evidence = next(todo.why for todo in result.plan.todos if todo.subject == "DENOISE")
    assert (evidence.file, evidence.line > 0) == ("duet/engine.py", True)
    manifest = json.loads((tree / ".omniport" / "toy.json").read_text("utf-8"))
    assert len(manifest["todos"]) == 8
    port = tree / "vllm_omni" / "diffusion" / "models" / "toy"
    out = io.StringIO()
    options = api.Options(paths=(port,), select=("OP971",), output_format="json", cached=False)
    assert not api.run(options, out, io.StringIO())
    report = json.loads(out.getvalue())
    assert report["todos"] == {"left": 8, "blocking": 7}
    (loose,) = [f for f in report["findings"] if not f["blocking"]]
    assert loose["path"].endswith("examples/offline_inference/toy/download_toy.py") and "REVISION" in loose["message"]


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_plan_and_code_name_the_same_gaps(tree: Path, repository: str) -> None:
    result = scaffold_custom("org/toy", FIXTURES / repository, into=tree, name="toy", backbone=REPOSITORIES[repository])
    code = [tree / f.path for f in result.files if f.path.endswith(".py")]
    found = Counter(marker.identity for file in code for marker in markers(file.read_text("utf-8")))
    assert found == Counter(todo.subject for todo in result.plan.todos)


def test_a_port_whose_blocking_gaps_are_closed_passes_the_check(tree: Path) -> None:
    scaffold_custom("org/toy", FIXTURES / "external", into=tree, name="toy")
    port = tree / "vllm_omni" / "diffusion" / "models" / "toy"
    blocking = {found.identity for file in port.glob("*.py") for found in markers(file.read_text()) if found.identity}
    assert blocking > {i for i in blocking if blocks(i)} > {"DENOISE", "LICENCE"}
    for file in port.glob("*.py"):
        text = file.read_text("utf-8")
        for identity in (i for i in blocking if blocks(i)):
            text = text.replace(f"OMNIPORT-TODO({identity})", "done by hand")
        file.write_text(re.sub(r"raise NotImplementedError\(.*\)", "return []", text), "utf-8")
    out = io.StringIO()
    options = api.Options(paths=(port,), select=("OP971",), cached=False)
    assert api.run(options, out, io.StringIO())
    assert "3 TODOs left, none of them blocking" in out.getvalue()


def test_a_second_run_changes_nothing(tree: Path) -> None:
    scaffold_custom("org/toy", FIXTURES / "fusion", into=tree, name="toy")
    again = scaffold_custom("org/toy", FIXTURES / "fusion", into=tree, name="toy")
    assert {file.verb for file in again.files} == {"identical"}


def test_an_absent_package_is_said_when_it_is_used(tree: Path) -> None:
    scaffold_custom("org/toy", FIXTURES / "external", into=tree, name="toy")
    text = written(tree, "toy")["toy_transformer.py"]
    start, end = text.index("class MissingPackage"), text.index("class ", text.index("class MissingPackage") + 6)
    scope: dict[str, object] = {}
    exec(compile("from __future__ import annotations\n" + text[start:end], "toy", "exec"), scope)  # our own text
    with pytest.raises(ImportError, match="absent_rope is needed here and not installed"):
        scope["rotate"](1)  # type: ignore[operator]


def test_nothing_is_written_where_the_denoiser_must_be_asked(tree: Path) -> None:
    before = sorted(tree.rglob("*"))
    with pytest.raises(OmniportError, match="choose --backbone"):
        scaffold_custom("org/toy", FIXTURES / "ode", into=tree, name="toy")
    assert sorted(tree.rglob("*")) == before


def test_the_command_line(tree: Path) -> None:
    arguments = ["scaffold", "org/toy", "--source", str(FIXTURES / "fusion")]
    runner = CliRunner()
    assert runner.invoke(app, arguments).exit_code == 2  # needs --into
    assert runner.invoke(app, [*arguments, "--plugin", str(tree / "p")]).exit_code == 2
    done = runner.invoke(app, [*arguments, "--into", str(tree), "--name", "toy"])
    assert done.exit_code == 0
    assert "open TODOs   8" in done.output
    assert "8 TODOs left, 7 of them blocking: " in done.output
    assert done.output.rstrip().splitlines()[-1].startswith("next: omniport check ")
    for name, text in written(tree, "toy").items():
        ast.parse(text, name)


def test_an_update_brings_what_changed_in_the_code_and_keeps_hand_edits(tree: Path, tmp_path: Path) -> None:
    scaffold_custom("org/toy", FIXTURES / "root_files", into=tree, name="toy")
    with pytest.raises(OmniportError, match="give that code with --source DIR"):
        update(tree, name="toy")
    port = tree / "vllm_omni" / "diffusion" / "models" / "toy" / "toy_transformer.py"
    port.write_text(port.read_text("utf-8") + "\n\nBY_HAND = 1\n", "utf-8")
    newer = tmp_path / "newer"
    shutil.copytree(FIXTURES / "root_files", newer)
    for file in newer.rglob("*.py"):
        file.write_text(re.sub(r"\bnn\.SiLU\(\)", "nn.GELU()", file.read_text("utf-8")), "utf-8")
    assert "nn.SiLU()" in port.read_text("utf-8")
    result = update(tree, name="toy", source=newer)
    text = port.read_text("utf-8")
    assert not result.conflicts
    assert "nn.GELU()" in text and "nn.SiLU()" not in text and text.endswith("BY_HAND = 1\n")
    assert {f.verb for f in update(tree, name="toy", source=newer).files} == {"identical"}
