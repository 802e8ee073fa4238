"""The features ``verify`` can prove, one module each.  :data:`FEATURES` names them in the order they run.

Each module has ``run(lab) -> Finding``; it imports torch and vLLM-Omni only inside functions that run in a fork.
"""

from __future__ import annotations

FEATURES = (
    "import",
    "load",
    "parity",
    "flash",
    "tp2",
    "tp4",
    "sp2",
    "ring2",
    "cfg2",
    "pp2",
    "hsdp2",
    "layerwise",
    "offload",
    "compile",
    "cache",
    "lora",
    "quant",
    "e2e",
)

_NAMES = {"import": "import_", "compile": "compile_"}
MODULES = {name: f"omniport.verify.features.{_NAMES.get(name, name)}" for name in FEATURES}
