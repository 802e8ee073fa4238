"""``model_index.json``: what a pipeline is made of, validated.

What counts as a component follows diffusers' own loader: a list of two (modular repositories: three) whose first two
entries are strings or null is a component, everything else a setting, whatever the key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from omniport.errors import OmniportError
from omniport.hub.names import is_identifier
from omniport.records import dataclass
from omniport.strict_json import Document

INDEX_FILE = "model_index.json"
MODULAR_INDEX_FILE = "modular_model_index.json"
_VERSION = re.compile(r"[\w.+!-]{1,64}\Z", re.ASCII)


@dataclass(frozen=True)
class Component:
    """One entry ``[library, class]``; ``extra`` is the third element of a modular entry."""

    library: str
    class_name: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelIndex:
    """A validated index.

    ``components`` maps a name to its entry, None where the repository leaves it out (``[null, null]``).
    ``custom_module`` is the module of the pipeline's own code when ``_class_name`` is a list.  ``data`` is the whole
    object as read, ``places`` the file and line of each key.  ``present`` is False for a repository without an index.
    """

    pipeline_class: str
    diffusers_version: str | None
    components: dict[str, Component | None]
    settings: dict[str, Any]
    custom_module: str | None = None
    modular: bool = False
    present: bool = True
    data: dict[str, Any] = field(default_factory=dict, repr=False)
    places: dict[str, tuple[str, int]] = field(default_factory=dict, repr=False)

    def place(self, key: str) -> tuple[str, int]:
        """File and 1-based line of ``key``; line 0 where the key has none."""
        return self.places.get(key, (INDEX_FILE, 0))


ABSENT = ModelIndex("", None, {}, {}, present=False)


def read_index(document: Document) -> ModelIndex:
    """Validate a parsed index.

    Raises:
        OmniportError: no ``_class_name``; a name that is no identifier; a component with a library and no class; two
            components whose names differ in case alone.
    """
    lines = {key: (document.name, line) for key, line in document.lines.items()}

    def fail(key: str, what: str) -> OmniportError:
        return OmniportError(f"{document.name}:{document.lines.get(key, 1)}: {what}")

    value = document.value
    class_name, module = value.get("_class_name"), None
    if isinstance(class_name, list) and len(class_name) == 2:
        module, class_name = class_name
        if not is_identifier(module):
            raise fail("_class_name", f"pipeline module {module!r} is no plain module name")
    if class_name is None:
        raise fail("_class_name", "no _class_name, so the pipeline is not known")
    if not is_identifier(class_name):
        raise fail("_class_name", f"pipeline class {class_name!r} is no class name")
    version = value.get("_diffusers_version")
    if version is not None and not (isinstance(version, str) and _VERSION.match(version)):
        raise fail("_diffusers_version", f"_diffusers_version {str(version)[:80]!r} is no version")
    components: dict[str, Component | None] = {}
    folders: dict[str, str] = {}
    settings: dict[str, Any] = {}
    modular = "_blocks_class_name" in value
    for key, entry in value.items():
        if key.startswith("_"):
            continue
        if not is_identifier(key):
            raise fail(key, f"{key!r} is no plain component or setting name")
        if not _is_component(entry):
            settings[key] = entry
            continue
        modular = modular or len(entry) == 3
        if (other := folders.setdefault(key.casefold(), key)) != key:
            raise fail(key, f"components {other} and {key} have one folder where case does not count")
        try:
            components[key] = _component(entry)
        except ValueError as error:
            raise fail(key, f"component {key}: {error}") from None
    return ModelIndex(class_name, version, components, settings, module, modular, True, value, lines)


def _is_component(entry: object) -> bool:
    if not isinstance(entry, list) or len(entry) not in (2, 3):
        return False
    if not all(item is None or isinstance(item, str) for item in entry[:2]):
        return False
    return len(entry) == 2 or isinstance(entry[2], dict)


def _component(entry: list[Any]) -> Component | None:
    """The entry, or None if it is left out; a modular entry without a class takes its ``type_hint``."""
    library, class_name = entry[:2]
    extra = entry[2] if len(entry) == 3 else {}
    hint = extra.get("type_hint")
    if library is None and isinstance(hint, list) and len(hint) == 2:
        library, class_name = hint
    if library is None:  # diffusers skips an entry by its first element alone (pipeline_utils: load_module)
        return None
    if class_name is None:
        raise ValueError(f"library {library!r} without a class")
    for what, name in (("library", library), ("class", class_name)):
        if not is_identifier(name):
            raise ValueError(f"{what} {name!r} is no plain name")
    return Component(library, class_name, extra)
