"""OP701: code that runs on CUDA only."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, constant, dotted, keyword, last_name, walk

#: calls that upstream bans in favour of its platform layer or a device-typed generator (vllm-omni pre-commit, #6273)
_BANNED = frozenset(
    {
        "current_device",
        "device_count",
        "empty_cache",
        "get_device_capability",
        "get_device_name",
        "get_device_properties",
        "manual_seed",
        "manual_seed_all",
        "max_memory_allocated",
        "mem_get_info",
        "memory_allocated",
        "memory_reserved",
        "reset_peak_memory_stats",
        "set_device",
        "synchronize",
    }
)
_DEVICE_TAKERS = frozenset({"autocast", "device", "Generator", "to"})


class CudaOnly(Rule):
    """Code that runs on CUDA only.

    A literal ``"cuda"`` given as a device, ``.cuda()``, or one of the ``torch.cuda`` calls that vLLM-Omni replaces by
    its platform layer.  A function that asks first (``device.type == "cuda"``, ``torch.cuda.is_available()``, the
    platform layer) has made a choice and is not meant.

    Why: vLLM-Omni runs on ROCm, NPU, XPU and, with a platform plugin, CPU; the worker's device is not always
    ``cuda``.  Corrected after the merge in #1393, #2526, #3876, #1915, #5837 and #3949; #6273 rejects such calls.

    Fix: ``get_local_device()`` for the device, ``current_omni_platform`` for synchronize and empty_cache, and
    ``torch.Generator(device=...)`` in place of global seeds.
    """

    code = "OP701"
    name = "cuda-only"
    VALID = (
        """
        def __init__(self):
            self.device = get_local_device()
            current_omni_platform.synchronize()
        """,
        """
        def run(self, x):
            return fast(x) if x.device.type == "cuda" else slow(x)
        """,
        """
        def name(self):
            return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
        """,
        """
        def seed(self, value, device):
            return torch.Generator(device=device).manual_seed(value)
        """,
        """
        def rotate(self, x):
            with torch.amp.autocast("cuda", enabled=False):
                return x.float()
        """,
    )
    INVALID = (
        """
        def __init__(self):
            self.device = torch.device("cuda")
        """,
        """
        def seed(self, value):
            torch.cuda.manual_seed(value)
        """,
        """
        def run(self, x):
            return self.model.cuda()(x.to("cuda:0"))
        """,
        """
        def build(size):
            return torch.zeros(size, device="cuda")
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("cuda"):
                continue
            for call in file.nodes(ast.Call):
                found = list(self._call(file, call))
                if found and not _guarded(file, call):
                    yield from found

    def _call(self, file: SourceFile, call: ast.Call) -> Iterator[Finding]:
        name = dotted(call.func)
        if name.startswith("torch.cuda.") and last_name(call.func) in _BANNED:
            yield self.at(file, call, f"{name} works on CUDA only; use current_omni_platform")
        elif isinstance(call.func, ast.Attribute) and call.func.attr == "cuda" and not call.args:
            yield self.at(file, call, ".cuda() moves to a CUDA device only; use .to(device)")
        if last_name(call.func) == "autocast" and constant(keyword(call, "enabled")) is False:
            return  # switches off what nothing has switched on for another device
        first = call.args[0] if call.args and last_name(call.func) in _DEVICE_TAKERS else None
        given = [k.value for k in call.keywords if k.arg in ("device", "device_type", "map_location")]
        for value in (*given, *([first] if first is not None else [])):
            if _is_cuda(value):
                yield self.at(file, value, f"{ast.unparse(value)} names a CUDA device; use the worker's own")


def _guarded(file: SourceFile, node: ast.AST) -> bool:
    """Whether the function around a node asks which kind of device there is."""
    function = file.enclosing_function(node)
    for inner in walk(function) if function is not None else ():
        if isinstance(inner, ast.Compare) and any(_is_cuda(side) for side in (inner.left, *inner.comparators)):
            return True
        if dotted(inner) in ("torch.cuda.is_available", "current_omni_platform.is_cuda"):
            return True
    return False


def _is_cuda(node: ast.AST | None) -> bool:
    """Whether an expression is a literal CUDA device."""
    value = constant(node)
    return isinstance(value, str) and (value == "cuda" or value.startswith("cuda:"))
