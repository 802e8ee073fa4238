"""Where the reference gives no latents, what it decodes is compared; where it fails in any way, it is the reason.

A call for two outputs is compared where the reference makes two.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from omniport.verify import forks, tasks  # noqa: E402
from omniport.verify.calls import Call  # noqa: E402
from omniport.verify.tasks import _first_run, compare, reference_cases, saved, without_count  # noqa: E402

pytestmark = pytest.mark.verify


class Reference:
    image_processor = True

    def __init__(self, gives: tuple[str, ...]) -> None:
        self.gives, self.asked = gives, []
        self.vae = torch.nn.Linear(1, 1)

    def set_progress_bar_config(self, **_: Any) -> None:
        """As diffusers' have it."""

    def __call__(self, output_type: str, **_: Any) -> Any:
        self.asked.append(output_type)
        if output_type not in self.gives:
            raise UnboundLocalError(f"no {output_type}")
        return torch.full((2,), float(len(output_type)))


CALL = Call("base", {"prompt": "a"}, ("a",))


def test_latents_are_asked_for_alone_where_they_are_given() -> None:
    reference = Reference(("latent", "np"))
    tensors, why = _first_run(reference, CALL)
    assert (why, reference.asked, float(tensors[0][0])) == ("", ["latent"], 6.0)


def test_what_is_decoded_takes_the_place_of_latents_with_a_reason() -> None:
    tensors, why = _first_run(Reference(("np",)), CALL)
    assert float(tensors[0][0]) == 2.0
    assert why.startswith("UnboundLocalError: no latent (test_compared_form.py:")


def test_a_reference_that_fails_in_any_way_fails_with_its_first_error() -> None:
    with pytest.raises(UnboundLocalError, match="no latent"):
        _first_run(Reference(()), CALL)


def test_a_call_for_two_outputs_of_which_one_comes_is_left_out() -> None:
    results = {"base": [torch.ones(1, 4)], "two outputs": [torch.ones(1, 4)], "defaults": [torch.ones(1, 4)]}
    assert "one output" in (without_count(results) or "")
    assert results.keys() == {"base", "defaults"}


def test_two_outputs_are_compared() -> None:
    for several in ([torch.ones(2, 4)], [torch.ones(1, 4), torch.ones(1, 4)]):
        results = {"base": [torch.ones(1, 4)], "two outputs": several}
        assert without_count(results) is None and "two outputs" in results
    assert without_count({"base": [torch.ones(1, 4)]}) is None


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The cases of a reference that gives some kinds of output, and what was asked for; ``vaes`` gets its own."""

    def run(*gives: str, repairs: tuple[str, ...] = (), vaes: list[Any] | None = None) -> Any:
        reference = Reference(gives)
        port: Any = SimpleNamespace(reference_pipeline="tests.Reference")
        calls = {"base": CALL, "defaults": Call("defaults", {}, ("a",), latent=True)}
        monkeypatch.setattr("omniport.verify.checkpoint.import_object", lambda path: Reference)
        monkeypatch.setattr(tasks, "load_reference", lambda cls, folder: (reference, {}))
        monkeypatch.setattr(tasks, "recipe_of", lambda port: SimpleNamespace(repairs=repairs))
        monkeypatch.setattr(tasks, "pipeline_calls", lambda port: (calls, {}))
        monkeypatch.setattr(tasks, "_gain", lambda *_: 1.0)
        reference_cases(port, tmp_path)
        if vaes is not None:
            vaes.append(reference.vae)
        return torch.load(saved(tmp_path, "images")), reference.asked

    return run


def test_what_is_decoded_is_looked_at_besides_latents(cases: Any) -> None:
    images, asked = cases("latent", "np", "pil")
    assert sorted(images) == ["base", "base: decoded", "base: file", "defaults"]
    assert asked == ["latent", "np", "pil", "latent"]


def test_what_is_compared_anyway_is_decoded_once(cases: Any) -> None:
    images, asked = cases("np", "pil")
    assert sorted(images) == ["base", "base: file", "defaults"]
    assert asked == ["latent", "np", "pil", "np"]


@pytest.mark.parametrize(("gives", "shown"), [(("latent", "np", "pil"), "base: decoded"), (("np", "pil"), "base")])
def test_a_broken_decode_shows_in_either_form(cases: Any, tmp_path: Path, gives: tuple[str, ...], shown: str) -> None:
    """The broken twin: a port whose latents are right, and whose decoded output is not."""
    images, _ = cases(*gives)
    decoded = {"base: decoded", "base: file", *({"base", "defaults"} if "latent" not in gives else ())}
    torch.save({n: [t * 1.01 if n in decoded else t for t in ts] for n, ts in images.items()}, tmp_path / "port.pt")
    errors = compare(tmp_path, "port.pt", "images.reference.pt")
    assert errors[shown] > 1e-3 and all((errors[name] == 0) == (name not in decoded) for name in errors)


@pytest.mark.parametrize(("repairs", "dtype"), [((), "float32"), (("vae in bfloat16",), "bfloat16")])
def test_what_the_reference_needs_to_run_is_done_to_it_and_to_the_port(
    cases: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repairs: tuple[str, ...], dtype: str
) -> None:
    vaes: list[Any] = []
    cases("latent", "np", "pil", repairs=repairs, vaes=vaes)
    ours = SimpleNamespace(vae=torch.nn.Linear(1, 1))
    worker = SimpleNamespace(worker=SimpleNamespace(model_runner=SimpleNamespace(pipeline=ours)))
    monkeypatch.setattr("omniport.verify.engine.register", lambda port: None)
    monkeypatch.setattr("omniport.verify.engine.make_config", lambda *_, **__: SimpleNamespace(vae_use_tiling=False))
    monkeypatch.setattr("omniport.verify.engine.build_worker", lambda *_: worker)
    port: Any = SimpleNamespace()
    config, _ = tasks.start_pipeline(port, tmp_path, forks.Rank(0, 1, 0), {})
    assert [str(next(vae.parameters()).dtype) for vae in (*vaes, ours.vae)] == [f"torch.{dtype}"] * 2
    assert not config.vae_use_tiling
