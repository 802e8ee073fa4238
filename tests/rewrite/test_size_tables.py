"""A module of the port keeps the tables that sizes decide, on the device of the input, and makes others anew."""

from __future__ import annotations

from typing import Any

import libcst as cst
import pytest

from omniport.analyse.host_tables import SUBJECT as ON_HOST
from omniport.analyse.size_tables import SUBJECT
from omniport.plan.model import Decision, TransformerPlan, Why
from omniport.rewrite.host_tables import place_tables
from omniport.rewrite.size_tables import keep_tables

ROOT = """
class Root(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.rope = Rope(dim)
        self.other = Other(dim)

    def forward(self, x):
        tables = self.rope(x)
        return self.block(x, tables)
"""
VALUE = "Rope(x: torch.Tensor, fps: int | None=None)"


def kept(*decisions: tuple[str, str], taken: tuple[str, ...] = ()) -> tuple[cst.Module, str, frozenset[str]]:
    made = tuple(Decision(subject, value, Why("because")) for subject, value in decisions)
    empty = ()
    plan = TransformerPlan(
        "Root", "m", empty, empty, empty, empty, empty, empty, empty, empty, empty, empty, decisions=made
    )
    module, text, names = keep_tables(cst.parse_module(ROOT), plan, "Root", taken)
    root = cst.ensure_type(module.body[0], cst.ClassDef)
    return module.with_changes(body=[place_tables(root, plan, names)]), text, names


def test_the_root_makes_the_class_that_keeps_them() -> None:
    module, text, names = kept((f"{SUBJECT} rope", VALUE))
    assert module.code == ROOT.replace("= Rope(dim)", "= CachedRope(dim)")
    assert "class CachedRope(Rope):" in text and names == {"rope"}


@pytest.mark.parametrize(
    "decision",
    [(f"{SUBJECT} absent", VALUE), (f"{SUBJECT} other", VALUE), ("import Rope", VALUE), (f"{ON_HOST}er rope", "Rope")],
)
def test_nothing_else_changes(decision: tuple[str, str]) -> None:
    assert kept(decision)[0].code == ROOT


def test_a_name_that_the_module_has_is_not_taken() -> None:
    module, text, names = kept((f"{SUBJECT} rope", VALUE), taken=("CachedRope",))
    assert (module.code, text, names) == (ROOT, "", frozenset())


def test_tables_on_the_host_are_moved_where_they_are_kept_and_nowhere_else() -> None:
    module, text, _ = kept((f"{SUBJECT} rope", VALUE), (f"{ON_HOST} rope", "Rope"))
    assert "tuple(table.to(x.device) for table in super().forward(x, fps))" in text
    assert "tables = self.rope(x)" in module.code
    module, text, _ = kept((f"{ON_HOST} rope", "Rope"))
    assert not text and "tuple(table.to(x.device) for table in self.rope(x))" in module.code


def run(text: str) -> tuple[Any, list[Any]]:
    """A module of the class in ``text``, and a list of the calls that reach the reference's."""
    torch = pytest.importorskip("torch")
    calls: list[Any] = []

    class Rope(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any, fps: int | None = None) -> Any:
            calls.append((tuple(x.shape), fps))
            return torch.arange(x.shape[1], device="cpu"), torch.ones(1) * (fps or 1)

    scope: dict[str, Any] = {"torch": torch, "Rope": Rope}
    exec(text, scope)
    return scope["CachedRope"](), calls


def test_steps_of_a_request_share_what_the_first_one_made() -> None:
    torch = pytest.importorskip("torch")
    rope, calls = run(kept((f"{SUBJECT} rope", VALUE))[1])
    first = rope(torch.zeros(1, 4))
    assert rope(torch.ones(1, 4)) is first and calls == [((1, 4), None)]


def test_other_sizes_precisions_and_numbers_are_made_anew() -> None:
    torch = pytest.importorskip("torch")
    rope, calls = run(kept((f"{SUBJECT} rope", VALUE))[1])
    given = [(torch.zeros(1, 4),), (torch.zeros(1, 6),), (torch.zeros(1, 6).double(),), (torch.zeros(1, 6).double(), 3)]
    for number, arguments in enumerate(given, 1):
        tables = rope(*arguments)
        assert len(calls) == number and len(tables[0]) == arguments[0].shape[1]
    assert torch.equal(rope(torch.zeros(1, 4))[0], torch.arange(4)) and len(calls) == 5


def test_a_module_that_looks_at_the_batch_alone_gives_wrong_tables() -> None:
    torch = pytest.importorskip("torch")
    text = kept((f"{SUBJECT} rope", VALUE))[1]
    broken = text.replace("x.shape, x.dtype", "x.shape[0], x.dtype")
    assert broken != text
    rope, _ = run(broken)
    rope(torch.zeros(1, 4))
    assert len(rope(torch.zeros(1, 6))[0]) == 4


def test_attributes_of_a_module_that_keeps_tables_are_no_weights() -> None:
    torch = pytest.importorskip("torch")
    rope, _ = run(kept((f"{SUBJECT} rope", VALUE))[1])
    rope(torch.zeros(1, 4))
    assert not rope.state_dict() and not list(rope.buffers())
