"""Annotations of what functions return."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.returns import return_values


def run(annotation: str, body: str, parameters: str = "x: torch.Tensor, n: int") -> str:
    text = return_values(cst.parse_module(f"def f({parameters}){annotation}:\n{body}")).code
    return text.partition(")")[2].partition(":\n")[0]


@pytest.mark.parametrize(
    ("annotation", "body", "expected"),
    [
        (" -> torch.Tensor", "    return x, x + 1\n", " -> tuple[torch.Tensor, torch.Tensor]"),
        (" -> torch.FloatTensor", "    return x, g(x)\n", " -> tuple[torch.Tensor, torch.Tensor]"),
        (
            " -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]",
            "    return x, y\n",
            " -> tuple[torch.Tensor, torch.Tensor]",
        ),
        (" -> Tuple[torch.Tensor, int]", "    return x, n, x\n", ""),
        (" -> torch.Tensor", "    return x, None\n", ""),
        (" -> torch.Tensor", "    y = None\n    if n:\n        y = x\n    return x, y\n", ""),
        (" -> torch.Tensor", "    y = x if n else None\n    return x, y\n", ""),
        (" -> torch.Tensor", "    return x, n\n", ""),
        (
            " -> torch.Tensor",
            "    if n:\n        return x, x\n    return x, x + 1\n",
            " -> tuple[torch.Tensor, torch.Tensor]",
        ),
    ],
)
def test_an_annotation_of_another_number(annotation: str, body: str, expected: str) -> None:
    assert run(annotation, body) == expected


@pytest.mark.parametrize(
    ("annotation", "body"),
    [
        ("", "    return x, x\n"),
        (" -> torch.Tensor", "    return x\n"),
        (" -> torch.Tensor", "    if n:\n        return x\n    return x, x\n"),
        (" -> tuple[torch.Tensor, torch.Tensor]", "    return x, x + 1\n"),
        (" -> tuple[torch.Tensor, ...]", "    return x, x + 1, x\n"),
        (" -> tuple[torch.Tensor, torch.Tensor]", "    return g(x)\n"),
        (" -> torch.Tensor", "    return x, *g(x)\n"),
        (" -> Output | tuple", "    return x, x\n"),
        (" -> torch.Tensor", "    def g(y):\n        return y, y\n    return g(x)[0]\n"),
    ],
)
def test_other_annotations_stay(annotation: str, body: str) -> None:
    assert run(annotation, body) == annotation
