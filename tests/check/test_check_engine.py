"""Finding ports, selecting rules, and what a report holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omniport.check.engine import check, select_codes
from omniport.check.finding import Finding
from omniport.check.port import Port, find_ports
from omniport.check.rules import load_rules
from omniport.check.source import SourceFile, dotted, has_star, keyword
from omniport.errors import OmniportError

CUDA = "import torch\n\n\ndef run(x):\n    return x.to('cuda')\n"
RENORMALISED = "def diffuse(self):\n    return self.predict_noise_maybe_with_cfg(a, b, c, d)\n"
PIPELINE = CUDA + "\n\nclass APipeline:\n    pass\n"
CLEAN = "def run(x):\n    return x\n"
REGISTRY = '_DIFFUSION_MODELS = {"APipeline": ("a", "pipeline_a", "APipeline")}\n'


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return root


def tree(root: Path) -> Path:
    models = "vllm_omni/diffusion/models"
    return write(
        root,
        {
            "vllm_omni/__init__.py": "",
            "vllm_omni/diffusion/registry.py": REGISTRY,
            f"{models}/__init__.py": "",
            f"{models}/interface.py": CUDA,
            f"{models}/a/pipeline_a.py": PIPELINE,
            f"{models}/a/ops/kernel.py": RENORMALISED,
            f"{models}/shared_encoder/encoder.py": CUDA,
        },
    )


def places(findings: tuple[Finding, ...]) -> list[tuple[str, str, int]]:
    return [(f.code, Path(f.path).name, f.line) for f in findings]


def test_a_file_is_a_port_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, {"x/pipeline_x.py": CUDA, "x/other.py": RENORMALISED}) / "x/pipeline_x.py"
    report = check([path])
    assert places(report.findings) == [("OP701", "pipeline_x.py", 5)]
    assert (report.ports, report.files) == (("x",), 1)


def test_a_folder_of_a_port_holds_its_subfolders(tmp_path: Path) -> None:
    report = check([write(tmp_path, {"x/pipeline_x.py": CUDA, "x/ops/k.py": RENORMALISED, "x/tests/t.py": CUDA}) / "x"])
    assert places(report.findings) == [("OP401", "k.py", 2), ("OP701", "pipeline_x.py", 5)]
    assert (report.ports, report.files) == (("x",), 2)


@pytest.mark.parametrize("start", [".", "vllm_omni", "vllm_omni/diffusion", "vllm_omni/diffusion/models"])
def test_in_a_tree_the_ports_are_those_of_the_registry(tmp_path: Path, start: str) -> None:
    report = check([tree(tmp_path) / start])
    assert places(report.findings) == [("OP401", "kernel.py", 2), ("OP701", "pipeline_a.py", 5)]
    assert report.ports == ("a",)


def test_without_a_registry_the_folders_with_a_pipeline_count(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "vllm_omni/diffusion/registry.py").unlink()
    assert check([root]).ports == ("a",)


@pytest.mark.parametrize("package", ["flux_port", "src/flux_port"])
def test_a_plugin_is_found_by_its_package(tmp_path: Path, package: str) -> None:
    root = write(tmp_path, {"pyproject.toml": "", f"{package}/__init__.py": "", f"{package}/pipeline_flux.py": CUDA})
    report = check([root])
    assert report.ports == ("flux_port",)
    assert places(report.findings) == [("OP701", "pipeline_flux.py", 5)]


def test_a_path_given_twice_is_checked_once(tmp_path: Path) -> None:
    root = tree(tmp_path)
    assert check([root, root / "vllm_omni/diffusion/models/a"]) == check([root])


def test_clean(tmp_path: Path) -> None:
    report = check([write(tmp_path, {"x/pipeline_x.py": CLEAN}) / "x"])
    assert report.findings == () and report.counts() == {}


@pytest.mark.parametrize(
    ("path", "message"),
    [("missing", "no such file or folder"), ("notes.txt", "not a Python file"), ("empty", "no port here")],
)
def test_what_is_no_port_is_a_mistake(tmp_path: Path, path: str, message: str) -> None:
    write(tmp_path, {"notes.txt": "x", "empty/readme.md": "x"})
    with pytest.raises(OmniportError, match=message) as raised:
        check([tmp_path / path])
    assert str(tmp_path / path) in str(raised.value)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"def f(:\n    pass\n", 1),
        (b"x = 1\n\ny = (\n", 3),
        (b"x = '\xff'\n", 1),
        (b"x = 1\x00\n", 1),
        (b"x = " + b"-" * 100_000 + b"1\n", 1),
    ],
)
def test_a_file_that_is_no_python_is_a_finding_and_the_rest_is_checked(
    tmp_path: Path, content: bytes, line: int
) -> None:
    root = write(tmp_path, {"x/pipeline_x.py": CUDA})
    (root / "x/broken.py").write_bytes(content)
    report = check([root / "x"])
    assert places(report.findings) == [("OP000", "broken.py", line), ("OP701", "pipeline_x.py", 5)]


def test_bom_and_crlf_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "pipeline_x.py"
    path.write_bytes(b"\xef\xbb\xbf" + CUDA.replace("\n", "\r\n").encode())
    assert places(check([path]).findings) == [("OP701", "pipeline_x.py", 5)]


def test_a_crash_in_a_rule_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(self: object, port: Port) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(load_rules()["OP701"]), "check", crash)
    with pytest.raises(ZeroDivisionError):
        check([write(tmp_path, {"pipeline_x.py": CLEAN})])


@pytest.mark.parametrize(
    ("select", "ignore", "expected"),
    [
        ((), (), set(load_rules())),
        (("OP401",), (), {"OP401"}),
        (("op401", "OP103"), (), {"OP401", "OP103"}),
        (("OP402", "OP403", "OP404"), ("OP404",), {"OP402", "OP403"}),
        ((), ("OP",), set()),
    ],
)
def test_select_and_ignore_take_the_start_of_a_code(
    select: tuple[str, ...], ignore: tuple[str, ...], expected: set[str]
) -> None:
    assert set(select_codes(select, ignore)) == expected


@pytest.mark.parametrize("entry", ["OP99", "X", "", "OP4012", "cfg-normalize-by-default"])
def test_an_unknown_code_is_a_mistake(entry: str) -> None:
    with pytest.raises(OmniportError, match="is no rule"):
        select_codes((entry,))
    with pytest.raises(OmniportError, match="is no rule"):
        select_codes((), (entry,))


def test_json_holds_everything(tmp_path: Path) -> None:
    report = check([write(tmp_path, {"x/pipeline_x.py": CUDA}) / "x"])
    data = json.loads(report.to_json())
    assert list(data) == ["schema", "omniport", "ports", "files", "counts", "blocking", "todos", "findings"]
    assert (data["blocking"], data["todos"]) == (1, {"left": 0, "blocking": 0})
    assert (data["schema"], data["ports"], data["files"], data["counts"]) == (1, ["x"], 1, {"OP701": 1})
    (finding,) = data["findings"]
    assert finding == {
        "name": "cuda-only",
        "code": "OP701",
        "path": (tmp_path / "x/pipeline_x.py").as_posix(),
        "line": 5,
        "col": 17,
        "message": "'cuda' names a CUDA device; use the worker's own",
        "evidence": "return x.to('cuda')",
        "edits": [],
        "blocking": True,
    }


def test_paths_below_the_working_directory_are_shown_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"x/pipeline_x.py": CUDA})
    monkeypatch.chdir(tmp_path)
    assert check([tmp_path / "x"]).findings[0].path == "x/pipeline_x.py"
    assert check([Path("x")]).findings[0].path == "x/pipeline_x.py"


def test_nothing_of_the_port_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = f"open({str(mark)!r}, 'w')\nraise SystemExit(3)\n"
    assert check([write(tmp_path, {"x/pipeline_x.py": text}) / "x"]).findings == ()
    assert not mark.exists()


def test_find_ports_names_files_in_order(tmp_path: Path) -> None:
    root = write(tmp_path, {"x/pipeline_x.py": "", "x/b.py": "", "x/a.py": ""})
    ((name, files),) = find_ports(root / "x")
    assert name == "x" and [f.name for f in files] == ["a.py", "b.py", "pipeline_x.py"]


def test_a_source_file_is_indexed_with_parents() -> None:
    file = SourceFile(
        Path("a.py"), "import x.y as z\nclass A:\n    def f(self):\n        return self.b.c(1, k=2, **z)\n"
    )
    (call,) = file.calls("c")
    assert dotted(call.func) == "self.b.c" and has_star(call) and keyword(call, "k") is not None
    cls, function = file.enclosing_class(call), file.enclosing_function(call)
    assert cls is not None and cls.name == "A" and function is not None and function.name == "f"
    assert file.imports == {"z": "x.y"} and list(file.classes) == ["A"]
    assert file.line(4) == "return self.b.c(1, k=2, **z)" and file.line(99) == ""


def test_a_class_name_that_two_files_define_is_not_guessed() -> None:
    one, two = (SourceFile(Path(n), "class A: pass\n") for n in ("one.py", "two.py"))
    three = SourceFile(Path("three.py"), "")
    port = Port("p", (one, two, three))
    assert port.find_class("A", three) is None
    assert port.find_class("A", two) == (two, two.classes["A"])
