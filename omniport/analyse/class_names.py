"""What the classes of a port are called: as in the reference, and where one is specialised twice, after its use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile

from omniport.analyse.values import UNKNOWN, Instances, ModuleList, Value, present
from omniport.analyse.variants import Variant

_WORD = re.compile(r"[A-Z]+[0-9]*(?![a-z])|[A-Z][a-z0-9]*|[a-z0-9]+")
_GENERIC = ("Transformer", "Block")


def class_names(variants: Mapping[str, Variant], used: Sequence[str], root: str) -> dict[str, str]:
    """The reference's name for the first variant of a class; further ones are named after what holds them.

    A block lends its own name (``FluxSingleAttention``).  The model itself says too little: there it is the attribute
    (``ZImageContextRefinerBlock``).
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for key in used:
        variant = variants[key]
        options = [variant.origin.name]
        if variant.origin.name in taken:
            owner = next((variants[o] for o in variant.owners), variant)
            at_root = owner.key == root
            after = _after_attribute(variant, owner, variants[root]) if at_root else _after_owner(variant, owner)
            options.append(after)
            if _crosses(variant):
                options.append(after.replace("Attention", "CrossAttention"))
            if not at_root:
                options.append(_after_attribute(variant, owner, variants[root]))
            options += [f"{variant.origin.name}{number}" for number in range(2, len(used) + 2)]
        names[key] = next(name for name in options if name and name not in taken)
        taken.add(names[key])
    return names


def _after_owner(variant: Variant, owner: Variant) -> str:
    """The block's name, generic words aside, and what the class is: ``FluxSingle`` and ``Attention``."""
    name = variant.origin.name
    stem = owner.origin.name.removesuffix("Block").removesuffix("Transformer")
    return stem + (_behind(_own(variant), owner.origin.name) or name) if stem else ""


def _after_attribute(variant: Variant, owner: Variant, root: Variant) -> str:
    """The model's name, that of the attribute, and what the class is: ``ZImage``, ``ContextRefiner`` and ``Block``."""
    attribute = next((name for name, value in owner.attributes.items() if variant.key in _held(value)), "")
    if not attribute or any(part.isdigit() for part in attribute.split("_")):
        return ""
    family = _family(root.origin.name)
    use = [word.capitalize() for word in attribute.split("_") if word]
    rest = _words(_behind(_own(variant), "".join(family)))
    while len(rest) > 1 and rest[0] in _GENERIC:
        rest = rest[1:]
    ending = use[-1].removesuffix("s") if rest and use[-1].removesuffix("s") == rest[-1] else ""
    return "".join((*family, *use[:-1], ending) if ending else (*family, *use, *rest))


def _family(root: str) -> list[str]:
    """The words of a model's name ahead of those that say that it is one."""
    return list(takewhile(lambda word: not word.startswith("Transformer"), _words(root)))


def _own(variant: Variant) -> str:
    """The name of a class without that of the model of its file (``Flux`` of ``transformer_flux``)."""
    of = variant.origin.module.rpartition(".")[2].removeprefix("transformer_").replace("_", "")
    name = variant.origin.name
    return name[len(of) :] if name.lower().startswith(of) and name[len(of) : len(of) + 1].isupper() else name


def _held(value: Value) -> set[str]:
    """Keys of the modules that an attribute may hold."""
    if isinstance(value, Instances):
        return set(value.variants)
    return set().union(*map(_held, value.items)) if isinstance(value, ModuleList) else set()


def _words(name: str) -> list[str]:
    return _WORD.findall(name)


def _behind(name: str, other: str) -> str:
    """``name`` without the words that it starts with as ``other`` does."""
    words, others = _words(name), _words(other)
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(words, others, strict=False))))
    return "".join(words[same:])


def _crosses(variant: Variant) -> bool:
    """Whether the attention is built, or always called, to attend to another sequence."""
    facts = (
        variant.arguments.get("cross_attention_dim", UNKNOWN),
        (variant.inputs or {}).get("encoder_hidden_states", UNKNOWN),
    )
    return any(map(present, facts))
