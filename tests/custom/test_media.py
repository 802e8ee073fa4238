"""What a custom model takes and gives: read with evidence, written for vLLM-Omni, asked where it is not certain."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from omniport.cli import app
from omniport.custom import read_repository
from omniport.custom.into import scaffold_custom
from omniport.errors import OmniportError
from omniport.plan.custom import MediaPlan
from omniport.update import update
from tests.custom.test_custom_scaffold import FIXTURES, REPOSITORIES, written
from tests.support.ports import copy_tree, installed_package

#: repository -> output, inputs, whether a question is left
MEDIA: dict[str, tuple[str | None, tuple[str, ...], bool]] = {
    "root_files": ("image", (), False),
    "studio": ("image", ("image",), False),
    "melody": ("audio", ("audio",), False),
    "reel": ("video", ("image",), False),
    "packed": ("image", (), True),  # nothing there generates
    "fusion": (None, ("audio",), True),  # two stacks, and a name alone
    "ode": (None, (), True),
    "external": (None, (), True),
    "unified": (None, (), True),
    "mapped": (None, (), True),  # an autoencoder of pictures beside one of videos
}


def media(repository: str | Path, asked: str | None = None) -> MediaPlan:
    backbone = REPOSITORIES[repository] if isinstance(repository, str) else None
    found = read_repository(FIXTURES / repository, backbone, asked).media
    assert found is not None
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return copy_tree(tmp_path / "tree")


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_each_repository(repository: str) -> None:
    found = media(repository)
    assert (found.output, found.inputs, bool(found.questions)) == MEDIA[repository]
    for why in (*found.output_why, *found.inputs_why):
        assert 1 <= why.line <= len((FIXTURES / repository / why.file).read_text("utf-8").splitlines())


#: repository -> text of it, what stands in its place, and what is no longer certain
TWINS = {
    "studio": ("return Image.fromarray", "return list", "output"),
    "root_files": ("nn.ConvTranspose2d(channels, 3", "nn.ConvTranspose2d(channels, 4", "output"),
    "melody": ("sf.write", "print", "output"),
    "reel": ("num_frames=16", "size=16", "output"),
}


@pytest.mark.parametrize("repository", TWINS)
def test_without_its_evidence_it_is_asked(repository: str, tmp_path: Path) -> None:
    old, new, _ = TWINS[repository]
    copy = tmp_path / "copy"
    shutil.copytree(FIXTURES / repository, copy)
    texts = {f: f.read_text("utf-8") for f in copy.rglob("*.py")}
    assert sum(text.count(old) for text in texts.values()) == 1
    for file, text in texts.items():
        changed = text.replace(old, new)
        if repository == "root_files":  # three channels go in, too
            changed = changed.replace("nn.Conv2d(3", "nn.Conv2d(4")
        if repository == "reel":  # how the file is called and what it writes say the same
            changed = changed.replace("num_frames", "size").replace("ReelPipeline", "Reel").replace("Conv3d", "Linear")
        file.write_text(changed, "utf-8")
    found = media(copy)
    assert found.output is None
    assert found.questions


def test_what_a_denoising_loop_makes_anew_is_no_input(tmp_path: Path) -> None:
    assert "video" not in media("fusion").inputs  # generate(video, ...): its latents
    copy = tmp_path / "copy"
    shutil.copytree(FIXTURES / "fusion", copy)
    engine = copy / "duet" / "engine.py"
    engine.write_text(engine.read_text("utf-8").replace("video = scheduler.step", "other = scheduler.step"), "utf-8")
    assert "video" in media(copy).inputs


def test_a_loop_of_another_denoiser_says_nothing(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "reel" / "reel", tmp_path / "reel")
    shutil.copytree(FIXTURES / "melody" / "melody", tmp_path / "melody")
    for backbone, output in (("reel/net.py:ReelModel", "video"), ("melody/net.py:MelodyNet", "audio")):
        found = read_repository(tmp_path, backbone).media
        assert found is not None
        assert (found.output, found.questions) == (output, ())


def test_inputs_of_some_functions_are_asked_about(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(FIXTURES / "studio", copy)
    text = (copy / "studio" / "generate.py").read_text("utf-8")
    plain = text.replace("def generate(name, path, text, image,", "def dream(name, path, text,")
    plain = plain.replace("StudioImageProcessor()(image) + words.mean()", "words.mean()")
    (copy / "studio" / "dream.py").write_text(plain, "utf-8")
    found = media(copy)
    assert (found.output, found.inputs) == ("image", ())
    assert "image goes into generate, not into dream" in found.questions[0].reason
    assert media(copy, "text-to-image").questions == ()


def test_an_answer_settles_what_it_names() -> None:
    assert media("ode", "audio").output == "audio"
    assert media("ode", "audio").questions == ()
    external = media("external", "video")
    assert (external.output, len(external.questions)) == ("video", 1)  # what goes in is still open
    found = media("external", "images+audio-to-video")
    assert (found.output, found.inputs, found.several, found.questions) == ("video", ("image", "audio"), True, ())
    assert media("melody", "text-to-image").inputs == ()
    for wrong in ("film", "film-to-image", "image-to-", "image-to-image-to-video"):
        with pytest.raises(OmniportError, match="no such form"):
            media("ode", wrong)


def class_of(text: str, name: str = "ToyPipeline") -> ast.ClassDef:
    return next(n for n in ast.parse(text).body if isinstance(n, ast.ClassDef) and n.name == name)


def row(tree: Path) -> str:
    text = (tree / "vllm_omni" / "diffusion" / "model_metadata.py").read_text("utf-8")
    return text.partition('"ToyPipeline": ')[2].partition("\n")[0]


@pytest.mark.parametrize(
    ("repository", "bases", "attributes", "metadata"),
    [
        ("root_files", [], [], ""),
        (
            "studio",
            ["SupportImageInput"],
            ["support_image_input"],
            "DiffusionModelMetadata(supports_multimodal_inputs=True, max_multimodal_image_inputs=1),",
        ),
        (
            "melody",
            ["SupportAudioInput", "SupportAudioOutput"],
            ["support_audio_input", "support_audio_output", "audio_sample_rate", "dummy_run_num_frames"],
            "",
        ),
        (
            "reel",
            ["SupportImageInput"],
            ["support_image_input", "color_format"],
            'DiffusionModelMetadata(supports_multimodal_inputs=True, final_output_type="video"),',
        ),
        ("external", [], [], ""),
    ],
)
def test_what_is_written(tree: Path, repository: str, bases: list[str], attributes: list[str], metadata: str) -> None:
    result = scaffold_custom("org/toy", FIXTURES / repository, into=tree, name="toy")
    node = class_of(written(tree, "toy")["pipeline_toy.py"])
    assert [ast.unparse(b) for b in node.bases][3:] == bases
    found = [n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
    assert [name for name in found if not name.startswith("_")] == attributes
    assert row(tree) == metadata
    assert any(t.subject == "MEDIA" for t in result.plan.todos) == MEDIA[repository][2]
    assert result.plan.pipeline.output == (MEDIA[repository][0] or "unknown")


def test_a_question_is_a_marker_that_an_answer_takes_away(tree: Path) -> None:
    port = tree / "vllm_omni" / "diffusion" / "models" / "toy" / "pipeline_toy.py"
    scaffold_custom("org/toy", FIXTURES / "external", into=tree, name="toy")
    assert "# OMNIPORT-TODO(MEDIA): nothing says what comes out" in port.read_text("utf-8")
    scaffold_custom("org/toy", FIXTURES / "external", into=tree, name="toy", media="text-to-audio")
    text = port.read_text("utf-8")
    assert "OMNIPORT-TODO(MEDIA)" not in text
    assert "support_audio_output" in text
    update(tree, name="toy", source=FIXTURES / "external")  # the answer is kept
    assert port.read_text("utf-8") == text


def test_the_command_line(tree: Path) -> None:
    runner = CliRunner()
    source = ["--source", str(FIXTURES / "external")]
    asked = runner.invoke(app, ["plan", "org/toy", *source])
    assert "question: nothing says what comes out" in asked.output.replace("\n", " ")
    answered = runner.invoke(app, ["plan", "org/toy", *source, "--media", "image-to-video"])
    assert "text, image to video" in answered.output
    assert "question" not in answered.output
    assert runner.invoke(app, ["plan", "org/toy", *source, "--media", "film"]).exit_code == 2
    assert runner.invoke(app, ["plan", "diffusers:FluxPipeline", "--media", "image"]).exit_code == 2
    arguments = ["scaffold", "org/toy", *source, "--into", str(tree), "--name", "toy", "--media", "text-to-video"]
    assert runner.invoke(app, arguments).exit_code == 0
    assert row(tree) == 'DiffusionModelMetadata(final_output_type="video"),'


_ASK = """
import sys
sys.path.insert(0, sys.argv[1])
from types import SimpleNamespace
from vllm_omni.diffusion import io_support as io
for name in sys.argv[2:]:
    config = SimpleNamespace(diffusion_load_format="default", model_class_name=name)
    given = io.supports_multimodal_input(config)
    frames = io.get_dummy_run_num_frames(name, given[1])
    print(name, *given, io.get_diffusion_output_type(name), io.image_color_format(name), frames)
"""


@pytest.mark.verify
def test_vllm_omni_reads_what_is_meant(tmp_path: Path) -> None:
    pytest.importorskip("vllm_omni")
    tree = tmp_path / "tree"
    shutil.copytree(installed_package(), tree / "vllm_omni", ignore=shutil.ignore_patterns("__pycache__"))
    names = {"root_files": "Plain", "studio": "Studio", "melody": "Melody", "reel": "Reel"}
    for repository, name in names.items():
        scaffold_custom("org/toy", FIXTURES / repository, into=tree, name=name.lower())
    command = [sys.executable, "-W", "ignore", "-c", _ASK, str(tree), *(f"{n}Pipeline" for n in names.values())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    found = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if "Pipeline " in line}
    assert found == {
        "PlainPipeline": ["False", "False", "image", "RGB", "1"],
        "StudioPipeline": ["True", "False", "image", "RGB", "1"],
        "MelodyPipeline": ["False", "True", "audio", "RGB", "0"],
        "ReelPipeline": ["True", "False", "video", "RGBA", "1"],
    }, done.stderr[-2000:]
