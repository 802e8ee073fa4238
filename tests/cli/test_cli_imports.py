"""What the commands import: nothing heavy before it is needed, and never torch, diffusers or vllm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEVER = {"torch", "diffusers", "vllm", "vllm_omni", "transformers"}
LATE = {"libcst", "jinja2", "huggingface_hub"}
PROBE = """
import json, sys
from omniport.cli import app
try:
    app()
except SystemExit:
    pass
print("\\n@" + json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def imported(*arguments: str | Path) -> set[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROBE, *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout.rpartition("@")[2]))


@pytest.mark.parametrize("arguments", [("--version",), ("--help",)])
def test_help_imports_no_room_and_not_even_rich(arguments: tuple[str, ...]) -> None:
    assert imported(*arguments) & (NEVER | LATE | {"rich", "packaging", "ruff"}) == set()


@pytest.mark.parametrize("arguments", [("check",), ("explain", "OP101"), ("doctor",)])
def test_these_commands_import_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    port = tmp_path / "pipeline_x.py"
    port.write_text("import torch\ntorch.zeros(1, device='cuda')\n")
    if arguments == ("check",):
        arguments = ("check", str(port))
    assert imported(*arguments) & (NEVER | LATE) == set()


def test_the_probe_sees_imports() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    probe = PROBE.replace("from omniport.cli import app", "import jinja2\nfrom omniport.cli import app")
    done = subprocess.run(
        [sys.executable, "-c", probe], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert "jinja2" in done.stdout.rpartition("@")[2]
