"""What the verifier cannot test is "not tested", what a plan leaves out "unsupported" with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from omniport.errors import OmniportError
from omniport.verify import api, runner
from omniport.verify.cases import BASE, EVEN
from omniport.verify.features import cfg2, layerwise, offload, pp2, ring2, sp2, tp2, tp4
from omniport.verify.forks import Outcome, RankError
from omniport.verify.lab import Lab
from omniport.verify.port import find_port
from omniport.verify.results import Finding

from .conftest import MODEL_INDEX, manifest, write_manifest


def lab_of(root: Path, plan: dict[str, Any] | None = None, **entries: Any) -> Lab:
    """A lab of a port that is only a manifest."""
    data = {**manifest(), "plan": plan or {}, **entries}
    (root / "work").mkdir(exist_ok=True)
    return Lab(find_port(write_manifest(root, "flux", data)), root / "work")


def feature(monkeypatch: pytest.MonkeyPatch, raised: Exception) -> None:
    """A feature that raises."""

    def run(lab: Lab) -> Finding:
        raise raised

    module = ModuleType("a_feature")
    vars(module)["run"] = run
    monkeypatch.setitem(runner.MODULES, "made up", "a_feature")
    monkeypatch.setattr(runner.importlib, "import_module", lambda name: module)


def test_a_refusal_of_the_verifier_ends_one_feature_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feature(monkeypatch, OmniportError("four ranks cannot share the tiny model"))
    found = runner.find("made up", lab_of(tmp_path))
    assert (found.state, found.reason) == ("not tested", "four ranks cannot share the tiny model")


def test_a_mistake_of_the_verifier_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feature(monkeypatch, KeyError("a mistake"))
    with pytest.raises(KeyError):
        runner.find("made up", lab_of(tmp_path))


@pytest.mark.parametrize(("own", "state"), [(False, "not tested"), (True, "unsupported")])
def test_a_missing_package_is_the_ports_fault_where_the_port_imports_it(
    own: bool, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").touch()
    where = str(tmp_path / "mine.py") if own else "/lib/serving.py"
    outcome = Outcome(0, error="ModuleNotFoundError: No module named 'sound'", missing="sound", raised_in=where)
    feature(monkeypatch, RankError(outcome))
    lab = lab_of(tmp_path)
    lab.port = replace(lab.port, files=("mine.py",))
    found = runner.find("made up", lab)
    assert found.state == state and found.machine_failed is not own
    assert (found.reason == "serving.py needs sound, which is not installed") is not own


def planned(name: str, supported: bool) -> dict[str, Any]:
    why = {"reason": "a sum runs over the tokens", "file": "a.py", "line": 7}
    return {"transformer": {"features": [{"name": name, "supported": supported, "why": why}]}}


@pytest.mark.parametrize(
    ("module", "name"),
    [(sp2, "sequence parallelism"), (pp2, "pipeline parallelism"), (layerwise, "layerwise offload")],
)
def test_what_the_plan_leaves_out_is_unsupported_with_its_reason(module: Any, name: str, tmp_path: Path) -> None:
    found = module.run(lab_of(tmp_path, planned(name, False)))
    assert (found.state, found.reason) == ("unsupported", "a sum runs over the tokens (a.py:7)")
    lab = lab_of(tmp_path, planned(name, True))
    assert lab.undeclared(name) == "" and lab_of(tmp_path).undeclared(name) == ""


def test_guidance_on_every_rank_is_unsupported_with_its_reason(tmp_path: Path) -> None:
    why = {"reason": "no pair", "file": "p.py", "line": 3}
    plan = {"pipeline": {"cfg": "whole", "decisions": [{"subject": "guidance", "value": "whole", "why": why}]}}
    found = cfg2.run(lab_of(tmp_path, plan))
    assert (found.state, found.reason) == ("unsupported", "guidance whole: no pair (p.py:3)")
    assert lab_of(tmp_path).undispatched() == ""
    assert lab_of(tmp_path, {"pipeline": {"cfg": "batched", "decisions": []}}).undispatched() == ""


def bare(lab: Lab, fired: dict[str, int]) -> Lab:
    """Its pipeline runs, and these hooks fire."""
    lab.pipeline_alone = lambda: {"readings": {"base": {"forwards": 2}}}  # type: ignore[method-assign]
    lab.pipeline_with = lambda *_: {"fired": fired, "away": []}  # type: ignore[method-assign]
    lab.compare = lambda *_: {"base": 0.0}  # type: ignore[method-assign]
    lab.limit = lambda: 1e-5  # type: ignore[method-assign]
    return lab


def test_a_pipeline_without_encoders_has_nothing_to_swap(tmp_path: Path) -> None:
    index = {name: entry for name, entry in MODEL_INDEX.items() if "encoder" not in name}
    assert offload.swappable(find_port(write_manifest(tmp_path, "flux", manifest()))) == [
        "text_encoder",
        "text_encoder_2",
    ]
    found = offload.run(bare(lab_of(tmp_path, model_index=index), {}))
    assert found.state == "unsupported" and found.undeclared and "this pipeline has none" in found.reason


def test_encoders_that_the_port_does_not_name_are_its_fault(tmp_path: Path) -> None:
    found = offload.run(bare(lab_of(tmp_path), {}))
    assert found.state == "unsupported" and not found.undeclared


def test_encoders_that_the_plan_leaves_on_the_device_are_the_reason(tmp_path: Path) -> None:
    why = {"reason": "inner() runs a part of it", "file": "p.py", "line": 3}
    stays = [{"subject": f"stays {name}", "value": True, "why": why} for name in ("text_encoder", "text_encoder_2")]
    found = offload.run(bare(lab_of(tmp_path, {"pipeline": {"decisions": stays}}), {}))
    assert found.state == "unsupported"
    assert found.undeclared.startswith("text_encoder stays on the device: inner() runs a part of it (p.py:3)")
    found = offload.run(bare(lab_of(tmp_path, {"pipeline": {"decisions": stays[:1]}}), {}))
    assert not found.undeclared  # the other one is swapped by nothing


@pytest.mark.parametrize(("role", "undeclared"), [("other", True), ("encoder", False)])
def test_a_component_that_is_no_encoder_is_never_swapped(tmp_path: Path, role: str, undeclared: bool) -> None:
    """An encoder that nothing swaps stays the port's fault."""
    why = {"reason": "inner() runs a part of it", "file": "p.py", "line": 3}
    decisions = [
        {"subject": "stays text_encoder", "value": True, "why": why},
        {
            "subject": "component text_encoder_2",
            "value": "diffusers.pipelines.flux.modeling.Conditions",
            "why": {"reason": f"{role}: model_index.json names flux.Conditions", "file": "p.py", "line": 1},
        },
    ]
    found = offload.run(bare(lab_of(tmp_path, {"pipeline": {"decisions": decisions}}), {}))
    assert found.state == "unsupported" and bool(found.undeclared) is undeclared
    assert undeclared is found.undeclared.endswith("; text_encoder_2 is no encoder but Conditions")


def four(lab: Lab, monkeypatch: pytest.MonkeyPatch, errors: list[str]) -> list[Lab]:
    """The labs that ``tp4`` tries; each fails with its error, an empty one is none."""
    tried: list[Lab] = []

    def run(lab: Lab, said: str = "") -> Finding:
        tried.append(lab)
        if error := errors[len(tried) - 1]:
            raise RankError(Outcome(1, error=error))
        return Finding(evidence=(said,))

    monkeypatch.setattr(tp4, "_four", run)
    monkeypatch.setattr(lab, "prepare", lambda: {})
    return tried


def test_too_few_heads_for_four_ranks_are_tried_with_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = lab_of(tmp_path)
    tried = four(lab, monkeypatch, [f"ValueError: {tp4.NOT_SHARED} num_kv_heads=2", ""])
    assert "wider" in tp4.run(lab).evidence[0]
    assert [t.work for t in tried] == [lab.work, lab.work / "wide"]


def test_four_ranks_that_fail_otherwise_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = lab_of(tmp_path)
    tried = four(lab, monkeypatch, ["ValueError: a mistake"])
    with pytest.raises(RankError, match="a mistake"):
        tp4.run(lab)
    assert len(tried) == 1


def test_four_ranks_that_share_no_model_are_not_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = lab_of(tmp_path)
    four(lab, monkeypatch, [f"ValueError: {tp4.NOT_SHARED} x"] * 2)
    with pytest.raises(OmniportError, match="cannot share the tiny model"):
        tp4.run(lab)


def test_an_unknown_published_size_gives_no_share() -> None:
    share, said = tp2.published_share([{"local": 6, "full": 10}, {"local": 5}])
    assert share == 0.6 and "0.6000" in said
    for counts in ([{"unknown": "no size"}, {"local": 5}], [{"local": 6, "full": 10}, {"unknown": "no size"}]):
        share, said = tp2.published_share(counts)
        assert share is None and "no size" in said


def test_ports_are_given_what_they_take() -> None:
    pytest.importorskip("torch")
    from omniport.verify.inputs import taken_by

    def forward(hidden_states: Any, mask: Any = None) -> None: ...

    given = {"hidden_states": 1, "mask": 2, "cross_attention_kwargs": {}, "timestep": 3}
    # what is dropped for a known reason goes; what else a port does not take is its mistake, and shows
    assert taken_by(forward, given) == {"hidden_states": 1, "mask": 2, "timestep": 3}


@pytest.mark.parametrize("width", [7, 9])
def test_inputs_are_those_of_the_first_form_that_the_reference_runs_on(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    from omniport.verify import preparing
    from omniport.verify.classes import Entry, Variant

    class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
        config: dict[str, Any] = {}

        def forward(self, hidden_states: Any, return_dict: bool = True) -> tuple[Any, ...]:
            if hidden_states.shape[-1] != width:
                raise ValueError(f"width {hidden_states.shape[-1]}")
            return (hidden_states,)

    forms = {
        "b": Variant("seven", inputs={"hidden_states": "normal(batch, text, 7)"}),
        "c": Variant("seven, too", inputs={"hidden_states": "normal(batch, rows, 7)"}),
    }
    entry = Entry("five", inputs={"hidden_states": "normal(batch, text, 5)"}, variants=forms)
    monkeypatch.setitem(preparing.ENTRIES, "Net", entry)
    if width == 9:
        with pytest.raises(ValueError, match="width 5"):
            preparing._first_that_runs(Net())
        return
    inputs, outputs, _ = preparing._first_that_runs(Net())
    assert inputs.keys() == outputs.keys() == preparing.CALLS.keys()
    assert inputs[preparing.EVEN]["hidden_states"].shape == (2, 20, 7)


def given_up(lab: Lab, error: str, masks: int = 0) -> Lab:
    """Its transformer runs on one rank; more ranks raise."""

    def transformer(parallel: dict[str, Any], *_: Any, **__: Any) -> list[dict[str, Any]]:
        if parallel:
            raise RankError(Outcome(1, error=error))
        return [{"readings": {EVEN: {"masks": masks}}}]

    lab.prepare = lambda: {"image": 24, "text": 20, "given": []}  # type: ignore[method-assign]
    lab.transformer = transformer  # type: ignore[method-assign]
    lab.pipeline_alone = lambda: {"readings": {BASE: {"masks": masks}}}  # type: ignore[method-assign]
    return lab


REGION = {"transformer": {"region": {"absent": ["kv_caches"]}}}


@pytest.mark.parametrize("module", [sp2, ring2])
def test_an_input_that_the_plan_leaves_whole_is_the_reason_where_a_pipeline_gives_it(
    module: Any, tmp_path: Path
) -> None:
    error = "ValueError: kv_caches cannot be given with sequence parallelism (a.py:7 in forward)"
    found = module.run(given_up(lab_of(tmp_path, REGION), error))
    assert found.undeclared == "the pipeline gives kv_caches, which cannot be given with sequence parallelism"


@pytest.mark.parametrize(
    "error", ["ValueError: hidden_states cannot be given with sequence parallelism", "ValueError: a mistake"]
)
def test_a_port_that_refuses_more_than_its_plan_says_fails(error: str, tmp_path: Path) -> None:
    with pytest.raises(RankError):
        sp2.run(given_up(lab_of(tmp_path, REGION), error))


@pytest.mark.parametrize(
    ("masks", "why"), [(2, "attention of this port needs one"), (0, "tokens of this run are padded")]
)
def test_ring_attention_without_masks_is_told_with_what_they_are_for(masks: int, why: str, tmp_path: Path) -> None:
    found = ring2.run(given_up(lab_of(tmp_path), f"ValueError: {ring2.REFUSALS[0]}", masks))
    assert found.undeclared and why in found.reason
    with pytest.raises(RankError):
        ring2.run(given_up(lab_of(tmp_path), "ValueError: a mistake", masks))


@pytest.mark.parametrize(("masks", "state"), [(0, "limited"), (3, "unsupported")])
def test_ring_attention_that_fails_at_padding_alone_is_limited_to_even_lengths(
    masks: int, state: str, tmp_path: Path
) -> None:
    lab = given_up(lab_of(tmp_path), "", masks)
    alone = {"blocks": {"x": [24]}, "queries": [24], "samples": [2], "masks": 0}
    half = {"blocks": {"x": [12]}, "queries": [12], "samples": [2], "collectives": {"send": 1}}

    def transformer(parallel: dict[str, Any], *_: Any, **__: Any) -> list[dict[str, Any]]:
        return [{"readings": {EVEN: half if parallel else alone}, "planned": True}] * (2 if parallel else 1)

    def pipeline(*_: Any) -> list[dict[str, Any]]:
        raise RankError(Outcome(1, error=f"ValueError: Sequence length (27): {ring2.REFUSALS[1]}"))

    lab.transformer = transformer  # type: ignore[method-assign]
    lab.pipeline = pipeline  # type: ignore[method-assign]
    lab.compare = lambda *_: {EVEN: 1e-7}  # type: ignore[method-assign]
    found = ring2.run(lab)
    assert found.state == state
    assert ring2.NO_MASK in found.reason
    assert bool(found.undeclared) == bool(masks)
    assert (ring2.UNEVEN in found.reason) == (not masks)


@pytest.mark.parametrize(
    ("held", "layers", "state"),
    [
        (30, 25, "validated"),
        (65, 25, "limited"),  # norms, biases and what the plan leaves whole
        (65, 63, "unsupported"),
        (30, 46, "unsupported"),
        (30, 44, "validated"),
        (95, 25, "unsupported"),
    ],
)
def test_four_ranks_that_hold_more_than_their_share_are_limited(
    held: int, layers: int, state: str, tmp_path: Path
) -> None:
    lab = lab_of(tmp_path)
    reading = {"collectives": {"all_reduce": 1}, "block_collectives": [], "token_gathers": 0}

    def transformer(parallel: dict[str, Any], *_: Any, **__: Any) -> list[dict[str, Any]]:
        here = {**reading, "block_parameters": held if parallel else 100}
        return [{"readings": {EVEN: here}, "layers": layers if parallel else 100}]

    lab.transformer = transformer  # type: ignore[method-assign]
    lab.compare_each = lambda *_: [{EVEN: 0.0}, {EVEN: 0.0}]  # type: ignore[method-assign]
    lab.block_errors = lambda *_: []  # type: ignore[method-assign]
    assert tp4.run(lab).state == state


def test_what_a_model_server_stores_goes_to_the_folder_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}

    def heavy(module: str, work: Path, env: dict[str, str], on_line: Any) -> int:
        seen.update(env)
        return 0

    monkeypatch.setattr(api.sandbox, "heavy_process", heavy)
    api._run([api.Job(lab_of(tmp_path).port, (), "omniport verify")], tmp_path, None)
    assert Path(seen["VLLM_OMNI_SERVER_STORAGE__PATH"]).is_relative_to(tmp_path)


def test_a_transformer_without_choice_is_not_asked_for_a_tuple() -> None:
    torch = pytest.importorskip("torch")
    from omniport.verify.inputs import plainly

    class Choice(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, x: Any, return_dict: bool = True) -> Any: ...

    class Plain(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, x: Any) -> Any: ...

    assert (plainly(Choice()), plainly(Plain())) == ({"return_dict": False}, {})
