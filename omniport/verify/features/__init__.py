"""The features ``verify`` can prove, one module each.  :data:`FEATURES` names them in the order they run.

Each module has ``run(lab) -> Finding``; it imports torch and vLLM-Omni only inside functions that run in a fork.
"""

from __future__ import annotations

FEATURES = ("import", "load", "parity", "tp2", "sp2", "cfg2", "e2e")

MODULES = {name: f"omniport.verify.features.{'import_' if name == 'import' else name}" for name in FEATURES}
