"""CPU platform for vLLM-Omni, found through its own entry points; it exists for verification, not for speed.

``pyproject.toml`` declares :func:`platform_plugin` in the group ``vllm_omni.platform_plugins`` and
:func:`general_plugin` in ``vllm_omni.general_plugins``.
"""

from __future__ import annotations

import os
from pathlib import Path

ASK = "OMNIPORT_CPU"
"""Environment variable: ``1`` asks for the CPU platform on any machine, ``0`` forbids it."""

PLATFORM = "omniport.verify.cpu.platform.CpuOmniPlatform"

# Device files that the drivers behind vLLM-Omni's own platforms create: CUDA, ROCm, Ascend, XPU, MUSA.
_ACCELERATORS = ("nvidiactl", "kfd", "davinci_manager", "dri/renderD*", "mtgpu*")


def platform_plugin() -> str | None:
    """Name the platform class, or None to leave the machine to another platform.

    vLLM-Omni calls this while it resolves its current platform, so vllm must not be imported here.
    """
    asked = os.environ.get(ASK)
    if asked is not None:
        return PLATFORM if asked == "1" else None
    dev = Path("/dev")
    return None if any(next(dev.glob(name), None) for name in _ACCELERATORS) else PLATFORM


def general_plugin() -> None:
    """Install the import stubs in every engine and worker process that runs on the CPU platform."""
    if platform_plugin() is not None:
        from omniport.verify.cpu import stubs

        stubs.install()
