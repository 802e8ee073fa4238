"""Every feature passes on the port, and fails on a port with the mistake that the feature is there to find."""

from __future__ import annotations

import pytest

from omniport.verify.api import make_job, run_jobs
from omniport.verify.features import FEATURES
from omniport.verify.port import Port, find_port
from omniport.verify.results import FeatureResult

from .conftest import Run, manifest, write_manifest
from .twins import CAUGHT, TWO_SAMPLES, UNTOUCHED

pytestmark = pytest.mark.verify


@pytest.mark.parametrize("feature", FEATURES)
def test_port_is_validated(run: Run, feature: str) -> None:
    result = run.results[""][feature]
    assert result.state == "validated", result.reason
    assert result.checks and result.evidence and result.digest and result.versions["vllm-omni"]


def test_figures_are_within_the_contract(run: Run) -> None:
    for feature in ("parity", "tp2", "sp2", "cfg2", "e2e"):
        figure = run.results[""][feature].figure
        assert figure is not None and figure <= 1e-5


@pytest.mark.parametrize(("twin", "feature", "check"), CAUGHT)
def test_mistake_is_caught(run: Run, twin: str, feature: str, check: str) -> None:
    assert run.check("", feature, check) is True, "the port itself fails here, so its twin shows nothing"
    assert run.check(twin, feature, check) is False
    assert run.results[twin][feature].state != "validated"


@pytest.mark.parametrize(("twin", "feature", "check"), UNTOUCHED)
def test_mistake_is_caught_only_by_its_own_check(run: Run, twin: str, feature: str, check: str) -> None:
    assert run.check(twin, feature, check) is True


def test_errors_by_block_begin_where_a_port_is_wrong(run: Run) -> None:
    """What the plot of a report shows: nothing of the port, the first block of its twins."""

    def errors(port: str, feature: str) -> dict[str, float]:
        return {b.block: b.error or 0.0 for b in run.results[port][feature].blocks if b.call == TWO_SAMPLES}

    names = [f"transformer_blocks.{i}" for i in (0, 1)] + [f"single_transformer_blocks.{i}" for i in (0, 1, 2)]
    for feature in ("parity", "tp2"):
        assert all(block.error is not None for block in run.results[""][feature].blocks)
        assert list(errors("", feature)) == names and max(errors("", feature).values()) <= 1e-5
    assert errors("swapped_kv", "parity")["transformer_blocks.0"] > 1e-2
    assert max(errors("missing_reduce", "parity").values()) <= 1e-5 < errors("missing_reduce", "tp2")[names[0]]


def test_a_rank_that_raises_is_named(run: Run) -> None:
    result = run.results["raises_on_one_rank"]["tp2"]
    assert result.state == "unsupported"
    assert "rank 1: RuntimeError: a mistake on rank 1" in result.reason


def test_inputs_on_the_device_of_offloaded_weights_are_found(run: Run) -> None:
    result = run.results["inputs_where_the_encoder_is"]["offload"]
    assert result.state == "unsupported"
    assert "text_encoder_2 is given a tensor on the device where its weights were" in result.reason


def test_twins_cover_every_feature() -> None:
    assert {feature for _, feature, _ in CAUGHT} | {"import"} == set(FEATURES)


@pytest.fixture(scope="module")
def hand_written(hand_port: Port, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, FeatureResult]]:
    """The hand-written port, and manifests of it that are wrong."""
    wrong = {
        "hand": ({}, FEATURES),
        "other_class": ({"pipeline_class": "FluxDMD2Pipeline"}, ("import",)),
        "no_function": ({"post_process": "get_post_process_func"}, ("import",)),
        "unknown_component": (
            {"reference_transformer": "diffusers.models.transformers.transformer_sd3.SD3Transformer2DModel"},
            ("parity",),
        ),
    }
    jobs = []
    for name, (entries, features) in wrong.items():
        path = write_manifest(tmp_path_factory.mktemp(name), "flux", manifest(**entries))
        jobs.append(make_job(path, features))
    results, _ = run_jobs(jobs)
    return {name: {r.feature: r for r in found} for name, found in zip(wrong, results, strict=True)}


def test_hand_written_flux_computes_the_same(hand_written: dict[str, dict[str, FeatureResult]]) -> None:
    results = hand_written["hand"]
    assert results["parity"].state == "validated"
    checks = {check.name: check.ok for check in results["cfg2"].checks}
    assert checks["against one rank"] and checks["each rank runs half of the forwards"]


def test_hand_written_flux_does_not_shard_the_sequence(hand_written: dict[str, dict[str, FeatureResult]]) -> None:
    result = hand_written["hand"]["sp2"]
    assert result.state == "unsupported"
    assert "the ranks are given 24 and 24 of 24" in result.reason


def test_hand_written_flux_replicates_blocks(hand_written: dict[str, dict[str, FeatureResult]]) -> None:
    result = hand_written["hand"]["tp2"]
    assert result.state == "unsupported"
    checks = {c.name: c.ok for c in result.checks}
    assert not checks["parameters of the blocks at published size"]
    assert not checks["the layers of the blocks are shared"]
    assert checks[f"transformer, {TWO_SAMPLES}"]


def test_hand_written_flux_loses_the_default_guidance_and_the_second_prompt(
    hand_written: dict[str, dict[str, FeatureResult]],
) -> None:
    result = hand_written["hand"]["e2e"]
    assert result.state == "unsupported"
    wrong = {c.name for c in result.checks if not c.ok}
    assert {"base", "defaults"} <= wrong  # only ``defaults`` leaves the second prompt out, and the guidance


def test_hand_written_flux_accepts_a_missing_shard(hand_written: dict[str, dict[str, FeatureResult]]) -> None:
    result = hand_written["hand"]["load"]
    assert result.state == "limited" and "a shard of a fused parameter" in result.reason


@pytest.mark.parametrize(("port", "message"), [("other_class", "resolves to"), ("no_function", "the registry has")])
def test_import_finds_a_port_that_is_not_registered(
    hand_written: dict[str, dict[str, FeatureResult]], port: str, message: str
) -> None:
    result = hand_written[port]["import"]
    assert result.state == "unsupported" and message in result.reason


def test_a_refusal_of_the_verifier_is_not_the_ports_failure(hand_written: dict[str, dict[str, FeatureResult]]) -> None:
    result = hand_written["unknown_component"]["parity"]
    assert result.state == "not tested"
    assert "model_index names no component of the class SD3Transformer2DModel" in result.reason


def test_verify_writes_the_evidence(port: Port) -> None:
    from omniport.report.evidence import read_evidence
    from omniport.verify.api import verify

    before = port.manifest_path.read_bytes()
    report = verify(port.root, features=("import",), name=port.name)
    assert [r.feature for r in report.results] == ["import"]
    kept = read_evidence(port.evidence_path)
    assert kept["import"] == report.results[0]
    assert kept["import"].digest == find_port(port.root, port.name).digest()
    assert port.manifest_path.read_bytes() == before
