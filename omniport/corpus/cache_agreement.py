"""Where Omniport and cache-dit's own adapters agree about which lists of blocks are cached, and how.

``python -m omniport.corpus.cache_agreement FILE`` plans every transformer class of diffusers, reads the adapters of the
installed cache-dit as text, and writes a page of Markdown.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from omniport.corpus.classes import corpus_classes
from omniport.errors import OmniportError
from omniport.plan.model import BlockListPlan
from omniport.source.tree import SourceTree

ADAPTERS = "caching/block_adapters/adapters.py"
PROCESSES = 2
ONE_STREAM = (2, 3)  # both give back one stream; with 3 the other one is handed through


@dataclass(frozen=True)
class Adapter:
    """What cache-dit's register says of classes whose name begins with ``prefix``: one variant for each form it knows.

    A variant maps a list of blocks to its pattern.  ``functor``: cache-dit replaces the model's forward.
    """

    prefix: str
    variants: tuple[dict[str, int], ...]
    functor: bool
    line: int


@dataclass(frozen=True)
class Comparison:
    """One class: what both say, and in words whether they agree."""

    name: str
    adapter: Adapter | None
    blocks: tuple[BlockListPlan, ...]
    refused: str
    verdict: str
    agrees: bool


def read_adapters() -> list[Adapter]:
    """The adapters that cache-dit registers, in its order.

    Raises:
        OmniportError: cache-dit is not installed, or its file is not where it was.
    """
    found = importlib.util.find_spec("cache_dit")
    if found is None or not found.submodule_search_locations:
        raise OmniportError("cache-dit is not installed: install the extra verify")
    file = Path(found.submodule_search_locations[0]) / ADAPTERS
    if not file.is_file():
        raise OmniportError(f"{file} is not there: this cache-dit keeps its adapters elsewhere")
    return adapters_of(file.read_text("utf-8"))


def adapters_of(text: str) -> list[Adapter]:
    """The adapters registered by a module's source text."""
    adapters = []
    for node in ast.parse(text).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        prefixes = [
            d.args[0].value
            for d in node.decorator_list
            if isinstance(d, ast.Call) and ast.unparse(d.func).endswith("Register.register")
            if d.args and isinstance(d.args[0], ast.Constant)
        ]
        calls = [
            {k.arg: k.value for k in call.keywords if k.arg}
            for call in ast.walk(node)
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "BlockAdapter"
        ]
        chosen = {
            ast.unparse(part.targets[0]): [part.value.body, part.value.orelse]
            for part in ast.walk(node)
            if isinstance(part, ast.Assign) and isinstance(part.value, ast.IfExp)
        }
        variants = tuple(
            dict(_lists({**call, "forward_pattern": pattern}))
            for call in calls
            if "blocks" in call and "forward_pattern" in call
            for pattern in chosen.get(ast.unparse(call["forward_pattern"]), [call["forward_pattern"]])
        )
        functor = "PatchFunctor()" in ast.unparse(node)
        adapters += [Adapter(str(prefix), variants, functor, node.lineno) for prefix in prefixes]
    return adapters


def _lists(call: dict[str, ast.expr]) -> Iterator[tuple[str, int]]:
    """Names of lists and their patterns; a sum of lists goes by the pattern of the sum."""
    blocks, patterns = call["blocks"], call["forward_pattern"]
    listed = blocks.elts if isinstance(blocks, ast.List) else [blocks]
    given = patterns.elts if isinstance(patterns, ast.List) else [patterns] * len(listed)
    for item, pattern in zip(listed, given, strict=False):
        number = ast.unparse(pattern).rpartition("_")[2]
        if not number.isdigit():
            raise OmniportError(f"{ADAPTERS}:{pattern.lineno}: which pattern {ast.unparse(pattern)} is cannot be read")
        for part in ast.walk(item):
            if isinstance(part, ast.Attribute) and ast.unparse(part.value).endswith(("transformer", "prior")):
                yield part.attr, int(number)


def compare(name: str, blocks: tuple[BlockListPlan, ...], refused: str, adapters: list[Adapter]) -> Comparison:
    """Compare a class's plan with the first adapter whose prefix its name has, as cache-dit looks it up."""
    adapter = next((a for a in adapters if name.startswith(a.prefix)), None)
    own = {plan.attribute: plan for plan in blocks if plan.cache}
    if refused:
        return Comparison(name, adapter, blocks, refused, "not ported", False)
    if adapter is None:
        return Comparison(name, None, blocks, "", "cache-dit knows no class of this name", False)
    left = {plan.attribute: plan for plan in blocks if not plan.cache}
    verdicts = [_variant(variant, own, left) for variant in adapter.variants]
    best = min(verdicts, key=len, default=["its adapter names no list"])
    return Comparison(name, adapter, blocks, "", "; ".join(best) or "agree", not best)


def _variant(variant: dict[str, int], own: dict[str, BlockListPlan], left: dict[str, BlockListPlan]) -> list[str]:
    """What differs from one variant of an adapter, each with the reason."""
    found = []
    for name, pattern in variant.items():
        if name in own:
            mine = own[name].pattern
            if mine != pattern and not (mine in ONE_STREAM and pattern in ONE_STREAM):
                found.append(f"pattern {mine} here, {pattern} there; {own[name].why.reason}")
        elif name in left:
            found.append(f"left out here: {left[name].why.reason}")
        else:
            found.append(f"the class has no list {name}")
    found += [f"{name} is cached here only" for name in own if name not in variant]
    return found


def _plan(name: str) -> tuple[str, tuple[BlockListPlan, ...], str]:
    from omniport.port import analyse_transformer

    try:
        return name, analyse_transformer(SourceTree.locate(None), name).plan.blocks, ""
    except OmniportError as error:
        return name, (), str(error)


def markdown(comparisons: list[Comparison]) -> str:
    """The page: generated, so it says so."""
    known = [c for c in comparisons if c.adapter is not None and not c.refused]
    lines = [
        "<!-- Generated by `make agreement`; do not edit by hand. -->",
        "# Agreement with cache-dit's adapters",
        "",
        f"cache-dit registers an adapter for {len(known)} of {len(comparisons)} classes, found by the beginning of the "
        f"class name; for {sum(c.agrees for c in known)} of them the plan caches the same lists in the same way.",
        "A port declares its own adapter, so cache-dit's register is never asked. *blocks*: the list stays a list, for "
        "the forward gives every block something of its own; cache-dit replaces the forward of such models (*patched*) "
        "or caches them wrongly. Patterns 2 and 3 both give back one stream and count as the same.",
        "",
        "| class | cache-dit | Omniport | verdict |",
        "|---|---|---|---|",
    ]
    for c in comparisons:
        theirs = " or ".join(dict.fromkeys(map(_shown, c.adapter.variants))) if c.adapter else "-"
        theirs += ", patched" if c.adapter and c.adapter.functor else ""
        cached = {b.attribute: b for b in c.blocks if b.cache}
        mine = ", ".join(f"{n} {b.pattern}{' blocks' if b.cache == 'blocks' else ''}" for n, b in cached.items())
        prefix = f"`{c.adapter.prefix}`: " if c.adapter else ""
        lines.append(f"| {c.name} | {prefix}{theirs} | {mine or 'none'} | {c.verdict} |")
    return "\n".join(lines) + "\n"


def _shown(variant: dict[str, int]) -> str:
    return ", ".join(f"{name} {pattern}" for name, pattern in variant.items())


def main(file: Path) -> None:
    """Write the page."""
    adapters = read_adapters()
    names = list(corpus_classes(SourceTree.locate(None)))
    with get_context("fork").Pool(PROCESSES) as pool:
        plans = list(pool.imap(_plan, names))
    file.write_text(markdown([compare(*plan, adapters) for plan in plans]), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
