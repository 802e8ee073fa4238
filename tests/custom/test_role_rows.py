"""Every row of the role table has small repositories of our own, and each of those its port in full text."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from omniport.custom import read_repository
from omniport.plan.custom import CustomRole
from tests.custom.test_custom_scaffold import REPOSITORIES

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures" / "custom"
#: row -> repository, what plays the role in it, and which shape of the row that is
ROWS: dict[str, list[tuple[str, str, str]]] = {
    "backbone": [
        ("fusion", "duet/modules/stack.py:StackModel", "a list of blocks and a time"),
        ("unified", "modeling_sketch.py:SketchForImages", "a language model as denoiser"),
    ],
    "block": [
        ("fusion", "duet/modules/stack.py:StackBlock", "built in the list"),
        ("root_files", "toy/model.py:?", "chosen by a string"),
    ],
    "attention": [
        ("ode", "sound/model.py:ToneAttention", "a processor attends"),
        ("studio", "studio/denoiser.py:StudioBlock", "inline in the block"),
    ],
    "fusion": [("fusion", "duet/modules/fusion.py:DuetModel", "two backbones in one")],
    "vae": [
        ("root_files", "toy/autoencoder.py:AutoEncoder", "one class"),
        ("mapped", "wavelet/model.py:AutoencoderKL", "beside an encoder and a decoder apart"),
    ],
    "text encoder": [
        ("root_files", "app.py:T5EncoderModel", "a published class"),
        ("studio", "studio/words.py:StudioTextEncoder", "a wrapper of one"),
    ],
    "loader": [
        ("root_files", "app.py:<module>", "a script's own statements"),
        ("studio", "studio/denoiser.py:load_denoiser", "a function"),
    ],
    "denoise loop": [
        ("ode", "sound/model.py:Flow.sample", "a solver of differential equations"),
        ("studio", "studio/generate.py:generate", "a loop over steps"),
    ],
    "config source": [
        ("fusion", "duet/engine.py:init_fusion", "JSON of the code"),
        ("mapped", "wavelet/configs/small.py:<module>", "an EasyDict"),
        ("studio", "studio/denoiser.py:load_denoiser", "a table of dataclasses"),
    ],
    "pre and post": [
        ("studio", "studio/media.py:StudioImageProcessor.__init__", "transforms of a picture"),
        ("studio", "studio/media.py:to_picture", "values to bytes"),
    ],
    "media": [
        ("melody", "melody/sing.py:audio output", "a vocoder and a file of sound"),
        ("melody", "melody/sing.py:audio input", "a file of sound is read"),
        ("reel", "reel/animate.py:video output", "frames"),
        ("studio", "studio/media.py:image output", "bytes of a picture"),
        ("studio", "studio/generate.py:image input", "a parameter"),
        ("root_files", "toy/autoencoder.py:image output", "an autoencoder of pictures"),
    ],
}
CASES = [(role, *case) for role, cases in ROWS.items() for case in cases]


def without_fixture(rows: dict[str, list[tuple[str, str, str]]]) -> list[str]:
    """Rows that no repository covers, and repositories without the text of their port."""
    lacking = [role for role in get_args(CustomRole) if not rows.get(role)]
    used = {repository for cases in rows.values() for repository, _, _ in cases}
    goldens = ROOT / "fixtures" / "goldens" / "custom"
    return lacking + sorted(
        r for r in used if r not in REPOSITORIES or not (goldens / r / "pipeline_toy.py.golden").is_file()
    )


def test_every_row_has_a_fixture_with_its_full_text() -> None:
    assert without_fixture(ROWS) == []


@pytest.mark.parametrize("role", get_args(CustomRole))
def test_a_row_without_a_fixture_is_found(role: str) -> None:
    assert without_fixture({**ROWS, role: []}) == [role]
    assert without_fixture({**ROWS, role: [("nowhere", "a.py:A", "")]}) == ["nowhere"]


@pytest.mark.parametrize(("role", "repository", "expected", "shape"), CASES)
def test_the_fixture_plays_the_role(role: str, repository: str, expected: str, shape: str) -> None:
    plan = read_repository(FIXTURES / repository)
    found = [f"{c.file}:{c.name}" for c in plan.candidates if c.role == role]
    assert expected in found[:2], shape
