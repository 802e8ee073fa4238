"""``OmniPlatform`` for CPU: gloo, SDPA, no streams, and the process's memory in place of the device's.

Every override answers something the base classes leave open: ``OmniPlatform`` raises NotImplementedError for devices
and attention, and vLLM's ``Platform.__getattr__`` answers None for memory functions that ``torch.cpu`` does not have.
"""

from __future__ import annotations

import os
import resource
from typing import Any

import torch
from vllm.platforms.cpu import CpuPlatform
from vllm_omni.platforms.interface import OmniPlatform, OmniPlatformEnum

from omniport.verify.cpu import stubs

MAX_RANKS = 8  # processes that may act as devices; vLLM-Omni only needs a number that is not smaller than the world


class CpuOmniPlatform(OmniPlatform, CpuPlatform):  # type: ignore[misc]
    """vLLM-Omni on the CPU, one process per rank."""

    _omni_enum = OmniPlatformEnum.OOT
    dist_backend = "gloo"

    @classmethod
    def get_torch_device(cls, local_rank: int | None = None) -> torch.device:
        return torch.device("cpu")

    @classmethod
    def get_device_count(cls) -> int:
        return MAX_RANKS

    @classmethod
    def get_device_version(cls) -> str | None:
        return None

    @classmethod
    def set_device(cls, device: torch.device) -> None:
        return None

    @classmethod
    def synchronize(cls) -> None:
        return None

    @classmethod
    def get_diffusion_attn_backend_cls(
        cls, selected_backend: str | None = None, head_size: int = 0, allow_trtllm_default: bool = False
    ) -> str:
        if selected_backend == "FLASH_ATTN":
            return "omniport.verify.cpu.flash.CpuFlashBackend"
        return "omniport.verify.cpu.attention.CpuSDPABackend"

    @classmethod
    def get_diffusion_worker_cls(cls) -> str:
        # The first call of every process that builds a worker, before it starts a thread.
        from omniport.verify.cpu import patch

        patch.apply()
        return str(super().get_diffusion_worker_cls())

    @classmethod
    def supports_torch_inductor(cls) -> bool:
        return False

    @classmethod
    def empty_cache(cls) -> None:
        return None

    @classmethod
    def reset_peak_memory_stats(cls, device: Any = None) -> None:
        return None

    @classmethod
    def max_memory_reserved(cls, device: Any = None) -> int:
        """Peak resident memory of the process in bytes."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    max_memory_allocated = memory_allocated = max_memory_reserved

    @classmethod
    def get_free_memory(cls, device: Any = None) -> int:
        """Free memory of the machine in bytes."""
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    @classmethod
    def get_device_memory(cls, device: Any = None) -> tuple[int, int]:
        """Free and total memory of the machine in bytes."""
        return cls.get_free_memory(), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


stubs.install()
