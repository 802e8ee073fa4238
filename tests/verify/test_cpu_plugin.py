"""The CPU platform answers only where it should, and asking it imports neither vllm nor torch."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from omniport.verify import cpu
from omniport.verify.cpu import stubs


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /dev without accelerators."""
    monkeypatch.delenv(cpu.ASK, raising=False)
    monkeypatch.setattr(cpu, "Path", lambda _: tmp_path)
    return tmp_path


def test_a_machine_without_accelerator_gets_the_cpu(dev: Path) -> None:
    (dev / "null").touch()
    assert cpu.platform_plugin() == "omniport.verify.cpu.platform.CpuOmniPlatform"


@pytest.mark.parametrize("device", ["nvidiactl", "kfd", "davinci_manager", "dri/renderD128", "mtgpu0"])
def test_an_accelerator_is_left_to_its_own_platform(dev: Path, device: str) -> None:
    (dev / device).parent.mkdir(exist_ok=True)
    (dev / device).touch()
    assert cpu.platform_plugin() is None


def test_asking_decides(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (dev / "nvidiactl").touch()
    monkeypatch.setenv(cpu.ASK, "1")
    assert cpu.platform_plugin() is not None
    (dev / "nvidiactl").unlink()
    monkeypatch.setenv(cpu.ASK, "0")
    assert cpu.platform_plugin() is None


def test_the_answer_needs_no_import() -> None:
    code = (
        "import sys, os; os.environ['OMNIPORT_CPU'] = '1'\n"
        "from omniport.verify.cpu import platform_plugin\n"
        "assert platform_plugin()\n"
        "print([m for m in ('torch', 'vllm', 'vllm_omni', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_command_side_imports_nothing_heavy() -> None:
    code = (
        "import sys, omniport.verify.api, omniport.report.verify_table\n"
        "print([m for m in ('torch', 'vllm', 'vllm_omni', 'diffusers', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_entry_points_name_what_exists() -> None:
    platform = {e.name: e.value for e in entry_points(group="vllm_omni.platform_plugins")}
    general = {e.name: e.value for e in entry_points(group="vllm_omni.general_plugins")}
    assert platform["omniport_cpu"] == "omniport.verify.cpu:platform_plugin"
    assert general["omniport_cpu_general"] == "omniport.verify.cpu:general_plugin"


def test_a_stub_can_be_imported_and_not_used() -> None:
    finder = stubs.StubFinder(frozenset({"no_such_vision_package"}))
    sys.meta_path.append(finder)
    try:
        from no_such_vision_package.transforms import functional  # type: ignore[import-not-found]

        with pytest.raises(
            ImportError, match="no_such_vision_package.transforms.functional.resize: the package is not installed"
        ):
            functional.resize(None, 3)
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n in sys.modules if n.startswith("no_such_vision_package")]:
            del sys.modules[name]


def test_a_stub_leaves_other_packages_alone() -> None:
    assert stubs.StubFinder(frozenset({"torchvision"})).find_spec("torchvision_extra") is None
