"""The proof of pipelines: a sound port passes, and each deliberately broken twin of it is caught."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from omniport.corpus.pipeline_run import job_of, write_transformers
from omniport.corpus.pipeline_write import Written, finish, write
from omniport.corpus.produce import MODELS, fresh_tree
from omniport.corpus.proofs import Proofs
from omniport.corpus.results import StageResult
from omniport.corpus.run import verify_ports

pytestmark = pytest.mark.verify

NAME = "PixArtSigmaPipeline"

TWINS: dict[str, tuple[str, str, str]] = {  # what is wrong: text of the port, what replaces it, what is told
    "swapped sign of guidance": ("true_cfg_scale=guidance_scale", "true_cfg_scale=-guidance_scale", "base: step 0"),
    "lost negative prompt": ("negative_prompt=negative_prompt,", 'negative_prompt="",', "base: step 0: model_output"),
    "dropped scheduler argument": (", generator=generator, return_dict", ", return_dict", "generator given is False"),
    "wrong default": ("params.guidance_scale_provided else 4.5", "params.guidance_scale_provided else 5.0", "defaults"),
    "one output of two": ("params.num_outputs_per_prompt", "1", "two outputs"),
    "start-up request refused": (
        "params = req.sampling_params_list[0]",
        'params = req.sampling_params_list[0]\n        assert not req.is_dummy_run(), "no start-up"',
        "no start-up",
    ),
    "other result for another caller": (
        "params = req.sampling_params_list[0]",
        'params = req.sampling_params_list[0]\n        params.guidance_scale += "_" in req.request_ids[0]',
        "from diffusers",
    ),
    "both branches everywhere": ("predict_noise_maybe_with_cfg(", "_both_branches(", "forwards [6, 6]"),
}

BOTH = """
    def _both_branches(self, do_true_cfg, true_cfg_scale, positive_kwargs, negative_kwargs, **other):
        positive = self.transformer(**positive_kwargs)[0]
        if not do_true_cfg:
            return positive
        negative = self.transformer(**negative_kwargs)[0]
        return negative + true_cfg_scale * (positive - negative)

    def diffuse(
"""


@pytest.fixture(scope="module")
def written() -> Written:
    done = write(None, NAME)
    assert done.code is not None, done.stages
    return done


@pytest.fixture(scope="module")
def results(written: Written, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, StageResult]]:
    tree = tmp_path_factory.mktemp("pipelines") / "tree"
    package = importlib.util.find_spec("vllm_omni")
    assert package is not None and package.submodule_search_locations
    fresh_tree(Path(package.submodule_search_locations[0]), tree)
    finish(tree, {NAME: written})
    assert write_transformers(tree, {NAME: written}, None) == {}
    sound = tree / MODELS / written.port
    jobs = [job_of(written)]
    for number, (what, (old, new, _)) in enumerate(TWINS.items()):
        copy = replace(written, port=f"{written.port}_{number}")
        folder = tree / MODELS / copy.port
        shutil.copytree(sound, folder)
        (folder / f"{written.port}_transformer.py").rename(folder / f"{copy.port}_transformer.py")
        text = (folder / f"pipeline_{written.port}.py").read_text("utf-8")
        assert old in text, f"nothing in the port is {old}"
        text = text.replace(old, new).replace(f".{written.port}_transformer", f".{copy.port}_transformer")
        if "_both_branches" in text:
            text = text.replace("\n    def diffuse(\n", BOTH)
        (folder / f"pipeline_{copy.port}.py").write_text(text, "utf-8")
        jobs.append({**job_of(copy), "key": what})
    found, _ = verify_ports(tree, jobs, runner="omniport.corpus.pipeline_runner")
    return {key: {s.stage: s for s in stages} for key, stages in found.items()}


def test_the_sound_port_passes(results: dict[str, dict[str, StageResult]]) -> None:
    stages = results[NAME]
    assert [(s.stage, s.state, s.reason) for s in stages.values()] == [
        (name, "ok", "") for name in ("import", "load", "e2e", "cfg2", "omni")
    ]
    for name in ("base", "defaults", "guidance off", "two outputs"):
        assert f"{name} " in stages["e2e"].detail
    assert "shows nothing" not in stages["e2e"].detail


@pytest.mark.parametrize("what", TWINS)
def test_a_broken_twin_is_caught(results: dict[str, dict[str, StageResult]], what: str) -> None:
    stages = results[what]
    last = next(s for s in stages.values() if s.state != "ok")
    late = {"both branches everywhere": "cfg2", "start-up": "omni", "other result": "omni"}
    assert last.stage == next((stage for start, stage in late.items() if what.startswith(start)), "e2e")
    assert last.state == "failed"
    assert TWINS[what][2] in last.reason


def test_a_proof_holds_until_something_changes(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "port").mkdir()
    file = tmp_path / "port" / "pipeline.py"
    file.write_text("a = 1\n")
    proofs, job = Proofs(tmp_path / "proofs", {"torch": "1"}), job_of(written)
    digest: Callable[[], str] = lambda: proofs.digest(job, tmp_path / "port")  # noqa: E731
    first = digest()
    proofs.keep(NAME, first, [StageResult("e2e", "ok", figure=1e-6)])
    assert proofs.find(NAME, digest()) == [StageResult("e2e", "ok", figure=1e-6)]
    assert Proofs(tmp_path / "proofs", {"torch": "2"}).digest(job, tmp_path / "port") != first
    from omniport.verify.components.vaes import VAES

    monkeypatch.setitem(VAES, "AutoencoderKL", {**VAES["AutoencoderKL"], "latent_channels": 8})
    assert proofs.find(NAME, digest()) is None
    monkeypatch.undo()
    assert digest() == first
    file.write_text("a = 2\n")
    assert proofs.find(NAME, digest()) is None
