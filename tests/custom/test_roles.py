"""The role report of small repositories of our own, each with one of the shapes that custom repositories have."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniport.custom import read_repository
from omniport.errors import OmniportError
from omniport.plan.custom import CustomPlan
from omniport.plan.serial import dumps, loads

FIXTURES = Path(__file__).parents[2] / "fixtures" / "custom"


def found(plan: CustomPlan, role: str) -> list[str]:
    return [f"{c.file}:{c.name}" for c in plan.candidates if c.role == role]


def best(plan: CustomPlan, role: str) -> str | None:
    return next(iter(found(plan, role)), None)


@pytest.mark.parametrize(
    ("repository", "role", "expected"),
    [
        ("root_files", "backbone", "toy/model.py:Painter"),
        ("root_files", "block", "toy/model.py:?"),
        ("root_files", "attention", "toy/model.py:SelfAttention"),
        ("root_files", "vae", "toy/autoencoder.py:AutoEncoder"),
        ("root_files", "text encoder", "app.py:T5EncoderModel"),
        ("root_files", "loader", "app.py:<module>"),
        ("root_files", "denoise loop", "app.py:sample"),
        ("root_files", "config source", "app.py:<module>"),
        ("root_files", "fusion", None),
        ("fusion", "backbone", "duet/modules/stack.py:StackModel"),
        ("fusion", "block", "duet/modules/stack.py:StackBlock"),
        ("fusion", "fusion", "duet/modules/fusion.py:DuetModel"),
        ("fusion", "loader", "duet/engine.py:init_fusion"),
        ("fusion", "denoise loop", "duet/engine.py:Engine.generate"),
        ("fusion", "config source", "duet/engine.py:init_fusion"),
        ("fusion", "vae", None),
        ("unified", "backbone", "modeling_sketch.py:SketchForImages"),
        ("unified", "block", "modeling_sketch.py:?"),
        ("unified", "denoise loop", "modeling_sketch.py:SketchForImages.generate"),
        ("ode", "attention", "sound/model.py:ToneAttention"),
        ("ode", "denoise loop", "sound/model.py:Flow.sample"),
        ("ode", "vae", None),
        ("mapped", "backbone", "wavelet/model.py:Wavelet"),
        ("mapped", "vae", "wavelet/model.py:AutoencoderKL"),
        ("mapped", "config source", "wavelet/configs/small.py:<module>"),
    ],
)
def test_role(repository: str, role: str, expected: str | None) -> None:
    assert best(read_repository(FIXTURES / repository), role) == expected


def test_every_reason_is_a_line_of_the_repository() -> None:
    for folder in FIXTURES.iterdir():
        plan = read_repository(folder)
        for candidate in plan.candidates:
            assert candidate.evidence
            for why in candidate.evidence:
                lines = (folder / why.file).read_text("utf-8").splitlines()
                assert 1 <= why.line <= len(lines), why


def test_halves_of_an_autoencoder_are_paired() -> None:
    assert "wavelet/video_codec.py:VideoDecoder" in found(read_repository(FIXTURES / "mapped"), "vae")


def test_rivals_are_asked_about_and_an_answer_settles_it() -> None:
    plan = read_repository(FIXTURES / "ode")
    assert plan.backbone is None
    assert "--backbone sound/model.py:Chord" in plan.questions[0].reason
    answered = read_repository(FIXTURES / "ode", "sound/model.py:Chord")
    assert answered.backbone is not None
    assert (answered.backbone.name, answered.questions) == ("Chord", ())


def test_a_subclass_is_a_variant_and_no_rival(tmp_path: Path) -> None:
    source = (FIXTURES / "ode" / "sound" / "model.py").read_text("utf-8")
    (tmp_path / "model.py").write_text(source.partition("class Chord")[0], "utf-8")
    plan = read_repository(tmp_path)
    assert plan.backbone is not None
    assert (plan.backbone.name, plan.backbone.variants) == ("Tone", ("model.py:_Tone",))


def test_a_low_score_is_asked_about(tmp_path: Path) -> None:
    source = (FIXTURES / "ode" / "sound" / "model.py").read_text("utf-8").partition("class Chord")[0]
    (tmp_path / "model.py").write_text(source.replace("time_embed", "clock").replace("proj_out", "last"), "utf-8")
    plan = read_repository(tmp_path)
    assert plan.backbone is None
    assert "less than 9" in plan.questions[0].reason


def test_an_unknown_answer_names_the_candidates() -> None:
    with pytest.raises(OmniportError, match=r"no such class in the source; candidates are .*Chord"):
        read_repository(FIXTURES / "ode", "sound/model.py:Nothing")


def test_what_surrounds_the_model() -> None:
    root, fusion = read_repository(FIXTURES / "root_files"), read_repository(FIXTURES / "fusion")
    assert [why.reason for why in root.weights] == ["ema.safetensors", "ae.safetensors"]
    assert (root.licence.reason, root.permissive, fusion.permissive) == ("MIT", True, False)
    assert {why.reason.split()[0] for why in fusion.hazards} == {"torch.load", "pickle.loads"}
    separator = next(d for d in fusion.dependencies if d.name == "audio_separator")
    assert (separator.position, separator.provenance, separator.distribution) == ("lazy", "unknown", "")


def test_a_plan_survives_json() -> None:
    plan = read_repository(FIXTURES / "fusion")
    assert loads(CustomPlan, dumps(plan)) == plan
