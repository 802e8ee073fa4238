"""Suppressions, settings, formats, fixes, changed files and the cache of ``omniport check``."""

from __future__ import annotations

import ast
import io
import json
import subprocess
from pathlib import Path

import pytest

from omniport.check import api, engine
from omniport.check.cache import FindingCache, rule_set
from omniport.check.fix import fixed_texts, unified_diff
from omniport.errors import OmniportError

CUDA = "import torch\n\n\ndef run(x):\n    return x.to('cuda')\n"
REGEX = "import re\n\n\ndef clean(x):\n    return re.sub('a', 'b', x)\n"


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A port with one finding in each of two files, the working directory above it, and a cache of its own."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x/pipeline_x.py").write_text(CUDA, "utf-8")
    (tmp_path / "x/text.py").write_text(REGEX, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIPORT_CACHE", str(tmp_path / "cache"))
    return Path("x")


def run(port: Path, **options: object) -> tuple[bool, str]:
    out, err = io.StringIO(), io.StringIO()
    return api.run(api.Options(paths=(port,), **options), out, err), out.getvalue()  # type: ignore[arg-type]


def codes(port: Path) -> list[str]:
    return [finding.code for finding in engine.check([port]).findings]


def test_a_suppression_with_its_code_silences_the_line(port: Path) -> None:
    file = port / "pipeline_x.py"
    file.write_text(CUDA.replace("'cuda')", "'cuda')  # omniport: ignore[OP701] tested by hand"), "utf-8")
    assert codes(port) == ["OP962"]
    file.write_text(CUDA.replace("    return", "    # omniport: ignore[OP701]\n    return"), "utf-8")
    assert codes(port) == ["OP962"]


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("# omniport: ignore", ["OP002", "OP701", "OP962"]),
        ("# omniport: ignore[OP702]", ["OP001", "OP701", "OP962"]),
        ("# omniport: ignore[XX1]", ["OP002", "OP701", "OP962"]),
        ("# omniport: ignore[OP701, OP702]", ["OP001", "OP962"]),
        ("# ignore[OP701]", ["OP701", "OP962"]),
    ],
)
def test_other_suppressions_are_findings(port: Path, comment: str, expected: list[str]) -> None:
    (port / "pipeline_x.py").write_text(CUDA.replace("'cuda')", f"'cuda')  {comment}"), "utf-8")
    assert sorted(codes(port)) == expected


def test_settings_of_the_project_and_options_over_them(port: Path) -> None:
    Path("pyproject.toml").write_text('[tool.omniport]\nignore = ["OP701"]\n', "utf-8")
    assert json.loads(run(port, output_format="json")[1])["counts"] == {"OP962": 1}
    assert json.loads(run(port, output_format="json", ignore=("OP962",))[1])["counts"] == {"OP701": 1}
    Path("pyproject.toml").write_text('[tool.omniport.per-file-ignores]\n"x/pipe*" = ["OP7"]\n', "utf-8")
    assert json.loads(run(port, output_format="json")[1])["counts"] == {"OP962": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.omniport]\nselect = OP1\n", "not valid TOML"),
        ('[tool.omniport]\nselect = "OP1"\n', "list of codes"),
        ('[tool.omniport]\nselects = ["OP1"]\n', "no setting 'selects'"),
        ('[tool.omniport]\nselect = ["OP99"]\n', "is no rule"),
    ],
)
def test_wrong_settings_are_one_message(port: Path, text: str, message: str) -> None:
    Path("pyproject.toml").write_text(text, "utf-8")
    with pytest.raises(OmniportError, match=message):
        run(port)


def test_formats(port: Path) -> None:
    ok, text = run(port, output_format="github")
    assert not ok
    assert text.splitlines()[0] == (
        "::error file=x/pipeline_x.py,line=5,col=17,title=OP701 cuda-only"
        "::'cuda' names a CUDA device; use the worker's own"
    )
    log = json.loads(run(port, output_format="sarif")[1])
    (result,) = [r for r in log["runs"][0]["results"] if r["ruleId"] == "OP701"]
    place = result["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "x/pipeline_x.py"}, "region": {"startLine": 5, "startColumn": 17}}
    assert {r["id"] for r in log["runs"][0]["tool"]["driver"]["rules"]} == {"OP701", "OP962"}
    text = run(port, statistics=True)[1]
    assert [line.split() for line in text.splitlines()[:2]] == [
        ["1", "OP701", "cuda-only"],
        ["1", "OP962", "[*]", "forbidden-import"],
    ]


def test_diff_shows_and_fix_writes_what_is_safe(port: Path) -> None:
    ok, text = run(port, diff=True)
    assert not ok and "-import re\n+import regex as re\n" in text
    assert (port / "text.py").read_text("utf-8") == REGEX
    ok, text = run(port, fix=True)
    assert (port / "text.py").read_text("utf-8") == REGEX.replace("import re\n", "import regex as re\n")
    assert not ok and "OP701" in text and "OP962" not in text
    assert run(port, diff=True) == (True, "")
    with pytest.raises(OmniportError, match="choose one"):
        run(port, diff=True, fix=True)


def test_fixes_keep_other_bytes_and_take_suppressions_away(port: Path) -> None:
    file = port / "text.py"
    file.write_bytes("\ufeffimport re  # \u00e9\r\nx = 1  # omniport: ignore[OP701]\r\n".encode())
    ((path, (_, after, count)),) = fixed_texts(engine.check([port]).findings).items()
    assert (path, count) == (file, 2)
    assert after == "\ufeffimport regex as re  # \u00e9\r\nx = 1\r\n".encode()


def test_a_prefix_of_another_layer_is_mended(port: Path) -> None:
    text = (
        "class A:\n    def __init__(self, dim, prefix=''):\n"
        '        self.q = Linear(dim, prefix=f"{prefix}.q")\n        self.k = Linear(dim, prefix=f"{prefix}.q")\n'
    )
    (port / "text.py").write_text(text, "utf-8")
    run(port, fix=True)
    mended = text[::-1].replace("q.", "k.", 1)[::-1]
    assert (port / "text.py").read_text("utf-8") == mended


def test_a_diff_of_nothing_is_empty() -> None:
    assert unified_diff(fixed_texts([])) == ""


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def test_changed_only(port: Path) -> None:
    with pytest.raises(OmniportError, match="--changed-only"):
        run(port, base="HEAD")
    git("init", "-q")
    git("add", "x")
    git("commit", "-qm", "one")
    assert run(port, base="HEAD")[0]
    (port / "text.py").write_text(REGEX + "\n", "utf-8")
    (port / "new.py").write_text(CUDA, "utf-8")
    text = run(port, base="HEAD", output_format="json")[1]
    assert {f["path"] for f in json.loads(text)["findings"]} == {"x/text.py", "x/new.py"}
    with pytest.raises(OmniportError, match="`git diff` failed"):
        run(port, base="no-such-revision")


def test_findings_are_kept_by_content(port: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = engine.check([port], cache=FindingCache(tmp_path / "c"))
    parse = ast.parse

    def refuse(*arguments: object, **options: object) -> ast.AST:
        raise AssertionError("parsed again")

    monkeypatch.setattr(ast, "parse", refuse)
    assert engine.check([port], cache=FindingCache(tmp_path / "c")) == first
    assert engine.check([port], select=["OP9"], cache=FindingCache(tmp_path / "c")).counts() == {"OP962": 1}
    monkeypatch.setattr(ast, "parse", parse)
    (port / "text.py").write_text(CUDA, "utf-8")
    assert engine.check([port], cache=FindingCache(tmp_path / "c")).counts() == {"OP701": 2}


def test_kept_findings_follow_the_files_and_a_broken_cache_is_no_error(port: Path, tmp_path: Path) -> None:
    cache = tmp_path / "c"
    engine.check([port], cache=FindingCache(cache))
    port.rename("y")
    (tmp_path / "z").mkdir()
    Path("y").rename("z/x")
    moved = engine.check([Path("z/x")], cache=FindingCache(cache))
    assert {f.path for f in moved.findings} == {"z/x/pipeline_x.py", "z/x/text.py"}
    (kept,) = (cache / rule_set()).iterdir()
    kept.write_text('[{"code": 1}]', "utf-8")
    assert engine.check([Path("z/x")], cache=FindingCache(cache)) == moved
    blocked = tmp_path / "file"
    blocked.write_text("", "utf-8")
    assert engine.check([Path("z/x")], cache=FindingCache(blocked)) == moved
