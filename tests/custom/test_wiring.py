"""A fusion that builds the denoisers itself becomes the transformer; built or used in another way, it is left apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.custom.test_remap_loading import stack
from tests.custom.test_submodels import FIXTURES, changed, classes, port

FUSION = "duet/modules/fusion.py"
ENGINE = "duet/engine.py"
BUILT = "self.audio = StackModel(**audio_config)"


def test_the_pipeline_builds_the_fusion(tmp_path: Path) -> None:
    result, files = port(tmp_path, FIXTURES / "fusion")
    assert classes(files["fusion.py"]) == ["DuetModel"]
    assert "from .toy_transformer import StackModel" in files["fusion.py"]
    text = files["pipeline_toy.py"]
    assert "self.transformer = DuetModel(" in text
    assert '{"video_config": VIDEO_CONFIG, "audio_config": AUDIO_CONFIG}' in text
    assert '_dit_modules: ClassVar[list[str]] = ["transformer.video", "transformer.audio"]' in text
    assert '_resident_modules: ClassVar[list[str]] = ["transformer.bridge"]' in text
    assert not any("FUSION" in content for content in files.values())
    assert "FUSION" not in [t.subject for t in result.plan.todos]
    given = {d.subject: d for d in result.plan.pipeline.decisions}["DuetModel audio_config"]
    assert (given.value, given.why.file, given.why.line) == ("AUDIO_CONFIG", ENGINE, 14)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("        video = json.load(file)", "        video = read(file)"),
        ("    model = DuetModel(video, audio)", '    video["depth"] = 3\n    model = DuetModel(video, audio)'),
        ("    model = DuetModel(video, audio)", "    adjust(video)\n    model = DuetModel(video, audio)"),
        ("    model = DuetModel(video, audio)", "    model = DuetModel(*folder)"),
        ("    model = DuetModel(video, audio)", "    DuetModel(audio, video)\n    model = DuetModel(video, audio)"),
        ("    model = DuetModel(video, audio)", "    model = build(video, audio)"),
        ('open("configs/video.json")', "open(folder)"),
    ],
    ids=["own reader", "changed", "handed on", "unpacked", "two calls", "never called", "no literal path"],
)
def test_tables_that_the_source_does_not_show(old: str, new: str, tmp_path: Path) -> None:
    assert left(changed(tmp_path, "fusion", ENGINE, old, new), tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (BUILT, "self.audio = StackModel(**audio_config, depth=3)", "is not built from one table"),
        (BUILT, f"audio_config.pop('depth')\n        {BUILT}", "is more than the table"),
        (BUILT, f"if audio_config:\n            {BUILT}", "is no line of its own"),
        (BUILT, "self.audio = audio_config", "audio_config of the constructor"),
        ("audio_config):", "audio_config, width):", "width of the constructor"),
        ("audio_config):", "audio_config, prefix=0):", "a parameter prefix"),
        ("audio_config):", "audio_config, **rest):", "arguments of any name"),
        ("v_fusion = ", "o = ", "sets .o, which the denoiser knows"),
        ("self.video.blocks:", "self.video.layers:", "reads .layers"),
        ("self.video(video, t)", "self.video.blocks[0](video)", "forward reaches into video"),
        ("self.video(video, t)", "self.video(t=t, y=video)", "does not take y"),
        ("self.video(video, t)", "self.video(video, t, t)", "other arguments"),
        ("self.bridge = nn.Linear(64, 64)", "self.bridge = nn.Parameter()", "parameter outside of any layer"),
        ("(nn.Module)", "(nn.Sequential)", "no plain nn.Module"),
    ],
)
def test_a_fusion_that_is_built_or_used_in_another_way(old: str, new: str, reason: str, tmp_path: Path) -> None:
    assert reason in left(changed(tmp_path, "fusion", FUSION, old, new), tmp_path)


def test_layers_that_the_denoiser_asks_for(tmp_path: Path) -> None:
    """Its port may have decided that there are none."""
    source = changed(
        tmp_path,
        "fusion",
        "duet/modules/stack.py",
        "        out = scaled",
        "        self.k_fusion\n        out = scaled",
    )
    assert "sets .k_fusion" in left(source, tmp_path)


def test_weights_of_the_denoiser_alone(tmp_path: Path) -> None:
    names = tmp_path / "names.json"
    names.write_text(json.dumps({name: list(shape) for name, shape in stack().items()}), "utf-8")
    assert "names.json holds the tensors of StackModel alone" in left(FIXTURES / "fusion", tmp_path, names)


def left(source: Path, tmp_path: Path, weights: Path | None = None) -> str:
    """What the TODO says; the pipeline is as if there were no fusion."""
    result, files = port(tmp_path, source, weights)
    assert "self.transformer = StackModel(" in files["pipeline_toy.py"]
    assert "OMNIPORT-TODO(FUSION)" in files["pipeline_toy.py"]
    (todo,) = [t for t in result.plan.todos if t.subject == "FUSION"]
    assert todo.why.file
    return str(todo.value)
