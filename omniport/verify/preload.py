"""What the heavy process has ready before it forks, so that no fork has to: modules, tables, bytecode.

Everything that checks import, except the port: its modules are imported in the forks only.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

from omniport.verify.port import Port

PRELOAD = (
    "vllm_omni.diffusion.worker.diffusion_worker",
    "vllm_omni.diffusion.registry",
    "transformers",
    "diffusers",
    "safetensors.torch",
    "omniport.verify.block_outputs",
    "omniport.verify.cpu.attention",
    "omniport.verify.cpu.patch",
    "omniport.verify.preparing",
    "omniport.verify.probes",
    "omniport.verify.proving",
)
# What the libraries import on first use, which would be once per fork; a release may have it elsewhere.
ON_FIRST_USE = (
    "diffusers.guiders",
    "numpy.ctypeslib",
    "PIL.ImageFile",
    "setproctitle",
    "sympy.physics.units",
    "torch._dynamo.backends.cudagraphs",
    "torch._dynamo.backends.distributed",
    "torch._dynamo.backends.inductor",
    "torch._dynamo.backends.onnxrt",
    "torch._dynamo.backends.tensorrt",
    "torch._dynamo.backends.torchxla",
    "torch._dynamo.backends.tvm",
    "torch._dynamo.convert_frame",
    "torch._dynamo.dce_extra_outputs",
    "torch._export.passes._node_metadata_hook",
    "torch._higher_order_ops.passes.inline_invoke_subgraph",
    "torch._subclasses.schema_check_mode",
    "torch.export._trace",
    "torch.profiler._cupti_monitor",
    "torch.utils.serialization",
    "vllm_omni.diffusion.attention.backends.trtllm_calibration",
    "vllm_omni.diffusion.diffusion_engine",
    "vllm_omni.diffusion.distributed.cfg_parallel",
    "vllm_omni.diffusion.distributed.pipeline_parallel",
    "vllm_omni.diffusion.model_loader.host_weights.contracts",
    "vllm_omni.diffusion.model_loader.hub_prefetch",
    "vllm_omni.diffusion.models.progress_bar",
    "vllm_omni.model_extras",
    "vllm_omni.quantization.int8_config",
)
# Tables that the libraries make on first use, and what makes them.
TABLES = (
    ("transformers.conversion_mapping", "get_checkpoint_conversion_mapping", ("",)),
    ("torch._dynamo.trace_rules", "get_torch_obj_rule_map", ()),
)

LIBRARIES = ("diffusers", "torch", "transformers", "vllm", "vllm_omni")
MODELS = "vllm_omni.diffusion.models."
"""Where ports live: what a port takes from there may be a port, too."""


def on_first_use() -> None:
    """Import what the libraries import on first use, and make the tables that they make then."""
    for name in ON_FIRST_USE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name, function, arguments in TABLES:
        with contextlib.suppress(ImportError, AttributeError):
            getattr(importlib.import_module(name), function)(*arguments)


def of_ports(ports: Iterable[Port]) -> None:
    """Import the modules of the libraries that the source of the ports names; what fails does so again in a fork."""
    names = {name for port in ports for path in port.sources() for name in library_modules(path)}
    for name in sorted(names):
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def library_modules(path: Path) -> set[str]:
    """Modules of :data:`LIBRARIES` that a file of Python imports from, wherever in it; {} of anything else.

    A name that is imported may be a module or not: importing its parent is what counts.
    """
    if path.suffix != ".py":
        return set()
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name for name in found if name.partition(".")[0] in LIBRARIES and not name.startswith(MODELS)}


def keep_bytecode(folder: Path) -> None:
    """From now on keep the bytecode of what is imported in ``folder``: the first fork compiles the port for all.

    The caches beside the files, which the environment lets nobody write to, are not read any more.
    """
    sys.pycache_prefix = str(folder)
    sys.dont_write_bytecode = False
