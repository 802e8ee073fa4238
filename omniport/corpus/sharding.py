"""The page on tensor parallelism: what one of two ranks holds of each model, and what the ranks exchange."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from omniport.corpus.results import SHARE, CorpusReport


def sharding_lines(report: CorpusReport) -> Iterator[str]:
    """Markdown: a table class x share and collectives, for the classes that ran on two tensor-parallel ranks."""
    rows = [(c.name, s.measures) for c in report.classes if (s := c.stage("tp2")) is not None and s.measures]
    if not rows:
        return
    known = [measures["share"] for _, measures in rows if "share" in measures]
    good = sum(share <= SHARE for share in known)
    least = sum(minimal(measures) for _, measures in rows)
    yield "## Tensor parallelism"
    yield ""
    yield (
        "*share*: of the parameters of all blocks, what one of two ranks holds at published size, on the meta device; "
        f"{good} of {len(known)} classes hold at most {SHARE}. *by hand*: the same of vLLM-Omni's hand-written port, "
        "where there is one that takes the reference's config. *all-reduce*, *gather*: in a call of a block of the "
        "tiny model, the fewest and the most. *of these*: sums of the statistics of a qk norm across heads; *cut*: "
        "sums of projections between two whole streams of tokens, whose input each rank cuts. *fewest*: whether each "
        "all-reduce of a block ends an attention, a feed-forward or such a projection, or is the one of its "
        f"attention's norms across heads, and no tensor of tokens is gathered; {least} of {len(rows)} classes do. "
        "*outside*: all-reduces of a forward in embedders, refiners and output layers that are in no list of blocks."
    )
    yield ""
    yield "| class | share | by hand | all-reduce | of these | cut | gather | fewest | outside |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, found in rows:
        share = f"{found['share']:.3f}" if "share" in found else "size not known"
        low, high = found["reduces least"], found["reduces"]
        spread = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        hand = f"{found['hand share']:.3f}" if "hand share" in found else ""
        yield (
            f"| {name} | {share} | {hand} | {spread} | {found['norms']:g} | {found['cut']:g} | {found['gathers']:g} "
            f"| {_fewest(found)} | {found['outside']:g} |"
        )


def minimal(measures: Mapping[str, float]) -> bool:
    """Whether a block exchanges no more than its plan implies."""
    return measures.get("extra", 0) <= 0 and measures["token gathers"] == 0


def _fewest(found: Mapping[str, float]) -> str:
    if minimal(found):
        return "yes"
    more = [f"{found['extra']:g} too many"] if found.get("extra", 0) > 0 else []
    return ", ".join([*more, *([f"{found['token gathers']:g} of tokens"] if found["token gathers"] else [])])
