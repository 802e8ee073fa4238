"""The evidence file: merged by source, written whole or not at all."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from omniport.errors import OmniportError
from omniport.report.evidence import read_evidence, write_evidence
from omniport.report.verify_table import verify_table
from omniport.verify.results import BlockError, Check, FeatureResult, State, VerifyReport


def result(feature: str, digest: str = "one", state: State = "validated", reason: str = "") -> FeatureResult:
    check = Check("transformer [2, 24]", not reason, reason, 3e-7, 1e-5)
    return FeatureResult(
        feature, state, 3e-7, reason, (check,), ("32 all_reduce",), 1.5, "omniport verify .", {}, "2026-01-01", digest
    )


def test_no_file_is_no_evidence(tmp_path: Path) -> None:
    assert read_evidence(tmp_path / "flux.evidence.json") == {}


def test_results_of_the_same_source_add_up(tmp_path: Path) -> None:
    path = tmp_path / "flux.evidence.json"
    write_evidence(path, "flux", [result("parity")])
    write_evidence(path, "flux", [result("tp2"), result("e2e", state="limited", reason="defaults")])
    assert {k: r.state for k, r in read_evidence(path).items()} == {
        "parity": "validated",
        "tp2": "validated",
        "e2e": "limited",
    }


def test_evidence_for_other_source_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "flux.evidence.json"
    write_evidence(path, "flux", [result("parity"), result("tp2")])
    write_evidence(path, "flux", [result("tp2", digest="two")])
    assert set(read_evidence(path)) == {"tp2"}


def test_a_new_result_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "flux.evidence.json"
    write_evidence(path, "flux", [result("tp2")])
    write_evidence(path, "flux", [result("tp2", state="unsupported", reason="no all-reduce")])
    assert read_evidence(path)["tp2"].state == "unsupported"


def test_an_infinite_error_comes_back(tmp_path: Path) -> None:
    """Outputs of another shape: what a run wrote, the next must be able to read."""
    path = tmp_path / "flux.evidence.json"
    wrong = replace(result("parity", state="unsupported", reason="shape"), figure=float("inf"))
    write_evidence(path, "flux", [replace(wrong, blocks=(BlockError("even", "blocks.0", float("inf")),))])
    found = read_evidence(path)["parity"]
    assert found.figure == float("inf") and found.blocks[0].error == float("inf")


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "flux.evidence.json"
    write_evidence(path, "flux", [result("tp2")])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert json.loads(path.read_text())["schema"] == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 2, "features": {}}', '{"schema": 1, "features": {"tp2": {}}}'])
def test_damaged_evidence_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "flux.evidence.json"
    path.write_text(text)
    with pytest.raises(OmniportError, match="cannot be read as evidence"):
        write_evidence(path, "flux", [result("tp2")])
    assert path.read_text() == text


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OmniportError, match="cannot be written"):
        write_evidence(tmp_path / "absent" / "flux.evidence.json", "flux", [result("tp2")])


def rendered(report: VerifyReport, details: bool = False) -> str:
    stream = io.StringIO()
    Console(file=stream, width=160).print(verify_table(report, details=details))
    return stream.getvalue()


def test_table_shows_state_figure_and_evidence() -> None:
    text = rendered(VerifyReport("flux", ".", (result("tp2"),), 2.0, notes=("imported once",)))
    assert all(
        part in text for part in ("flux", "tp2", "validated", "3.0e-07", "32 all_reduce", "1.5", "imported once")
    )


def test_the_last_line_counts_the_states() -> None:
    found = (result("tp2"), result("sp2"), result("pp2", state="unsupported", reason="no"))
    assert (
        rendered(VerifyReport("flux", ".", found, 2.0)).splitlines()[-1].strip() == "flux: 2 validated, 1 unsupported"
    )


def test_table_shows_why_something_is_not_validated() -> None:
    text = rendered(VerifyReport("flux", ".", (result("sp2", state="unsupported", reason="24 of [bold]24"),), 2.0))
    assert "unsupported" in text and "24 of [bold]24" in text and "32 all_reduce" not in text


def test_details_list_every_check() -> None:
    report = VerifyReport("flux", ".", (result("sp2", state="unsupported", reason="whole"),), 2.0)
    assert "transformer [2, 24]" in rendered(report, details=True)
    assert "transformer [2, 24]" not in rendered(report)
