"""Import stubs for torchvision and torchaudio, where they are not installed.

Some model folders of vLLM-Omni import them at module level although the text-to-image path never calls them.  With a
stub ``import`` works and every use raises ImportError.  Availability probes of transformers and diffusers keep
answering "not available", because they are evaluated before the stub goes in.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from typing import Any

NAMES = ("torchvision", "torchaudio")


class Missing:
    """A name of a package that is not installed: it may be imported and subclassed, not used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise ImportError(f"{self._name}: the package is not installed; verification put a stub in its place")

    def __getattr__(self, attribute: str) -> Missing:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return Missing(f"{self._name}.{attribute}")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (object,)


class StubModule(types.ModuleType):
    """A module whose every public attribute is :class:`Missing`."""

    __path__: list[str] = []

    def __getattr__(self, attribute: str) -> Missing:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return Missing(f"{self.__name__}.{attribute}")


class StubFinder:
    """Meta path finder that answers for the given top-level packages and their submodules."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return StubModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        return None


def install() -> None:
    """Put a stub in place of each of :data:`NAMES` that is not installed.  Does nothing the second time."""
    if any(isinstance(finder, StubFinder) for finder in sys.meta_path):
        return
    missing = frozenset(n for n in NAMES if n not in sys.modules and importlib.util.find_spec(n) is None)
    if not missing:
        return
    from transformers.utils import import_utils

    for probe in ("is_torchvision_available", "is_torchvision_v2_available", "is_torchaudio_available"):
        getattr(import_utils, probe, lambda: False)()  # cached while the answer is still "no"
    import diffusers.utils.import_utils  # noqa: F401  (evaluates its own probes at import)

    sys.meta_path.append(StubFinder(missing))
