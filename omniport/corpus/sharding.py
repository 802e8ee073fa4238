"""The page on tensor parallelism: what one of two ranks holds of each model, and what the ranks exchange."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.corpus.results import SHARE, CorpusReport


def sharding_lines(report: CorpusReport) -> Iterator[str]:
    """Markdown: a table class x share and collectives, for the classes that ran on two tensor-parallel ranks."""
    rows = [(c.name, s.measures) for c in report.classes if (s := c.stage("tp2")) is not None and s.measures]
    if not rows:
        return
    known = [measures["share"] for _, measures in rows if "share" in measures]
    good = sum(share <= SHARE for share in known)
    yield "## Tensor parallelism"
    yield ""
    yield (
        "*share*: of the parameters of all blocks, what one of two ranks holds with the constructor's own sizes, on "
        f"the meta device; {good} of {len(known)} classes hold at most {SHARE}. *all-reduce*, *gather*: for each call "
        "of a block, over a whole forward of the tiny model, the embedders and the output layers included; "
        "*of tokens*: gathers in that forward of a tensor as long as the tokens."
    )
    yield ""
    yield "| class | share | all-reduce | gather | of tokens |"
    yield "|---|---|---|---|---|"
    for name, found in rows:
        share = f"{found['share']:.3f}" if "share" in found else "size not known"
        yield f"| {name} | {share} | {found['reduces']:g} | {found['gathers']:g} | {found['token gathers']:g} |"
