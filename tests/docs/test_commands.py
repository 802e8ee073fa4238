"""Every command line of README and docs does what it stands there for; ``pages.json`` says what stands in for what."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.commands import ROOT, commands_of, pages, stray
from tests.support.hubserver import environment, serve
from tests.support.ports import installed_package

DATA: dict[str, Any] = json.loads((Path(__file__).parent / "pages.json").read_text())
WITH_COMMANDS = [p for p in pages() if commands_of(p.read_text("utf-8"))]
CUSTOM = {"~/model-code": "root_files", "~/sound-code": "ode"}


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with serve() as server:
        yield server.endpoint


def shell(command: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False
    )


def furnish(home: Path, text: str) -> None:
    """Put what the page's placeholders name where they say it is."""
    if "~/vllm-omni" in text:
        shutil.copytree(
            installed_package(), home / "vllm-omni" / "vllm_omni", ignore=shutil.ignore_patterns("__pycache__")
        )
    if "~/diffusers" in text:
        import importlib.util

        spec = importlib.util.find_spec("diffusers")
        assert spec is not None and spec.origin is not None
        (home / "diffusers" / "src").mkdir(parents=True)
        (home / "diffusers" / "src" / "diffusers").symlink_to(Path(spec.origin).parent)
    for name, fixture in CUSTOM.items():
        if name in text:
            shutil.copytree(ROOT / "fixtures" / "custom" / fixture, home / name.removeprefix("~/"))


def program_of(command: str) -> str | None:
    """The program of a command whose options alone are looked at."""
    fits = [p for p in DATA["options"]["programs"] if command == p or command.startswith(f"{p} ")]
    return max(fits, key=len) if fits else None


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_runs(page: Path, hub: str, tmp_path: Path) -> None:
    """In the order they stand in, in one empty home."""
    name, text = page.relative_to(ROOT).as_posix(), page.read_text("utf-8")
    commands = commands_of(text)
    home = tmp_path / "home"
    home.mkdir()
    furnish(home, "\n".join(commands))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    env = {**environment(hub, tmp_path), "HOME": str(home), "PATH": path, "PYTHONPATH": str(ROOT)}
    for command in DATA["before"].get(name, ()):
        assert shell(command, home, env).returncode == 0, command
    for command in commands:
        if command in DATA["instead"]:
            done, wanted = shell(DATA["instead"][command][0], ROOT, env), 0
        elif program := program_of(command):
            done, wanted = shell(f"{program} --help", ROOT, env), 0
            words = re.findall(r"(?<=\s)--[\w-]+", command.removeprefix(program))
            words += re.findall(r"--feature (\w+)", command)
            assert [word for word in words if word not in done.stdout] == [], command
        else:
            done, wanted = shell(command, home, env), int(command in DATA["findings"]["commands"])
        assert "Traceback" not in done.stderr, f"{command}\n{done.stderr}"
        assert done.returncode == wanted, f"{command}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_command_stands_where_it_is_not_run(page: Path) -> None:
    assert list(stray(page.read_text("utf-8"))) == []


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'src="([^"]+)"', text)
    local = [link for link in links if "://" not in link and not link.startswith("<")]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_what_the_data_names_stands_in_a_page() -> None:
    """No exception outlives its command."""
    found = {command for page in WITH_COMMANDS for command in commands_of(page.read_text("utf-8"))}
    assert set(DATA["instead"]) <= found
    assert set(DATA["findings"]["commands"]) <= found
    assert [p for p in DATA["options"]["programs"] if not any(program_of(c) == p for c in found)] == []
    assert [n for n in DATA["placeholders"] if not any(n in command for command in found)] == []
    assert set(DATA["before"]) <= {page.relative_to(ROOT).as_posix() for page in WITH_COMMANDS}


def test_commands_are_read_as_a_shell_reads_them() -> None:
    text = (
        "```bash\nomniport check my-port  # lint\nomniport x \\\n    --name y   # more\n            # a comment\n```\n"
    )
    assert commands_of(text) == ["omniport check my-port", "omniport x --name y"]
    assert commands_of("```toml\nomniport = 1\n```\n") == []
    assert list(stray("```\nomniport check\n# omniport\n```\n\n    make demo now\n")) == [
        "omniport check",
        "make demo now",
    ]


def test_a_command_that_fails_is_seen(hub: str, tmp_path: Path) -> None:
    """The broken twin: an option that is none, and one that the program's help does not know."""
    env = {**environment(hub, tmp_path), "PYTHONPATH": str(ROOT)}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", "")])
    assert shell("omniport check --no-such-option", tmp_path, env).returncode == 2
    assert "--no-such-option" not in shell("python -m omniport.corpus --help", ROOT, env).stdout
