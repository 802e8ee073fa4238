"""Settings of ``check`` in a project's ``pyproject.toml``, table ``[tool.omniport]``."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Any

from omniport.errors import OmniportError
from omniport.records import dataclass
from omniport.strict_toml import read_toml

_LISTS = ("select", "ignore")
_TABLE = "per-file-ignores"


@dataclass(frozen=True)
class Settings:
    """What a project chose; options of the command line take the place of its entries."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    per_file_ignores: dict[str, tuple[str, ...]] = field(default_factory=dict)


def find_settings(path: Path) -> Settings:
    """The settings for a path: those of the nearest ``pyproject.toml`` above it that has the table.

    Raises:
        OmniportError: that file is no TOML, or the table holds something else than lists of codes.
    """
    start = path.resolve()
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        tool = read_toml(file, mark="[tool.omniport").get("tool", {}) if file.is_file() else {}
        if isinstance(tool, dict) and "omniport" in tool:
            return _settings(file, tool["omniport"])
    return Settings()


def _settings(file: Path, table: Any) -> Settings:
    if not isinstance(table, dict):
        raise OmniportError(f"{file}: [tool.omniport] must be a table")
    unknown = sorted(table.keys() - {*_LISTS, _TABLE})
    if unknown:
        raise OmniportError(
            f"{file}: [tool.omniport] has no setting {unknown[0]!r}; there are {', '.join((*_LISTS, _TABLE))}"
        )
    lists = {name: _codes(file, name, table.get(name, [])) for name in _LISTS}
    patterns = table.get(_TABLE, {})
    if not isinstance(patterns, dict):
        raise OmniportError(f"{file}: {_TABLE} must be a table of patterns and lists of codes")
    return Settings(**lists, per_file_ignores={p: _codes(file, p, codes) for p, codes in patterns.items()})


def _codes(file: Path, name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise OmniportError(f'{file}: {name} must be a list of codes, such as ["OP101"]')
    return tuple(value)
