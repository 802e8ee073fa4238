"""The page of the conformance cases is that of the cases, and names every item of the audit."""

from __future__ import annotations

from tests.conformance.cases import CASES
from tests.conformance.page import OTHERS, PAGE, page


def test_the_page_is_renewed() -> None:
    assert PAGE.read_text("utf-8") == page(), "renew it with python -m tests.conformance.page"


def test_every_item_of_the_audit_is_there_once() -> None:
    run = {case.item for case in CASES.values()} - {0}
    others = [item for item, *_ in OTHERS]
    assert len(others) == len(set(others)) and run.isdisjoint(others)
    assert run | set(others) == set(range(1, 29))
