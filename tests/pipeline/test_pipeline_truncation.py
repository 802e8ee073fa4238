"""A prompt is tokenised twice only where the first result is as long as the limit."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.truncation import tokenised_once
from omniport.source.syntax import code
from tests.pipeline.helpers import function

LINES = [
    "    found = self.tokenizer(",
    '        prompt, padding="max_length", max_length=limit, truncation=True, return_tensors="pt"',
    "    )",
    "    ids = found.input_ids",
    '    whole = self.tokenizer(prompt, padding="longest", return_tensors="pt").input_ids',
    "",
    "    if whole.shape[-1] >= ids.shape[-1] and not torch.equal(ids, whole):",
    "        rest = self.tokenizer.batch_decode(whole[:, limit - 1 : -1])",
    '        logger.warning(f"cut: {rest}")',
    "    return self.encoder(ids)",
]
SOURCE = "def encode(self, prompt, limit):\n" + "\n".join(LINES) + "\n"


def run(*changes: tuple[str, str], source: str = SOURCE) -> str:
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return code(tokenised_once(function(source)))


def test_only_a_prompt_without_padding_is_tokenised_again() -> None:
    assert run() == (
        "def encode(self, prompt, limit):\n"
        + "\n".join(LINES[:4])
        + "\n    if found.attention_mask.all(dim=-1).any():\n"
        + '        whole = self.tokenizer(prompt, padding="longest", return_tensors="pt").input_ids\n'
        + "        if whole.shape[-1] >= ids.shape[-1] and not torch.equal(ids, whole):\n"
        + "            rest = self.tokenizer.batch_decode(whole[:, limit - 1 : -1])\n"
        + '            logger.warning(f"cut: {rest}")\n'
        + LINES[-1]
        + "\n"
    )


@pytest.mark.parametrize("padding", ["True", '"longest"'])
def test_without_padding_up_to_the_limit_lengths_tell(padding: str) -> None:
    new = run(('prompt, padding="max_length"', f"prompt, padding={padding}"))
    assert "if ids.shape[-1] >= limit:\n        whole = " in new


def test_a_tokenizer_that_is_asked_by_keys_is_asked_so_again() -> None:
    new = run(("found.input_ids", 'found["input_ids"]'))
    assert 'if found["attention_mask"].all(dim=-1).any():' in new


def test_ids_that_are_moved_are_still_known() -> None:
    new = run(("found.input_ids", "found.input_ids.to(d)"), ('"pt").input_ids', '"pt").input_ids.to(d)'))
    assert "if found.attention_mask.all(dim=-1).any():" in new


def test_ids_of_another_device_are_compared_before_they_are_moved() -> None:
    new = run(("found.input_ids", "found.input_ids.to(self.device)"))
    assert "if whole.shape[-1] >= found.input_ids.shape[-1] and not torch.equal(found.input_ids, whole):" in new
    assert "    ids = found.input_ids.to(self.device)\n" in new and "return self.encoder(ids)" in new


@pytest.mark.parametrize("moved", ["found.input_ids", "whole.input_ids"])
def test_ids_of_one_device_are_compared_as_they_are(moved: str) -> None:
    both = ("found.input_ids", "found.input_ids.to(d)"), ('"pt").input_ids', '"pt").input_ids.to(d)')
    new = run(*(both if moved.startswith("found") else both[1:]))
    assert "torch.equal(ids, whole)" in new


def test_a_comparison_on_several_lines_is_the_same() -> None:
    new = run(("torch.equal(ids, whole):", "torch.equal(\n        ids, whole\n    ):"))
    assert "    if found.attention_mask.all(dim=-1).any():\n        whole = " in new


def test_comments_stay_above() -> None:
    assert "    # warn\n    if found.att" in run(("    whole = ", "    # warn\n    whole = "))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("truncation=True, ", "", "nothing is cut"),
        ("truncation=True", "truncation=True, return_attention_mask=False", "no mask"),
        ("whole = self.tokenizer(", "whole = self.other(", "another tokenizer"),
        ("whole = self.tokenizer(prompt,", "whole = self.tokenizer(prompts,", "another prompt"),
        ('padding="longest", return', 'padding="longest", add_special_tokens=False, return', "other tokens"),
        ('padding="longest"', 'padding="max_length"', "as long as the first"),
        ("    ids = ", "    prompt = clean(prompt)\n    ids = ", "the prompt changes"),
        ("    ids = ", "    found = again(found)\n    ids = ", "the result changes"),
        ("found.input_ids", "found.input_ids[:, 1:]", "the ids are cut elsewhere"),
        ("        logger.warning(", "        prompt = rest\n        logger.info(", "more than a warning"),
        ("        logger.warning(", "        raise ValueError(", "an error"),
        ("return self.encoder(ids)", "return self.encoder(whole)", "the whole prompt is read"),
        ("return self.encoder(ids)", "return self.encoder(ids), rest", "the rest is read"),
        (" and not torch.equal(ids, whole)", " or not torch.equal(ids, whole)", "another comparison"),
        ('prompt, padding="max_length"', "prompt", "no padding"),
        ('prompt, padding="max_length"', "**given", "arguments that are not seen"),
    ],
)
def test_others_stay(old: str, new: str, why: str) -> None:
    assert run((old, new)) == SOURCE.replace(old, new), why


def test_an_alternative_stays() -> None:
    source = SOURCE.replace("    return", "    else:\n        prompt = None\n    return")
    assert run(source=source) == source


def test_a_method_without_a_comparison_is_the_same_object() -> None:
    node = function("def f(x):\n    return x\n")
    assert tokenised_once(node) is node
