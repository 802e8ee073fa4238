"""``sp2``: Ulysses over two ranks gives what one rank gives, and each rank processes half of the image tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
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


def split_in_two(
    lab: Lab,
    parallel: dict[str, Any],
    kinds: tuple[str, ...],
    exchange: str,
    padded: Callable[[RankError], str] = lambda _: "",
) -> Finding:
    """Compare two ranks with one, and count the image tokens that each rank's attention and blocks are given.

    Args:
        lab: runs the port.
        parallel: the degrees.
        kinds: collectives by which attention must see the other rank's tokens.
        exchange: what they do, the name of a check.
        padded: why the pipeline's run cannot be split although the transformer's calls can, from what a rank raised;
            empty if that is no reason.  The feature is then limited to lengths that the ranks share evenly.
    """
    if reason := lab.undeclared("sequence parallelism"):
        return Finding(undeclared=reason)
    sizes = Tokens(**{key: lab.prepare()[key] for key in ("image", "text")})
    taken_away = lab.refused_inputs()
    without = tuple(name for name in taken_away if name in lab.prepare()["given"])
    alone = lab.transformer({}, without=without)[0]
    lab.pipeline_alone()
    # Only the even call: without padding and a mask vLLM-Omni itself refuses to split an odd number of tokens.
    uneven = ""
    try:
        ranks = lab.transformer(parallel, 2, (EVEN,), without=without)
        try:
            lab.pipeline(parallel, 2, (BASE,), False)
        except RankError as failure:
            if not (uneven := padded(failure)):
                raise
    except RankError as failure:
        if (name := refused(failure)) not in taken_away:
            raise
        return Finding(undeclared=f"the pipeline gives {name}, which cannot be given with sequence parallelism")
    run_error = 0.0
    if uneven:
        error = lab.compare(lab.transformer_file(parallel, without), lab.transformer_file({}, without))[EVEN]
    else:
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
        told = [shares(before["queries"], r["queries"], (before["samples"], r["samples"])) for r in after]
        told += [shares(*lengths(before["blocks"], r["blocks"], sizes.text, before["queries"])) for r in after]
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

    if uneven:
        checks.append(Check(f"pipeline, {BASE}", False, uneven, main=False))
    else:
        checks.append(Check(f"pipeline, {BASE}", run_error <= lab.limit(), value=run_error, limit=lab.limit()))
    left_out = f"; {', '.join(without)} not given" if without else ""
    evidence = (
        f"{given}{left_out}",
        f"per forward {exchanged} {'/'.join(kinds)}",
        f"against one rank {max(error, run_error):.1e}",
    )
    return Finding(tuple(checks), evidence)


def lengths(
    alone: dict[str, list[int]], local: dict[str, list[int]], text: int, queries: list[int]
) -> tuple[list[int], list[int]]:
    """Token counts of the arguments of all block calls, on one rank alone and on a rank of two, in one order.

    Text that no query of attention is as long as is left out: it has keys alone, of which each rank needs all.  Only
    where another argument is as long as the longest queries, which then are the tokens that must be split.
    """
    most = max(queries, default=0)
    keys = {n for n, counts in alone.items() if text > most and set(counts) == {text}}
    if not any(most in counts for counts in alone.values()):
        keys = set()
    names = [name for name in alone if name not in keys]
    if any(len(alone[name]) != len(local.get(name, [])) for name in names):
        return [c for n in names for c in alone[n]], [c for n in names for c in local.get(n, [])]
    pairs = [pair for name in names for pair in zip(alone[name], local[name], strict=True)]
    pairs.sort(key=lambda pair: pair[0])  # the longest last: of arguments only those must be halved, see ``shares``
    return [then for then, _ in pairs], [now for _, now in pairs]


def local_text(before: dict[str, list[int]], after: dict[str, list[int]], text: int) -> int:
    """Text tokens that a rank holds: read off the block arguments that are all text, else all of them."""
    held = [
        now
        for name, lengths in before.items()
        for then, now in zip(lengths, after.get(name, []), strict=False)
        if then == text
    ]
    return max(held, default=text)


def shares(alone: list[int], local: list[int], samples: tuple[list[int], list[int]] | None = None) -> tuple[str, str]:
    """What the query lengths of a rank of two say beside those of one rank alone, and what is wrong with them.

    The longest queries are those over all tokens: of each a rank may have half, and one token of padding per stream.
    Refiners and history may have all of theirs, but only in front of the first of the longest: a text that is longer
    than the picture and the only thing that is split is found by the queries of the picture that follow.  Where frames
    attend place by place, a rank has half of the places: half of the ``samples``, of one rank alone and of this one.
    """
    if len(alone) != len(local) or not alone:
        return "", f"{len(local)} attention calls instead of {len(alone)}"
    whole = [at for at, (a, b) in enumerate(zip(alone, local, strict=True)) if b >= a or b > -(-a // 2) + 1]
    if samples is not None:
        most, (before, after) = max(alone), samples
        whole = [at for at in whole if alone[at] == most or before[at] < 2 or after[at] > -(-before[at] // 2)]
    halved = len(alone) - len(whole)
    said = f"{halved} of {len(alone)} attention calls on half of the tokens"
    behind = [alone[at] for at in whole if at >= alone.index(max(alone))]
    fault = f"a rank attends with all of {max(behind)} tokens" if behind else ""
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
