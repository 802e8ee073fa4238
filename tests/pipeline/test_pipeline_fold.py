"""Folding: what the facts decide goes, everything else stays as it is written."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.fold import PRESENT, Facts, fold_block, fold_function
from tests.pipeline.helpers import block, function, text

FACTS = Facts(
    values={
        "gone": None,
        "XLA_AVAILABLE": False,
        "self.interrupt": False,
        "self._interrupt": False,
        "self.text_encoder": PRESENT,
        "self.image_encoder": None,
    },
    calls={"torch.backends.mps.is_available": False},
    removed_calls=frozenset({"self.maybe_free_model_hooks"}),
    unwrapped=frozenset({"cache_context"}),
    absent_bases=frozenset({"LoraMixin"}),
    lists=frozenset({"prompt"}),
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("if gone is not None:\n    a()\n", ""),
        ("if gone is None:\n    a()\nelse:\n    b()\n", "a()\n"),
        ("if x and gone is not None:\n    a()\n", ""),
        ("if x and gone is None:\n    a()\n", "if x:\n    a()\n"),
        ("if x:\n    a()\nelif gone is not None:\n    b()\nelse:\n    c()\n", "if x:\n    a()\nelse:\n    c()\n"),
        ("if gone is not None:\n    a()\nelif x:\n    b()\n", "if x:\n    b()\n"),
        ("if XLA_AVAILABLE:\n    d = 'cpu'\nelse:\n    d = device\n", "d = device\n"),
        ("for t in ts:\n    if self.interrupt:\n        continue\n    a(t)\n", "for t in ts:\n    a(t)\n"),
        ("self._interrupt = False\na()\n", "a()\n"),
        ("self.maybe_free_model_hooks()\n", ""),
        ("with self.transformer.cache_context('cond'):\n    a()\n", "a()\n"),
        ("d = self.text_encoder.dtype if self.text_encoder is not None else x\n", "d = self.text_encoder.dtype\n"),
        ("n = a if getattr(self, 'text_encoder', None) else 8\n", "n = a\n"),
        ("n = a if hasattr(self, 'text_encoder') and self.text_encoder is not None else 8\n", "n = a\n"),
        ("if isinstance(self, LoraMixin) and y:\n    a()\n", ""),
        ("if isinstance(prompt, str):\n    a()\n", ""),
        ("if d != e:\n    if torch.backends.mps.is_available():\n        x = x.to(d)\n", ""),
        ("f(image=gone)\n", "f(image=None)\n"),
        ("if not all(k in known for k in gone):\n    a()\n", ""),
        ("if any(k in known for k in gone):\n    a()\n", ""),
    ],
)
def test_decided_code_is_folded(source: str, expected: str) -> None:
    assert text(fold_block(block(source), FACTS)) == expected


@pytest.mark.parametrize(
    "source",
    [
        "if other is not None:\n    a()\n",
        "if x or y:\n    a()\n",
        "if call() and y:\n    a()\n",
        "if isinstance(prompt, list):\n    a()\n",
        "if isinstance(other, str):\n    a()\n",
        "if isinstance(self, Other):\n    a()\n",
        "if hasattr(self, 'other'):\n    a()\n",
        "if self.text_encoder.training:\n    a()\n",
        "if gone_too:\n    a()\n",
        "x.gone = 3\n",
        "f(gone=x)\n",
        "x = y.gone\n",
        "self.text_encoder = x\n",
        "with self.progress_bar(total=3) as bar:\n    a()\n",
        "with torch.no_grad():\n    a()\n",
        "maybe_free_model_hooks()\n",
        "x = self.maybe_free_model_hooks()\n",
        "while running:\n    a()\n",
        "try:\n    a()\nexcept ValueError:\n    b()\n",
        "n = a if b else c\n",
        "n = b or c\n",
        "assert x == 0\n",
        "# a comment\nx = 1\n",
    ],
)
def test_undecided_code_stays_as_it_is(source: str) -> None:
    assert text(fold_block(block(source), FACTS)) == source


def test_effect_in_an_undecided_condition_is_kept() -> None:
    source = "if call() and gone is not None:\n    a()\n"
    assert "call()" in text(fold_block(block(source), FACTS))


def test_comment_of_a_dissolved_if_moves_to_its_body() -> None:
    assert text(fold_block(block("# why\nif gone is None:\n    a()\n"), FACTS)) == "# why\na()\n"


def test_locals_that_can_only_be_none_are_folded_too() -> None:
    source = """
    def f(self, image):
        embeds = None
        if image is not None:
            embeds = encode(image)
        if embeds is not None:
            use(embeds)
        return embeds
    """
    new = fold_function(function(source), Facts(), {"image": None})
    assert text([new]).split() == ["def", "f(self,", "image):", "return", "None"]


def test_argument_rebound_outside_dead_code_keeps_its_unknown_value() -> None:
    source = """
    def f(self, image):
        if x:
            image = load()
        if image is not None:
            use(image)
    """
    node = function(source)
    assert text([fold_function(node, Facts(), {"image": None})]) == text([node])


def test_a_parameter_hides_the_fact_of_the_same_name() -> None:
    node = function("def f(self, gone):\n    if gone is not None:\n        a()\n")
    assert text([fold_function(node, FACTS)]) == text([node])


def test_the_class_of_a_component_decides_isinstance() -> None:
    facts = Facts(classes={"self.net": frozenset({"Net", "ModelMixin"})})
    source = "def f(self):\n    if isinstance(self.net, {}):\n        a()\n    else:\n        b()\n"
    assert "b()" not in text([fold_function(function(source.format("Net")), facts)])
    assert "a()" not in text([fold_function(function(source.format("MultiNet")), facts)])
    assert "b()" not in text([fold_function(function(source.format("(MultiNet, Net)")), facts)])
    assert "a()" not in text([fold_function(function(source.format("(MultiNet, OtherNet)")), facts)])
    for unknown in ("(Net, nn.Module)", "nn.Module"):
        found = text([fold_function(function(source.format(unknown)), facts)])
        assert "a()" in found and "b()" in found
