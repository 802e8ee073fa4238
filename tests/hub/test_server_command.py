"""``python -m tests.support.hubserver --exec``: what ``make demo`` uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVER = [sys.executable, "-m", "tests.support.hubserver"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, "PYTHONPATH": paths, "HF_TOKEN": "hf_secret"}
    return subprocess.run([*SERVER, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


def test_runs_a_command_against_the_server() -> None:
    code = (
        "import os; from omniport.hub import open_model; from omniport.source.tree import SourceTree\n"
        "assert 'HF_TOKEN' not in os.environ and not os.listdir(os.path.dirname(os.environ['HF_HOME']))\n"
        "repo = open_model('black-forest-labs/FLUX.1-dev', source=SourceTree.locate())\n"
        "print(repo.index.pipeline_class, len(repo.weights('transformer')))"
    )
    reply = run("--exec", sys.executable, "-c", code)
    assert (reply.returncode, reply.stdout) == (0, "FluxPipeline 1160\n"), reply.stderr


def test_passes_the_exit_status_on() -> None:
    assert run("--exec", sys.executable, "-c", "raise SystemExit(7)").returncode == 7


def test_usage() -> None:
    reply = run()
    assert reply.returncode == 2 and "--exec CMD" in reply.stderr
