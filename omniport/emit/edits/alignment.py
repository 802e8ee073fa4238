"""The test that counts the models without a tiny-model test: a port has none yet, so it is counted."""

from __future__ import annotations

from omniport.emit.edits import literals
from omniport.emit.edits.base import Context, Edit

_FILE = "tests/model_tests/diffusion/test_alignment.py"
_LIST = "EXCLUDED_MODELS"


def edits(context: Context) -> list[Edit]:
    key = context.architecture
    settings = context.root / "tests/model_tests/diffusion/model_settings.py"
    if not (context.root / _FILE).is_file():
        return []
    if settings.is_file() and f'"{key}"' in settings.read_text("utf-8", errors="replace"):
        return []  # it has such a test

    def add(text: str) -> str:
        literal = literals.assigned(literals.parse(text, _FILE), _LIST)
        if literal is None or key in literals.keys(literal):
            return text
        return literals.insert(text, literal, f'"{key}"', _FILE)

    def drop(text: str) -> str:
        literal = literals.assigned(literals.parse(text, _FILE), _LIST)
        return text if literal is None else literals.remove(text, literal, key)

    return [Edit(_FILE, add, drop)]
