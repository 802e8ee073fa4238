"""Docstrings trimmed, long lines cut, imports collected."""

from __future__ import annotations

import ast

import pytest

from omniport.errors import UnsupportedError
from omniport.rewrite.pipeline.docs import describe, summary
from omniport.rewrite.pipeline.imports import free_names, import_lines
from omniport.rewrite.pipeline.strings import wrap_lines
from omniport.source.tree import SourceTree

DOC = """Encode.

Args:
    prompt (`str`):
        What.
    scale (`float`, *optional*):
        How much.

        More about it.
    device: (`torch.device`): Where.

Returns:
    scale (`float`): kept.
"""


def test_entries_of_gone_parameters_go() -> None:
    new = describe(DOC, ["prompt", "device"])
    assert "How much" not in new and "More about it" not in new
    assert "What." in new and "Where." in new and "kept." in new


@pytest.mark.parametrize(
    "text", ["Encode.", "Args:\n    prompt: What.", "Encode `scale`.\n\nNote:\n    scale (`float`): x"]
)
def test_other_text_stays(text: str) -> None:
    assert describe(text, ["prompt"]) == text


STRAY = "Args:\n    count (`int`):\n        How many. torch device to place the resulting embeddings on\n    x: a"


def test_the_stray_line_of_a_device_goes_with_the_device() -> None:
    assert describe(STRAY, ["count", "x"]) == "Args:\n    count (`int`):\n        How many.\n    x: a"
    assert describe(STRAY.replace(". torch", ".\n        torch"), ["count", "x"]).endswith("How many.\n    x: a")
    assert describe(STRAY, ["count", "x", "device"]) == STRAY
    other = STRAY.replace("embeddings on", "embeddings on, and more")
    assert describe(other, ["count", "x"]) == other


def test_summary_ends_at_the_first_section() -> None:
    assert summary("\n    Draws.\n\n    Well.\n\n    Args:\n        x: y\n") == "Draws.\n\nWell."
    assert summary("Draws.\n\nReference: x\n\nTODO\n") == "Draws.\n\nReference: x"
    assert summary("Draws.\n\nAll TODO lists.\n") == "Draws.\n\nAll TODO lists."


LONG = "a message of many words " * 6


def value_of(source: str) -> object:
    names: dict[str, object] = {"f": lambda x: x, "n": 3, "long": "L" * 3}
    exec(source, names)
    return names["x"]


@pytest.mark.parametrize(
    "line",
    [
        f'x = f(\n    "{LONG}"\n)\n',
        f'x = f(\n    f"{LONG}{{n}} and {{long!r}} {LONG}"\n)\n',
        f'x = f(\n    f"{{{{n}}}} {LONG} {{ {{1: 2}}[1] }}",\n)\n',
        f'x = "{LONG}"\n',
        f"x = '{LONG} \"quoted\" '\n",
        f'x = f(\n    "{LONG} \\" escaped \\\\ "\n)\n',
    ],
)
def test_long_literals_are_cut_and_keep_their_value(line: str) -> None:
    new = wrap_lines(line)
    assert max(map(len, new.splitlines())) <= 120 < max(map(len, line.splitlines()))
    assert value_of(new) == value_of(line)


@pytest.mark.parametrize(
    "line",
    [
        'x = f(\n    "short"\n)\n',
        f'def f():\n    """{LONG}\n    {LONG}\n    """\n',
        f"x = g({', '.join(['argument'] * 15)})\n",
        f'x = f("{LONG}", other)\n',
        f'x = "{"w" * 130}"\n',
        f'x = b"{LONG}"\n',
    ],
)
def test_other_long_lines_stay(line: str) -> None:
    assert wrap_lines(line) == line


def test_long_comments_are_filled() -> None:
    new = wrap_lines(f"    # {LONG}\nx = 1\n")
    assert all(line.startswith("    # ") and len(line) <= 120 for line in new.splitlines()[:-1])
    assert " ".join(line.strip()[2:] for line in new.splitlines()[:-1]) == LONG.strip()


def test_free_names_are_those_that_nothing_binds() -> None:
    source = "def f(a: T, b=D):\n    c = a\n    return [d for d in E if (n := d)] + [c, len(n), lambda g: g]\n"
    assert free_names(ast.parse(source)) == ["D", "E", "T"]


def test_imports_come_from_where_a_name_is_defined(reference: SourceTree) -> None:
    module = reference.find_class("MiniPipeline", "pipelines")
    body = "def f():\n    return np.pi, token_ids(3), randn_tensor, MiniAutoencoder, nn.Module, logger\n"
    lines = import_lines(ast.parse(body), module, reference, {})
    assert "import numpy as np" in lines
    assert "from diffusers.pipelines.mini.pipeline_mini import token_ids" in lines
    assert "from diffusers.models.autoencoder_mini import MiniAutoencoder" in lines
    assert "from torch import nn" in lines
    assert lines.rstrip().endswith("logger = init_logger(__name__)")
    ast.parse(lines)


def test_an_unknown_name_is_refused(reference: SourceTree) -> None:
    with pytest.raises(UnsupportedError, match="nowhere"):
        import_lines(ast.parse("x = nowhere\n"), reference.find_class("MiniPipeline", "pipelines"), reference, {})
