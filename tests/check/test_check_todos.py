"""TODOs of a custom repository's port: all are listed and counted, and only what a port cannot serve without fails."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from omniport.check import api
from omniport.check.cache import rule_set
from omniport.plan import todos
from omniport.plan.todos import IDS, blocks, counted
from omniport.report.rules import explanation

OPEN = "class Toy:\n    def forward(self, q):\n        # OMNIPORT-TODO({}): as it was\n        return attend(q)\n"


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OMNIPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy").mkdir()
    return Path("toy")


def run(port: Path, text: str, **options: object) -> tuple[bool, str]:
    (port / "toy.py").write_text(text, "utf-8")
    out, err = io.StringIO(), io.StringIO()
    return api.run(api.Options(paths=(port,), **options), out, err), out.getvalue()  # type: ignore[arg-type]


@pytest.mark.parametrize("identity", IDS)
def test_what_the_table_says_of_an_id_decides(port: Path, identity: str) -> None:
    passed, text = run(port, OPEN.format(identity))
    assert passed is not IDS[identity][1]
    assert f"toy/toy.py:3:11: OP971 {identity} is open{', not blocking' if passed else ''}: as it was\n" in text
    assert f"\n1 TODO left, {'none' if passed else '1'} of them blocking\n" in text
    assert run(port, OPEN.format(identity))[0] is passed, "read from the cache"


@pytest.mark.parametrize("written", ["LICENSE", "attn", "", " ATTN", "ATTN, REVISION"])
def test_an_id_that_nobody_knows_blocks(port: Path, written: str) -> None:
    passed, text = run(port, OPEN.format(written))
    assert not passed and "1 TODO left, 1 of them blocking" in text


def test_a_todo_without_an_id_and_a_stub_without_a_marker_block(port: Path) -> None:
    passed, text = run(port, "x = 1  # OMNIPORT-TODO: later\n")
    assert not passed and "a TODO without an id is open: later" in text
    assert not run(port, "class Toy:\n    def decode(self, x):\n        raise NotImplementedError\n")[0]


def test_the_text_in_a_message_ends_with_the_message(port: Path) -> None:
    raised = (
        'class Toy:\n    def run(self):\n        raise NotImplementedError("OMNIPORT-TODO(DECODE): how (latents)")\n'
    )
    assert "OP971 DECODE is open: how (latents)\n" in run(port, raised)[1]


def test_both_kinds_are_counted_in_every_format(port: Path) -> None:
    text = "# OMNIPORT-TODO(REVISION): main\n# OMNIPORT-TODO(DECODE): as it was\n# OMNIPORT-TODO(ATTN)\n"
    passed, shown = run(port, text)
    assert not passed and "3 findings in 1 port, 1 file: OP971 3\n3 TODOs left, 1 of them blocking\n" in shown
    data = json.loads(run(port, text, output_format="json")[1])
    assert (data["blocking"], data["todos"]) == (1, {"left": 3, "blocking": 1})
    assert [f["blocking"] for f in data["findings"]] == [False, True, False]
    log = json.loads(run(port, text, output_format="sarif")[1])
    assert [r["level"] for r in log["runs"][0]["results"]] == ["note", "error", "note"]
    annotated = run(port, text, output_format="github")[1].splitlines()
    assert [line.partition(" ")[0] for line in annotated] == ["::notice", "::error", "::notice"]
    assert run(port, text, statistics=True)[1].endswith("3 TODOs left, 1 of them blocking\n")


def test_options_choose_findings_and_not_what_blocks(port: Path) -> None:
    text = "import re\n# OMNIPORT-TODO(ATTN)\n"
    assert not run(port, text)[0], "OP962 is no TODO"
    assert run(port, text, select=("OP971",))[0]
    assert run(port, text, ignore=("OP962",))[0]
    assert run(port, text, fix=True)[0], "what is mended does not fail, and a TODO that does not block stays"
    assert not run(port, text.replace("ATTN", "DECODE"), select=("OP97",))[0]
    passed, shown = run(port, text, select=("OP962",))
    assert not passed and "TODO" not in shown


def test_what_a_person_excused_is_not_counted(port: Path) -> None:
    text = "def decode(x):\n    return x  # OMNIPORT-TODO(DECODE)\n"
    assert run(port, text)[0] is False
    excused = text.replace("    return", "    # omniport: ignore[OP971] latents are wanted\n    return")
    assert run(port, excused) == (True, "No findings in 1 port, 1 file.\n")


def test_the_explanation_names_what_does_not_block() -> None:
    text = explanation("OP971")
    named = re.search(r"lets the check pass:([^.]*)\.", text)
    assert named is not None
    assert set(re.findall(r"[A-Z_]{3,}", named[1])) == {i for i in IDS if not blocks(i)}


def test_findings_are_kept_for_one_table_only(monkeypatch: pytest.MonkeyPatch) -> None:
    before, read = rule_set(), Path.read_bytes
    table = Path(todos.__file__)
    monkeypatch.setattr(Path, "read_bytes", lambda file: read(file) + (b"#" if file == table else b""))
    assert rule_set() != before


def test_the_count_in_words() -> None:
    assert counted(0, 0) == "0 TODOs left, none of them blocking"
    assert counted(1, 1) == "1 TODO left, 1 of them blocking"
    assert counted(3, 3) == "3 TODOs left, all of them blocking"
