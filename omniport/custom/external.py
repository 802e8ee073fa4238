"""Imports of packages that vLLM-Omni does not bring: a port imports without them, and says what to install when used.

The registry swallows whatever a module raises on import and reports an unknown model, so an absent package must not
raise there (rule OP158).
"""

from __future__ import annotations

import sys

from omniport.custom.dependencies import BROUGHT
from omniport.custom.slice import Foreign
from omniport.plan.custom import Dependency

STAND_IN = '''
class MissingPackage:
    """Stands for what an absent package would give; using it says what to install."""

    def __init__(self, package: str, install: str):
        self._message = f"{package} is needed here and not installed: {install}"

    def __call__(self, *args, **kwargs):
        raise ImportError(self._message)

    def __getattr__(self, name: str):
        raise ImportError(self._message)
'''


def import_lines(foreign: tuple[Foreign, ...], dependencies: tuple[Dependency, ...]) -> tuple[str, str]:
    """Plain imports, and the guarded ones with what stands in for them (empty if there are none)."""
    plain = sorted({f.line() for f in foreign if brought(f)}, key=lambda line: (line.startswith("from"), line))
    guarded = [f for f in foreign if not brought(f)]
    if not guarded:
        return "\n".join(plain), ""
    known = {d.name: d for d in dependencies}
    blocks = [STAND_IN]
    for item in sorted(guarded, key=lambda f: f.name):
        package = item.module.split(".")[0]
        dependency = known.get(package)
        if dependency is not None and dependency.distribution:
            install = f"pip install {dependency.distribution}"
        else:
            install = "the model's own documentation says from where"
        blocks.append(
            f"try:\n    {item.line()}\n"
            f"except ImportError:\n    {item.name} = MissingPackage({package!r}, {install!r})\n"
        )
    return "\n".join(plain), "\n".join(blocks)


def brought(item: Foreign) -> bool:
    """Whether the name is of the standard library or of what vLLM-Omni brings, publicly."""
    package, *rest = item.module.split(".")
    private = any(part.startswith("_") for part in rest)  # may be of one build of the package only
    return (package in BROUGHT and not private) or package in sys.stdlib_module_names
