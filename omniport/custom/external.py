"""Imports of packages that vLLM-Omni does not bring: a port imports without them, and says what to install when used.

The registry swallows whatever a module raises on import and reports an unknown model, so an absent package must not
raise there (rule OP158).
"""

from __future__ import annotations

import ast
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
    return "\n".join(plain), _blocks([f for f in foreign if not brought(f)], dependencies)


def guard(code: str, foreign: tuple[Foreign, ...], dependencies: tuple[Dependency, ...]) -> str:
    """``code`` with the plain imports of absent packages made guarded ones, behind the other imports."""
    absent = {f.name: f for f in foreign if not brought(f)}
    lines = code.splitlines()
    used: dict[str, Foreign] = {}
    last = 0
    for node in reversed([n for n in ast.parse(code).body if isinstance(n, ast.Import | ast.ImportFrom)]):
        end = node.end_lineno or node.lineno
        last = max(last, end)
        names = [alias.asname or alias.name.split(".")[0] for alias in node.names]
        if not absent.keys() & set(names):
            continue
        used |= {name: absent[name] for name in names if name in absent}
        node.names = [alias for alias, name in zip(node.names, names, strict=True) if name not in absent]
        kept = [ast.unparse(node)] if node.names else []
        lines[node.lineno - 1 : end] = kept
        last -= end - node.lineno + 1 - len(kept)
    if not used:
        return code
    return "\n".join([*lines[:last], "", _blocks(list(used.values()), dependencies), *lines[last:]]) + "\n"


def _blocks(guarded: list[Foreign], dependencies: tuple[Dependency, ...]) -> str:
    """Guarded imports with what stands in for them; empty if there are none."""
    if not guarded:
        return ""
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
    return "\n".join(blocks)


def brought(item: Foreign) -> bool:
    """Whether the name is of the standard library or of what vLLM-Omni brings, publicly."""
    package, *rest = item.module.split(".")
    private = any(part.startswith("_") for part in rest)  # may be of one build of the package only
    return (package in BROUGHT and not private) or package in sys.stdlib_module_names
