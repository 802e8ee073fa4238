"""``sp2``: Ulysses over two ranks gives what one rank gives, and each rank processes half of the image tokens."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from omniport.verify.cases import BASE, EVEN
from omniport.verify.forks import RankError
from omniport.verify.lab import PARITY, Lab
from omniport.verify.results import Check, Finding

PARALLEL = {"ulysses_degree": 2}


@dataclass(frozen=True)
class Tokens:
    """How many tokens of image and of text the whole input has."""

    image: int
    text: int


REFUSED = re.compile(r"(\w+) cannot be given with sequence parallelism")
"""What a port raises where it is given an input that its plan leaves whole."""


def run(lab: Lab) -> Finding:
    """Ulysses: ranks exchange heads for tokens before and after attention."""
    return split_in_two(lab, PARALLEL, ("all_to_all",), "attention exchanges heads for tokens")


def refused(error: RankError) -> str:
    """The input that a port refuses to take with sequence parallelism, if that is what went wrong; else empty."""
    found = REFUSED.search(error.outcome.error)
    return found[1] if found else ""


def split_in_two(lab: Lab, parallel: dict[str, Any], kinds: tuple[str, ...], exchange: str) -> Finding:
    """Compare two ranks with one, and count the image tokens that each rank's attention and blocks are given.

    Args:
        lab: runs the port.
        parallel: the degrees.
        kinds: collectives by which attention must see the other rank's tokens.
        exchange: what they do, the name of a check.
    """
    if reason := lab.undeclared("sequence parallelism"):
        return Finding(undeclared=reason)
    sizes = Tokens(**{key: lab.prepare()[key] for key in ("image", "text")})
    taken_away = lab.refused_inputs()
    without = tuple(name for name in taken_away if name in lab.prepare()["given"])
    alone = lab.transformer({}, without=without)[0]
    lab.pipeline_alone()
    # Only the even call: without padding and a mask vLLM-Omni itself refuses to split an odd number of tokens.
    try:
        ranks = lab.transformer(parallel, 2, (EVEN,), without=without)
        lab.pipeline(parallel, 2, (BASE,), False)
    except RankError as failure:
        if (name := refused(failure)) not in taken_away:
            raise
        return Finding(undeclared=f"the pipeline gives {name}, which cannot be given with sequence parallelism")
    errors, run_error = lab.against_one_rank(parallel, without)
    error = errors[EVEN]
    checks = [Check(f"transformer, {EVEN}", error <= PARITY, value=error, limit=PARITY)]

    before, after = alone["readings"][EVEN], [rank["readings"][EVEN] for rank in ranks]
    texts = [local_text(before["blocks"], r["blocks"], sizes.text) for r in after]
    queries = [image_tokens(before["queries"], r["queries"], sizes, text) for r, text in zip(after, texts, strict=True)]
    blocks = [_block_tokens(before["blocks"], r["blocks"], sizes, text) for r, text in zip(after, texts, strict=True)]
    given = (
        f"of {sizes.image} image tokens a rank's attention is given {max(queries)}, its blocks {max(blocks)}; "
        f"of {sizes.text} text tokens {max(texts)}"
    )
    counted = [
        _sharded("image tokens in the queries of one rank's attention", queries, sizes.image),
        _sharded("image tokens in one rank's blocks", blocks, sizes.image),
    ]
    if not all(check.ok for check in counted):
        # Refiners and history see all of a picture on every rank, and sound may be as long: the longest calls tell.
        told = [shares(before["queries"], r["queries"]) for r in after]
        told += [shares(_lengths(before["blocks"]), _lengths(r["blocks"])) for r in after]
        longest = Check(
            "the longest queries and inputs of a rank's blocks are half of all", not any(f for _, f in told)
        )
        counted, given = ([longest], told[0][0]) if longest.ok else (counted, given)
    checks += counted
    planned = all(rank["planned"] for rank in ranks)
    checks.append(
        Check("vLLM-Omni applies a plan", planned, "" if planned else "the transformer has no _sp_plan that applies")
    )
    exchanged = min(sum(r["collectives"].get(kind, 0) for kind in kinds) for r in after)
    checks.append(Check(exchange, exchanged > 0, "" if exchanged else f"no {' or '.join(kinds)} was seen"))

    checks.append(Check(f"pipeline, {BASE}", run_error <= lab.limit(), value=run_error, limit=lab.limit()))
    left_out = f"; {', '.join(without)} not given" if without else ""
    evidence = (
        f"{given}{left_out}",
        f"per forward {exchanged} {'/'.join(kinds)}",
        f"against one rank {max(error, run_error):.1e}",
    )
    return Finding(tuple(checks), evidence)


def _lengths(blocks: dict[str, list[int]]) -> list[int]:
    """Of all arguments, those that the blocks get in one order."""
    return [length for name in sorted(blocks) for length in blocks[name]]


def local_text(before: dict[str, list[int]], after: dict[str, list[int]], text: int) -> int:
    """Text tokens that a rank holds: read off the block arguments that are all text, else all of them."""
    held = [
        now
        for name, lengths in before.items()
        for then, now in zip(lengths, after.get(name, []), strict=False)
        if then == text
    ]
    return max(held, default=text)


def shares(alone: list[int], local: list[int]) -> tuple[str, str]:
    """What the query lengths of a rank of two say beside those of one rank alone, and what is wrong with them.

    The longest queries are those over all tokens: of each a rank may have half, and one token of padding per stream.
    """
    if len(alone) != len(local) or not alone:
        return "", f"{len(local)} attention calls instead of {len(alone)}"
    whole = [a for a, b in zip(alone, local, strict=True) if b >= a or b > -(-a // 2) + 1]
    halved = len(alone) - len(whole)
    said = f"{halved} of {len(alone)} attention calls on half of the tokens"
    fault = f"a rank attends with all of {max(whole)} tokens" if whole and max(whole) >= max(alone) else ""
    return said, fault or ("" if halved else "no attention call is on half of the tokens")


def image_tokens(before: list[int], after: list[int], sizes: Tokens, text: int) -> int:
    """Most image tokens that one call was given on a rank.

    Args:
        before: token counts of the same calls on one rank alone.
        after: token counts on this rank.
        sizes: ``image`` and ``text`` tokens of the whole input.
        text: text tokens that this rank holds.

    Returns:
        all image tokens if the calls cannot be told apart, i.e. if nothing shows that they were split.
    """
    if len(before) != len(after):
        return sizes.image
    both = sizes.image + sizes.text
    seen = [
        now - (text if then == both else 0)
        for then, now in zip(before, after, strict=True)
        if then in (sizes.image, both)
    ]
    return max(seen) if seen else sizes.image


def _block_tokens(before: dict[str, list[int]], after: dict[str, list[int]], sizes: Tokens, text: int) -> int:
    counts = [
        image_tokens(lengths, after.get(name, []), sizes, text)
        for name, lengths in before.items()
        if max(lengths) in (sizes.image, sizes.image + sizes.text)
    ]
    return max(counts) if counts else sizes.image


def _sharded(name: str, counts: list[Any], image: int) -> Check:
    # Each rank at most half, and together all: fewer would mean that the counting is wrong, or that tokens are lost.
    limit = math.ceil(image / 2)
    ok = max(counts) <= limit and sum(counts) >= image
    note = "" if ok else f"the ranks are given {' and '.join(map(str, counts))} of {image}: not sharded in halves"
    return Check(name, ok, note, max(counts), limit)
