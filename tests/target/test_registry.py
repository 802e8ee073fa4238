"""The registry is read as Python would fill it, and refused where that cannot be told without running it."""

from pathlib import Path

import pytest

from omniport.errors import OmniportError, UnsupportedError
from omniport.target.registry import parse_registry, read_registry
from tests.support.ports import installed_package

TEXT = """\
# a registry
_DIFFUSION_MODELS = {
    # arch: (folder, module, class)
    "APipeline": (
        "a",
        "pipeline_a",
        "APipeline",
    ),
    "BPipeline": ("b", "pipeline_b", "Other"),
}
_DIFFUSION_MODELS["AliasPipeline"] = _DIFFUSION_MODELS["APipeline"]

Registry = make({k: v for k, v in _DIFFUSION_MODELS.items()})
_NO_CACHE_ACCELERATION = {
    "BPipeline",
}
_DIFFUSION_POST_PROCESS_FUNCS = {
    "APipeline": "get_a",
}
_DIFFUSION_PRE_PROCESS_FUNCS = {}


def register(arch):
    _DIFFUSION_MODELS[arch] = ("x", "", "X")
"""


def test_rows_aliases_hooks_and_lines():
    view = parse_registry(TEXT, "registry.py")
    rows = {k: (r.folder, r.module, r.cls, r.line, r.alias_of) for k, r in view.models.items()}
    assert rows == {
        "APipeline": ("a", "pipeline_a", "APipeline", 4, None),
        "BPipeline": ("b", "pipeline_b", "Other", 9, None),
        "AliasPipeline": ("a", "pipeline_a", "APipeline", 11, "APipeline"),
    }
    assert {k: (r.function, r.line) for k, r in view.post.items()} == {"APipeline": ("get_a", 18)}
    assert view.pre == {}
    assert view.no_cache == {"BPipeline": 15}


def test_a_row_assigned_after_the_literal_wins():
    view = parse_registry(TEXT + '_DIFFUSION_MODELS["BPipeline"] = ("c", "pipeline_c", "C")\n', "registry.py")
    assert view.models["BPipeline"].folder == "c"
    assert view.models["BPipeline"].alias_of is None


def test_the_last_of_two_equal_keys_wins():
    view = parse_registry('_DIFFUSION_MODELS = {"A": ("a", "b", "C"), "A": ("d", "e", "F")}\n', "registry.py")
    assert view.models["A"].folder == "d"


@pytest.mark.parametrize("text", ["\ufeff" + TEXT, TEXT.replace("\n", "\r\n")], ids=["bom", "crlf"])
def test_marks_and_line_endings_do_not_matter(text: str):
    assert parse_registry(text, "registry.py") == parse_registry(TEXT, "registry.py")


@pytest.mark.parametrize(
    "change",
    [
        "for k in list(_DIFFUSION_MODELS):\n    _DIFFUSION_MODELS[k + '2'] = _DIFFUSION_MODELS[k]\n",
        "_DIFFUSION_MODELS.update(more())\n",
        "_DIFFUSION_MODELS.update({'C': ('c', 'd', 'E')})\n",
        "_DIFFUSION_MODELS |= more\n",
        "del _DIFFUSION_MODELS['APipeline']\n",
        "_DIFFUSION_MODELS = dict(_DIFFUSION_MODELS)\n",
        "_DIFFUSION_MODELS['C'] = row()\n",
        "_DIFFUSION_MODELS['C'] = _DIFFUSION_MODELS['nowhere']\n",
        "_DIFFUSION_MODELS[key] = ('c', 'd', 'E')\n",
        "if x:\n    _DIFFUSION_MODELS['C'] = ('c', 'd', 'E')\n",
        "extend(_DIFFUSION_MODELS)\n",
        "_DIFFUSION_MODELS['C'] = ('c', 'd')\n",
        "_DIFFUSION_POST_PROCESS_FUNCS.setdefault('C', 'd')\n",
        "_DIFFUSION_POST_PROCESS_FUNCS['C'] = None\n",
    ],
)
def test_what_cannot_be_read_without_running_is_refused(change: str):
    with pytest.raises(UnsupportedError, match=r"registry\.py:\d+: _DIFFUSION"):
        parse_registry(TEXT + change, "registry.py")


@pytest.mark.parametrize("harmless", ["n = len(_DIFFUSION_MODELS)\n", "names = sorted(_DIFFUSION_MODELS)\n"])
def test_reading_a_table_is_no_change(harmless: str):
    assert parse_registry(TEXT + harmless, "registry.py") == parse_registry(TEXT, "registry.py")


@pytest.mark.parametrize("text", ["_DIFFUSION_MODELS = {\n", "x = 1\n", "_DIFFUSION_MODELS = load()\n"])
def test_no_registry_at_all(text: str):
    with pytest.raises(OmniportError, match=r"registry\.py"):
        parse_registry(text, "registry.py")


def test_a_missing_or_binary_registry_is_named(tmp_path: Path):
    with pytest.raises(OmniportError, match="looked for"):
        read_registry(tmp_path)
    (tmp_path / "diffusion").mkdir()
    (tmp_path / "diffusion" / "registry.py").write_bytes(b"\xff\xfe")
    with pytest.raises(OmniportError, match="not UTF-8"):
        read_registry(tmp_path)


def test_the_installed_registry_agrees_with_its_own_modules():
    package = installed_package()
    view = read_registry(package)
    assert read_registry(package.parent) == view
    assert view.file == "vllm_omni/diffusion/registry.py"
    lines = (package / "diffusion" / "registry.py").read_text("utf-8").splitlines()
    assert len(view.models) > 10 and len(view.post) > 10 and len(view.pre) > 5
    for key, row in view.models.items():
        assert f'"{key}"' in lines[row.line - 1]
        assert (package / "diffusion" / "models" / row.folder / f"{row.module}.py").is_file(), key
    assert any(row.alias_of for row in view.models.values())


def test_further_tables_of_hooks_are_read_where_the_release_has_them():
    assert parse_registry(TEXT, "registry.py").others == {}
    more = TEXT + '_DIFFUSION_PREFIX_CACHE_FUNCS = {"APipeline": "get_prefix"}\n'
    found = parse_registry(more, "registry.py").others
    assert {n: {k: r.function for k, r in rows.items()} for n, rows in found.items()} == {
        "_DIFFUSION_PREFIX_CACHE_FUNCS": {"APipeline": "get_prefix"}
    }
