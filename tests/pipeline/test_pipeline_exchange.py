"""What ranks exchange has one shape on both sides: lists in one tuple, a longer prediction cut where it is made."""

from __future__ import annotations

import ast
import textwrap
from types import SimpleNamespace
from typing import Any

import pytest

from omniport.analyse.pipeline_reading import returns_lists
from omniport.plan.model import Decision, PipelinePlan, Why
from omniport.rewrite.pipeline.denoiser import Denoisers
from omniport.rewrite.pipeline.guidance import Guided, guided
from omniport.rewrite.pipeline.module import guidance_methods
from omniport.rewrite.pipeline.narrowed import start_of
from tests.pipeline.helpers import function, text

ONE = Denoisers((("self.transformer", ("x",)),))
TWO = Denoisers((("self.transformer", ("x",)), ("self.other", ("x",))))
LISTS = Denoisers((("self.transformer", ("x",)),), lists=True)


def formed(body: str, denoisers: Denoisers) -> Guided:
    head = "def __call__(self, ts, p, q, s, n, latents):\n    for t in ts:\n"
    return guided(function(head + textwrap.indent(textwrap.dedent(body), "        ")), denoisers)


def methods(*decisions: tuple[str, object]) -> dict[str, Any]:
    """The methods that a port gets for such decisions, executed."""
    made = tuple(Decision(name, value, Why("test")) for name, value in decisions)  # type: ignore[arg-type]
    plan = PipelinePlan("P", "m", "image", (), (), "sequential", (), None, None, made)
    found: dict[str, Any] = {}
    exec("from __future__ import annotations\n" + guidance_methods(plan), found)
    return found


CUT = """
pred = self.transformer(x=p)[0]
kept = pred[:, n:].float()
neg = self.other(x=q)[0].float()
v = s * kept + (1 - s) * neg
latents = f(v, latents)
"""


def test_the_longer_side_is_cut_where_it_is_made() -> None:
    form = formed(CUT, TWO)
    found = text([form.entry])
    assert '"x": p,\n            "start": n' in found and found.count('"start"') == 1
    assert "pred[:, n:]" not in found and "kept = pred.float()" in found and form.pairs[0].start


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pred[:, n:]", "pred[:, :n]"),  # another part
        ("pred[:, n:]", "pred[:, n::2]"),
        ("pred[:, n:]", "pred[n:]"),  # another axis
        ("s * kept", "s * kept + pred"),  # the rest of it is used, too
        ("kept = pred[:, n:].float()", "n = n + 1\nkept = pred[:, n:].float()"),  # known later than the call
        ("self.other(x=q)[0].float()", "self.other(x=q)[0][:, n:].float()"),  # both sides alike
    ],
)
def test_other_predictions_are_not_cut(old: str, new: str) -> None:
    assert old in CUT
    form = formed(CUT.replace(old, new), TWO)
    assert '"start"' not in text([form.entry]) and not any(p.start for p in form.pairs)


def test_one_denoiser_gives_both_sides_one_length() -> None:
    body = "pred = self.transformer(x=p)[0]\nif g:\n    neg = self.transformer(x=q)[0]\n    v = f(pred[:, n:], neg)\n"
    assert "pred[:, n:]" in text([formed(body, ONE).entry])


def test_a_cut_inside_other_work_is_found() -> None:
    assert start_of("_[:, n + 1:].float()") == ("n + 1", "_.float()")
    assert start_of("_[:, :n]") == (None, "_[:, :n]") and start_of("_") == (None, "_")


def test_the_denoiser_is_told_where_to_cut() -> None:
    decisions = (("guidance combine", "own"), ("prediction", "first"), ("denoiser argument", "model"))
    told = methods(*decisions, ("prediction start", "start"))["predict_noise"]
    grid = SimpleNamespace(__getitem__=None)

    class Prediction:
        def __getitem__(self, key: Any) -> Any:
            return key

    assert told(None, lambda x: [Prediction()], start=3, x=1) == (slice(None), slice(3, None))
    assert told(None, lambda x: [Prediction()], x=1) == (slice(None), slice(0, None))
    plain = methods(*decisions)["predict_noise"]
    assert plain(None, lambda x: [grid], x=1) is grid


SEVERAL = """
a, b = self.transformer(x=p)
own = f(a, b)
if g:
    a, b = self.transformer(x=q)
    other = f(a, b)
    own = other + s * (own - other)
"""


def test_lists_are_put_together_again_on_both_sides_and_without_guidance() -> None:
    form = formed(SEVERAL, LISTS)
    found = text([form.entry])
    assert form.pairs[0].form == "lists"
    assert "a, b = self._in_lists(prediction)" in found and "a, b = self._in_lists(negative_prediction)" in found
    guard = found.index("if g:\n            prediction, negative_prediction")
    assert guard < found.index("        a, b = self._in_lists(prediction)")
    assert "_in_lists" not in text([formed(SEVERAL, ONE).entry])


def test_tensors_go_out_flat_and_come_back_in_their_lists() -> None:
    found = methods(("guidance combine", "own"), ("prediction", "lists"))
    port = SimpleNamespace(transformer=lambda **_: (["v"], None, ["a", "b"], []))
    flat = found["predict_noise"](port, x=1)
    assert flat == ("v", "a", "b")
    assert found["_in_lists"](port, flat) == [["v"], None, ["a", "b"], []]
    assert found["combine_cfg_noise"](port, ("v",), ("w",), 1.0) == (("v",), ("w",))
    # told apart from a port that hands the lists themselves out, which no rank can exchange
    assert methods(("guidance combine", "own"), ("prediction", "whole"))["predict_noise"](port, x=1)[1] is None


@pytest.mark.parametrize(
    ("returns", "lists"),
    [
        ("Output | tuple[list[Tensor], list[Tensor] | None]", True),
        ("Tuple[List[torch.Tensor], torch.Tensor]", True),
        ("Output | tuple[list[Tensor]]", False),  # its first value alone is used: a list of samples
        ("tuple[Tensor, Tensor]", False),
        ("Tensor", False),
    ],
)
def test_lists_are_told_by_what_forward_says_that_it_returns(returns: str, lists: bool) -> None:
    node = ast.parse(
        f"class A:\n    def forward(self) -> {returns}: ...\n    def other(self) -> tuple[list, list]: ..."
    )
    assert isinstance(node.body[0], ast.ClassDef)
    assert returns_lists(node.body[0]) is lists
    assert not returns_lists(ast.parse("class A:\n    def forward(self): ...").body[0])  # type: ignore[arg-type]
