"""``docs/readability.md``: generated transformers beside those that vLLM-Omni has by hand.

``python -m omniport.report.readability --tree TREE > docs/readability.md``, where TREE is what ``make corpus`` wrote.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from importlib.util import find_spec
from pathlib import Path

from omniport.errors import OmniportError
from omniport.records import dataclass

MODELS = "diffusion/models"
LIMIT = 1.2  # a generated file is at most so many times as long
PLAN = "_sp_plan"
#: Helpers of ports that split the sequence, and of those whose cache follows a loop that may leave blocks out.
_MORE: tuple[str, ...] = ("SequenceSplit", "sequence_metadata", "rank_order", "gather_keys")
_MORE += ("BlockwiseCachedBlocks", "BlockwiseCachedBlock", "BlockwiseCachedAdapter")


@dataclass(frozen=True)
class Pair:
    """A transformer that exists by hand; ``text`` is what the numbers do not say."""

    title: str
    generated: str  # below the models of the corpus tree
    by_hand: str  # below the models of vLLM-Omni
    text: str


PAIRS = (
    Pair(
        "FLUX",
        "corpus_flux/flux_transformer.py",
        "flux/flux_transformer.py",
        "The same shape as by hand: fused query, key and value, one attention layer per block, column and row "
        "pairs. The generated file has no branch for IP-adapters, no processor classes and no unused arguments. "
        "It holds a sequence parallel plan and a `load_weights` that refuses missing and surplus tensors; the "
        "hand-written one skips unknown names.",
    ),
    Pair(
        "Wan",
        "corpus_wan/wan_transformer.py",
        "wan2_2/wan2_2_transformer.py",
        "The hand-written file carries its own rotary embedding, fused norms, a padding scheme for sequence "
        "parallelism and several output forms; the generated one has none of these, so the ratio flatters it. Its"
        " attention, that over image tokens included, goes through vLLM-Omni's layer. Query and key are rotated by "
        "the fused kernel, sums in float32 are one call, patches go through vLLM's convolution.",
    ),
    Pair(
        "Qwen-Image",
        "corpus_qwenimage/qwenimage_transformer.py",
        "qwen_image/qwen_image_transformer.py",
        "The hand-written file has variants for editing, layers and caching that the reference selects by its "
        "config; the generated one keeps the reference's own conditions.",
    ),
    Pair(
        "Stable Diffusion 3",
        "corpus_sd3/sd3_transformer.py",
        "sd3/sd3_transformer.py",
        "The hand-written port imports its three modulated norms from diffusers, whole on every rank; the "
        "generated one brings them in, column-parallel. It has a class for joint and one for self-attention where "
        "the other tests for the text. It takes `skip_layers`, which the other lacks; the adapter that lets a cache "
        "follow such a loop is not counted: it stands in a module of its own, `cached_blocks.py`, alike in every port "
        "that has one. Norms of query and key that a config may leave out are "
        "identities, as by hand; no method has a parameter that nothing reads.",
    ),
)


def count(text: str) -> tuple[int, int]:
    """Lines of a file, and its lines of code: without comments, docstrings and blank lines."""
    docs: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            first = node.body[0]
            docs |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    code: set[int] = set()
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in layout:
            code |= set(range(token.start[0], token.end[0] + 1))
    return text.count("\n"), len(code - docs)


def sequence_lines(text: str) -> int:
    """Lines by which a port serves sequence parallelism and caches loops that leave blocks out, which not every
    hand-written one does: the helpers, the plan, and the lines that name either."""
    tree = ast.parse(text)
    roots = [item for node in tree.body for item in (node.body if isinstance(node, ast.ClassDef) else [])]
    lines: set[int] = set()
    for node in [*tree.body, *roots]:
        name = getattr(node, "name", "")
        targets = node.targets if isinstance(node, ast.Assign) else []
        if name in _MORE or any(isinstance(t, ast.Name) and t.id == PLAN for t in targets):
            lines |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
            gap = 2 if isinstance(node, ast.ClassDef | ast.FunctionDef) else 0  # blank lines that set it apart
            lines |= {node.lineno - 1 - step for step in range(gap)}
    named = re.compile(
        r"\b(SequenceParallel\w+|sequence_parallel\w*|get_sequence_parallel\w*|get_sp_\w+|sequence_split"
        r"|sequence_gather|BlockwiseCachedAdapter|CachedAdapter|CachedBlocks_Pattern_Base)\b"
    )
    lines |= {number for number, line in enumerate(text.splitlines(), 1) if named.search(line)}
    return len(lines)


def row(pair: Pair, tree: Path, package: Path) -> tuple[str, float]:
    """The line of the table for a pair, and how many times as long the generated file is for the same features.

    Raises:
        OmniportError: one of the two files is missing.
    """
    texts = []
    for file in (tree / "vllm_omni" / MODELS / pair.generated, package / MODELS / pair.by_hand):
        if not file.is_file():
            raise OmniportError(f"{file} is missing; `make corpus` writes the ports, vllm-omni has the others")
        texts.append(file.read_text("utf-8"))
    (lines, code), (own_lines, own_code) = (count(text) for text in texts)
    more = sequence_lines(texts[0]) if PLAN not in texts[1] else 0
    ratio = (lines - more) / own_lines
    name = pair.by_hand.rpartition("/")[2]
    shown = f"{lines / own_lines:.2f} ({code / own_code:.2f})"
    alike = f"{ratio:.2f}, without {more} lines" if more else "the same"
    return f"| {pair.title} (`{name}`) | {lines} ({code}) | {own_lines} ({own_code}) | {shown} | {alike} |", ratio


def report(tree: Path, package: Path, versions: dict[str, str]) -> str:
    """The comparison as Markdown.

    Args:
        tree: what ``make corpus`` wrote.
        package: the folder of the package ``vllm_omni`` that holds the hand-written ports.
        versions: of diffusers and vllm-omni.
    """
    rows = [row(pair, tree, package) for pair in PAIRS]
    over = [pair.title for pair, (_, ratio) in zip(PAIRS, rows, strict=True) if ratio > LIMIT]
    verdict = f"None is longer than {LIMIT} times its counterpart" if not over else f"Too long: {', '.join(over)}"
    verdict += (
        ", sequence parallelism and the cache of a loop that may leave blocks out not counted where the hand-written "
        "port has neither."
    )
    return "\n".join(
        [
            "<!-- Generated by `python -m omniport.report.readability --tree TREE`; do not edit by hand. -->",
            "# Generated transformers beside hand-written ones",
            "",
            f"Four transformers that vLLM-Omni {versions['vllm-omni']} has by hand, beside what `omniport` writes from "
            f"diffusers {versions['diffusers']} (`make corpus`).",
            "Lines of the whole file; in brackets lines of code, without comments, docstrings and blank lines. "
            + verdict,
            "",
            "| transformer | generated | hand-written | ratio | ratio for the same features |",
            "|---|---|---|---|---|",
            *(line for line, _ in rows),
            "",
            "What the numbers do not say:",
            "",
            *(f"* **{pair.title}.** {pair.text}" for pair in PAIRS),
            "",
            "No generated file has a branch that its config cannot reach by the rules of `omniport/analyse/modes.py`; "
            "conditions on",
            "strings that published configs do vary (`rope_type`, `image_condition_type`) are kept.",
            "",
        ]
    )


def ratios(text: str) -> dict[str, float]:
    """The ratios for the same features that a report states, by transformer."""
    rows = re.findall(r"^\| (.+?) \(`\S+`\) \|.*\| ([\d.]+) \([\d.]+\) \| (the same|[\d.]+)", text, re.MULTILINE)
    return {title: float(whole if alike == "the same" else alike) for title, whole, alike in rows}


def main() -> None:
    from importlib.metadata import version

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, required=True, help="what `make corpus` wrote")
    spec = find_spec("vllm_omni")
    if spec is None or spec.origin is None:
        raise SystemExit("vllm_omni is not installed: it has the hand-written ports")
    versions = {name: version(name) for name in ("diffusers", "vllm-omni")}
    try:
        sys.stdout.write(report(parser.parse_args().tree, Path(spec.origin).parent, versions))
    except OmniportError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
