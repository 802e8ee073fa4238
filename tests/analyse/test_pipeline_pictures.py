"""A picture that a pipeline takes in lists only is made a list of one, wherever the source says so."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

from omniport.analyse import pipeline_knowledge as knowledge
from omniport.analyse.pipeline_arguments import arguments
from omniport.source.tree import SourceModule

PIPELINE = """
class Pipeline:
    @staticmethod
    def static(image: list[Image.Image] | list[list[Image.Image]], count):
        return image

    def listed(self, count, *, image: list[Image.Image] | None = None):
        return image

    def wide(self, image: Image.Image | list[Image.Image]):
        return image

    def __call__(self, prompt=None, image: ANNOTATION = None, num_images_per_prompt=1):
        BODY
        image = self.vae.decode(found)
        self.static(image, 1)
        return image
"""
WIDE = "torch.Tensor | Image.Image | list[Image.Image] | None"


def source(tmp_path: Path, body: str, annotation: str = WIDE) -> str:
    text = PIPELINE.replace("BODY", body).replace("ANNOTATION", annotation)
    file = tmp_path / "p.py"
    file.write_text(textwrap.dedent(text))
    node = next(n for n in ast.parse(file.read_text()).body if isinstance(n, ast.ClassDef))
    call = next(n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__call__")
    found, _, _ = arguments(node, call, SourceModule("p", file, "p.py", file.read_text()))
    return next(a.source for a in found if a.name == "image")


LIST = knowledge.MEDIA_LIST.source.replace("{key}", "image")


@pytest.mark.parametrize(
    "body",
    [
        "found = self.static(image, 2)",
        "found = self.listed(2, image=image)",
        "found = self.static(image=image, count=2)",
    ],
)
def test_what_is_handed_to_a_method_that_wants_a_list_comes_as_one(tmp_path: Path, body: str) -> None:
    assert source(tmp_path, body) == LIST


@pytest.mark.parametrize(
    "body",
    [
        "found = self.wide(image)",  # a method that takes one picture, too
        "found = self.static(2, image)",  # another parameter
        "found = self.static(image.x, 2)",  # not the picture itself
        "found = static(image, 2)",  # another function
        "found = self.vae.static(image, 2)",  # not a method of the class
        "image = self.wide(image)\n        found = self.static(image, 2)",  # not as it came
    ],
)
def test_everything_else_comes_as_it_is(tmp_path: Path, body: str) -> None:
    assert source(tmp_path, body) == 'media.get("image")'


def test_a_call_that_makes_the_list_itself_gets_the_picture(tmp_path: Path) -> None:
    body = "if not isinstance(image, list):\n            found = [image]\n        found = self.static(image, 2)"
    assert source(tmp_path, body) == 'media.get("image")'
