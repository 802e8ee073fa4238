"""The comparison with hand-written transformers: what counts as a line, and what it says of a file that is too long."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from omniport.errors import OmniportError
from omniport.report.readability import LIMIT, MODELS, PAIRS, count, ratios, report, sequence_lines

TEXT = '''"""Doc
of two lines."""

# a comment
import torch


class A:
    """Doc."""

    text = """no
    doc"""

    def f(self):  # says
        return (
            1
        )
'''
VERSIONS = {"diffusers": "1.0", "vllm-omni": "2.0"}
DOCS = Path(__file__).parents[2] / "docs" / "readability.md"


def tree(root: Path, generated: int, by_hand: int) -> tuple[Path, Path]:
    package = root / "package"
    for pair in PAIRS:
        for file, lines in (
            (root / "tree/vllm_omni" / MODELS / pair.generated, generated),
            (package / MODELS / pair.by_hand, by_hand),
        ):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("x = 1\n" * lines)
    return root / "tree", package


def test_lines_and_lines_of_code() -> None:
    assert count(TEXT) == (17, 8)


def test_a_report_states_its_ratios(tmp_path: Path) -> None:
    text = report(*tree(tmp_path, 11, 10), VERSIONS)
    assert ratios(text) == {pair.title: 1.1 for pair in PAIRS}
    assert f"None is longer than {LIMIT} times" in text and "diffusers 1.0" in text


SPLIT = """

class SequenceSplit:
    pass


class Root:
    _sp_plan = {
        "": 1,
    }

    def forward(self, x):
        return self.sequence_gather(x)
"""


def test_features_that_the_other_has_not_are_counted_apart(tmp_path: Path) -> None:
    assert sequence_lines(SPLIT) == 2 + 2 + 3 + 1 and sequence_lines("x = 1\n") == 0
    generated, package = tree(tmp_path, 5, 10)
    for pair in PAIRS:
        (generated / "vllm_omni" / MODELS / pair.generated).write_text("x = 1\n" * 5 + SPLIT)
    text = report(generated, package, VERSIONS)
    assert ratios(text) == {pair.title: 1.0 for pair in PAIRS} and "1.80 (1.30) | 1.00, without 8 lines" in text
    for pair in PAIRS:
        (package / MODELS / pair.by_hand).write_text("_sp_plan = 1\n" * 10)
    assert "Too long" in report(generated, package, VERSIONS)


def test_a_file_that_is_too_long_is_named(tmp_path: Path) -> None:
    text = report(*tree(tmp_path, 13, 10), VERSIONS)
    assert "None is longer" not in text and f"Too long: {', '.join(pair.title for pair in PAIRS)}," in text


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    generated, package = tree(tmp_path, 1, 1)
    (generated / "vllm_omni" / MODELS / PAIRS[0].generated).unlink()
    with pytest.raises(OmniportError, match="missing"):
        report(generated, package, VERSIONS)


def test_the_documentation_is_of_this_report_and_within_the_limit() -> None:
    text = DOCS.read_text("utf-8")
    stated = ratios(text)
    assert set(stated) == {pair.title for pair in PAIRS} and all(0 < ratio <= LIMIT for ratio in stated.values())
    assert all(pair.text in text for pair in PAIRS), "write it again: python -m omniport.report.readability"


def test_the_documentation_counts_the_hand_written_files_as_they_are() -> None:
    spec = find_spec("vllm_omni")
    if spec is None or spec.origin is None:
        pytest.skip("needs vllm-omni")
    text = DOCS.read_text("utf-8")
    for pair in PAIRS:
        lines, code = count((Path(spec.origin).parent / MODELS / pair.by_hand).read_text("utf-8"))
        assert f"| {lines} ({code}) |" in text
