"""What the page of pipelines says of those without a port, and of those proved otherwise than most."""

from __future__ import annotations

from omniport.corpus.pipeline_table import to_markdown
from omniport.corpus.results import (
    OWN_FAULT,
    REFERENCE,
    ClassResult,
    CorpusReport,
    StageResult,
    beside_the_reference,
)

REFUSED = StageResult("plan", "refused", "p.py:7: some construct")


def test_the_reason_says_whether_diffusers_own_class_runs() -> None:
    (runs,) = beside_the_reference([REFUSED, StageResult(REFERENCE, "ok")])
    assert runs.reason == "p.py:7: some construct; diffusers' own class runs"
    fault = StageResult(REFERENCE, "failed", f"{OWN_FAULT}TypeError: no such argument (p.py:9 in __call__)")
    (fails,) = beside_the_reference([REFUSED, fault])
    assert fails.reason == f"p.py:7: some construct; {fault.reason}"
    assert (fails.stage, fails.state) == ("plan", "refused")


def test_it_is_told_of_the_stage_that_did_not_pass() -> None:
    stages = [StageResult("plan", "ok"), StageResult("import", "failed", "no transformer")]
    assert beside_the_reference([*stages, StageResult(REFERENCE, "ok")])[0] == stages[0]
    assert beside_the_reference(stages) == stages


def test_a_page_names_what_was_proved_in_another_way() -> None:
    details = (
        f"Old is an old name of New, which it is compared with; {OWN_FAULT}ValueError: gone; base 1.0e-06",
        "base 1.0e-06; defaults 2.0e-06",
        f"base 1.0e-06; {OWN_FAULT}ValueError: gone",  # not after an old name
    )
    classes = tuple(
        ClassResult(n, "f.py", (StageResult("e2e", "ok", detail=d),)) for n, d in zip("ABC", details, strict=True)
    )
    page = to_markdown(CorpusReport(classes, ("e2e",), {}, "now", 1.0))
    told = page.partition("## Proved in a way of their own\n\n")[2].strip()
    assert told == f"- **A**: Old is an old name of New, which it is compared with; {OWN_FAULT}ValueError: gone"
    bare = CorpusReport(classes[1:], ("e2e",), {}, "now", 1.0)
    assert "Proved in a way of their own" not in to_markdown(bare)
