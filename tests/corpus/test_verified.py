"""The sweep of ``omniport verify``: what it keeps, what it says, and one small pipeline for real."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from omniport.corpus import verified
from omniport.corpus.verified_page import page, totals
from omniport.corpus.verified_results import Found, Verified
from omniport.errors import OmniportError

ROW = {
    "feature": "import",
    "state": "validated",
    "reason": "",
    "figure": 1e-6,
    "declared": True,
    "machine_failed": False,
}


class Commands:
    """Stands for the command: writes ports, answers with rows, and counts what it is asked."""

    def __init__(self, rows: list[dict[str, Any]], scaffolds: int = 0, text: str = "x = 1\n") -> None:
        self.rows, self.scaffolds, self.text = rows, scaffolds, text
        self.asked: list[str] = []

    def __call__(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.asked.append(arguments[0])
        if arguments[0] == "scaffold":
            Path(arguments[3]).mkdir()
            (Path(arguments[3]) / "port.py").write_text(self.text)
            return subprocess.CompletedProcess([], self.scaffolds, "", "error: no rule for this")
        return subprocess.CompletedProcess([], 0, json.dumps({"features": self.rows}), "")


class Port:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def digest(self) -> str:
        return (self.folder / "port.py").read_text()


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the sweep over two pipelines with given commands."""
    monkeypatch.setattr(verified, "missing_packages", lambda: [])
    monkeypatch.setattr(verified, "corpus_pipelines", lambda _: {"APipeline": "a.py", "BPipeline": "b.py", "B 2": ""})
    monkeypatch.setattr(verified.SourceTree, "locate", lambda _: None)
    monkeypatch.setattr(verified, "find_port", Port)

    def run(commands: Commands, **options: Any) -> list[Verified]:
        monkeypatch.setattr(verified, "_omniport", commands)
        return verified.run(tmp_path / "sweep", **options)

    return run


def test_a_second_run_verifies_nothing_again(sweep: Any) -> None:
    first, second = Commands([ROW]), Commands([ROW])
    found = sweep(first)
    assert [one.name for one in found] == ["APipeline", "BPipeline"]
    assert found[0].features == (Found("import", "validated", "", 1e-6, True),)
    assert sorted(first.asked) == ["scaffold", "scaffold", "verify", "verify"]
    assert sweep(second) == found
    assert second.asked == ["scaffold", "scaffold"]


def test_another_port_or_other_features_are_verified(sweep: Any) -> None:
    sweep(Commands([ROW]))
    changed, other = Commands([ROW], text="x = 2\n"), Commands([ROW], text="x = 2\n")
    sweep(changed)
    sweep(other, features=("import",))
    assert changed.asked.count("verify") == other.asked.count("verify") == 2


def test_what_the_machine_failed_at_is_not_kept(sweep: Any) -> None:
    failed = {**ROW, "state": "not tested", "machine_failed": True}
    sweep(Commands([failed]))
    again = Commands([ROW])
    sweep(again)
    assert again.asked.count("verify") == 2


def test_a_pipeline_without_a_port_is_told_with_its_reason(sweep: Any) -> None:
    (found,) = sweep(Commands([], scaffolds=2), only=("BPipeline",))
    assert (found.refused, found.features) == ("no rule for this", ())
    assert "- **BPipeline**: no rule for this" in page([found], {})


def test_a_port_whose_verification_broke_off_is_told_and_tried_again(sweep: Any, tmp_path: Path) -> None:
    class Broken(Commands):
        def __call__(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
            ran = super().__call__(arguments)
            return ran if arguments[0] == "scaffold" else subprocess.CompletedProcess([], 2, "", "error: it was ended")

    (found,) = sweep(Broken([ROW]), only=("BPipeline",))
    assert (found.refused, found.missed, found.features) == ("", "it was ended", ())
    text = page([found], {})
    assert "1 of 1 pipelines have a port; 0 of these claim nothing that fails, and 1 could not be verified" in text
    assert (
        "## Not verified, as the machine failed\n\n- **BPipeline**: it was ended" in text and "| BPipeline" not in text
    )
    again = Commands([ROW])
    (found,) = sweep(again, only=("BPipeline",))
    assert found.features and again.asked.count("verify") == 1


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        (
            Verified(
                "A", "1", "d", features=(Found("tp2", "validated"), Found("pp2", "unsupported", "no", None, False))
            ),
            0,
            "",
        ),
        (Verified("A", "1", "d", features=(Found("tp2", "unsupported", "failed: x"),)), 1, "A: tp2: failed: x"),
        (Verified("A", "", "d", missed="it was ended"), 2, "A: missed: it was ended"),
        (Verified("A", "", "d", refused="no rule"), 0, "A: no port: no rule"),
    ],
)
def test_the_command_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: Verified, code: int, said: str
) -> None:
    monkeypatch.setattr(verified, "run", lambda *_, **__: [found])
    monkeypatch.setattr("sys.argv", ["verified", "--quiet"])
    assert verified.main() == code
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("A: ")] == ([said] if said else [])


@pytest.mark.parametrize("wrong", [{"only": ("CPipeline",)}, {"features": ("imports",)}])
def test_unknown_names_are_refused(sweep: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(OmniportError):
        sweep(Commands([ROW]), **wrong)


FOUND = [
    Verified(
        "APipeline", "1", "2026-01-01", features=(Found("tp2", "validated"), Found("sp2", "limited", "one | two"))
    ),
    Verified(
        "BPipeline", "2", "2026-01-02", features=(Found("tp2", "unsupported", "failed: x"), Found("sp2", "not tested"))
    ),
    Verified(
        "CPipeline", "3", "2026-01-02", features=(Found("tp2", "unsupported", "no heads (a.py:3)", declared=False),)
    ),
]


def test_only_a_claim_that_fails_is_wrong() -> None:
    assert [row.wrong for one in FOUND for row in one.features] == [False, False, True, False, False]


def test_page_has_a_row_for_each_pipeline_and_a_reason_for_each_gap() -> None:
    text = page(FOUND, {"torch": "2"})
    assert "| APipeline | yes | limited |" in text
    assert "| BPipeline | **failed** | ? |" in text
    assert "| CPipeline | - |  |" in text
    assert "- **sp2**, one \\| two: APipeline" in text
    assert "- **tp2**, failed: x: BPipeline" in text
    assert "- **tp2**, no heads: CPipeline" in text
    assert "from 2026-01-01 to 2026-01-02 with torch 2." in text


def test_totals_count_states() -> None:
    assert totals(FOUND)[:3] == [
        "- 3 of 3 pipelines have a port; 2 of these claim nothing that fails",
        "- 5 features: 1 failed, 1 limited, 1 not claimed, 1 not tested, 1 validated",
        "- tp2: 1 failed, 1 not claimed, 1 validated",
    ]


@pytest.mark.verify
def test_a_small_pipeline_for_real(tmp_path: Path) -> None:
    """As a user runs it, from the port to the page."""
    page_file = tmp_path / "verified.md"
    options = ["--folder", str(tmp_path / "kept"), "--only", "DiTPipeline", "--feature", "import", "--feature", "load"]
    argv = ["verified", *options, "--markdown", str(page_file), "--quiet"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.argv", argv)
        assert verified.main() == 0
    assert "| DiTPipeline | yes | yes |" in page_file.read_text()
    kept = json.loads((tmp_path / "kept" / "results" / "DiTPipeline.json").read_text())
    assert [row["state"] for row in kept["features"]] == ["validated", "validated"]
