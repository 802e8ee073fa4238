"""``_NO_CACHE_ACCELERATION`` of the registry: pipelines whose denoiser no cache can wrap."""

from __future__ import annotations

from omniport.emit.edits import literals
from omniport.emit.edits.base import Context, Edit
from omniport.target.registry import NO_CACHE, REGISTRY_FILE

_FILE = f"vllm_omni/{REGISTRY_FILE}"


def edits(context: Context) -> list[Edit]:
    key = context.architecture
    if not context.features.has_no_cache_set or context.supports("cache-dit"):
        return []

    def add(text: str) -> str:
        literal = literals.assigned(literals.parse(text, _FILE), NO_CACHE)
        if literal is None or key in literals.keys(literal):
            return text
        return literals.insert(text, literal, f'"{key}"', _FILE)

    def drop(text: str) -> str:
        literal = literals.assigned(literals.parse(text, _FILE), NO_CACHE)
        return text if literal is None else literals.remove(text, literal, key)

    return [Edit(_FILE, add, drop)]
