"""Rows of a port in the files of a tree: each in its place, once, and gone again without a trace."""

from __future__ import annotations

import ast
import dataclasses
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from omniport.emit import port_files
from omniport.emit.edits import Context, all_edits, literals, tables
from omniport.errors import UnsupportedError
from omniport.target.features import DEFAULT
from omniport.target.registry import RegistryView
from omniport.target.tree import Target
from tests.support.ports import codes
from tests.support.trees import FILES, context, make_tree

ENABLER = dataclasses.replace(DEFAULT, cachedit_api="enabler", cachedit_module="")

#: what a context is made with -> the lines that every file of the tree gains
CASES = {
    "image": (
        {},
        {
            "docs/models/supported_models.md": ["| `ToyPipeline` | toy-dev | `toy/toy-dev` | | \u2014 |"],
            "docs/user_guide/features.md": ["| **toy-dev** | \u274c | \u2753 | \u274c | \u2753 | \u2753 | \u274c |"],
            "examples/offline_inference/text_to_image/README.md": ["| `toy/toy-dev` | 512 x 768 | - |"],
            "recipes/README.md": ["| [`ToY/toy-dev.md`](./ToY/toy-dev.md) | Text to image | not tested yet |"],
            "tests/model_tests/diffusion/test_alignment.py": ['    "ToyPipeline",'],
        },
    ),
    "video without cache": (
        {"output": "video", "cache": False, "model_id": ""},
        {
            "vllm_omni/diffusion/registry.py": ['    "ToyPipeline",'],
            "vllm_omni/diffusion/model_metadata.py": [
                '    "ToyPipeline": DiffusionModelMetadata(final_output_type="video"),'
            ],
            "docs/models/supported_models.md": ["| `ToyPipeline` | Toy | | | \u2014 |"],
            "docs/user_guide/features.md": ["| **Toy** | | \u274c | \u2753 | N/A | \u274c |"],
            "tests/model_tests/diffusion/test_alignment.py": ['    "ToyPipeline",'],
        },
    ),
    "image to image": (
        {"media": "image"},
        {
            "vllm_omni/diffusion/model_metadata.py": [
                '    "ToyPipeline": DiffusionModelMetadata('
                "supports_multimodal_inputs=True, max_multimodal_image_inputs=1),"
            ],
            "docs/models/supported_models.md": ["| `ToyPipeline` | toy-dev | `toy/toy-dev` | | \u2014 |"],
            "docs/user_guide/features.md": ["| **toy-dev** | \u274c | \u2753 | \u274c | \u2753 | \u2753 | \u274c |"],
            "recipes/README.md": ["| [`ToY/toy-dev.md`](./ToY/toy-dev.md) | Image to image | not tested yet |"],
            "tests/model_tests/diffusion/test_alignment.py": ['    "ToyPipeline",'],
        },
    ),
}


def run(made: Context) -> dict[str, str]:
    """The texts of the files that edits change."""
    texts: dict[str, str] = {}
    for edit in all_edits(made):
        old = texts.get(edit.path) or (made.root / edit.path).read_bytes().decode()
        new = edit.add(old)
        assert edit.add(new) == new, edit.path
        if new != (made.root / edit.path).read_bytes().decode():
            texts[edit.path] = new
    return texts


def gained(old: str, new: str) -> list[str]:
    """The lines that ``new`` has and ``old`` has not; every old line must still be there."""
    before, after = old.splitlines(), new.splitlines()
    found, at = [], 0
    for line in after:
        if at < len(before) and (line == before[at] or line == f"{before[at]},"):
            at += 1
        else:
            found.append(line)
    assert at == len(before)
    return found


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("crlf", [False, True])
def test_rows_go_in_and_come_out(tmp_path: Path, name: str, crlf: bool):
    values, expected = CASES[name]
    root = make_tree(tmp_path, crlf=crlf)
    made = context(root, **values)
    texts = run(made)
    assert {path: gained((root / path).read_text(), text) for path, text in texts.items()} == expected
    for path, text in texts.items():
        assert ("\r\n" in text) == crlf and (not crlf or "\n" not in text.replace("\r\n", ""))
        for edit in all_edits(made):
            if edit.path == path:
                text = edit.drop(text)
                assert edit.drop(text) == text
        # a last row without a comma keeps the one that it was given
        assert text.replace("    ),", "    )") == (root / path).read_bytes().decode().replace("    ),", "    )")


def test_a_function_that_enables_the_cache(tmp_path: Path):
    root = make_tree(tmp_path)
    made = context(root, features=ENABLER)
    path = "vllm_omni/diffusion/cache/cache_dit_backend.py"
    text = run(made)[path]
    tree = ast.parse(text)
    names = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
    assert names == ["enable_cache_for_old", "enable_cache_for_toy"]
    assert '        "ToyPipeline": enable_cache_for_toy,\n    }\n)\n' in text
    assert "forward_pattern=[ForwardPattern.Pattern_0, ForwardPattern.Pattern_3]" in text
    assert "has_separate_cfg=True" in text
    assert text.index("def enable_cache_for_toy") < text.index("# Filled after the functions")
    (edit,) = [e for e in all_edits(made) if e.path == path]
    assert edit.drop(text) == FILES[path]
    assert not [e for e in all_edits(context(root, features=DEFAULT)) if e.path == path]
    assert not [e for e in all_edits(context(root, features=ENABLER, cache=False)) if e.path == path]


def test_a_cell_is_ticked_where_it_was_validated(tmp_path: Path):
    root = make_tree(tmp_path)
    page = "docs/user_guide/features.md"
    states = {"tp2": "validated", "sp2": "validated", "cfg2": "limited"}
    text = run(context(root, states=states))[page]
    assert "| **toy-dev** | \u274c | \u2753 | \u274c | \u2753 | \u2705 | \u274c |" in text
    states |= {"ring2": "validated"}
    text = run(context(root, states=states))[page]
    assert "| **toy-dev** | \u274c | \u2753 | \u2705 | \u2753 | \u2705 | \u274c |" in text


def test_a_row_of_ours_is_renewed_and_what_was_written_by_hand_stays(tmp_path: Path):
    root = make_tree(tmp_path)
    page = "docs/user_guide/features.md"
    row = "| **toy-dev** | \u274c | \u2705 (with care) | \u274c | \u2753 | \u2705 | mine |\n"
    text = FILES[page].replace("\n### VideoGen", row + "\n### VideoGen").replace("\n\n" + row, "\n" + row)
    (root / page).write_text(text, "utf-8")
    assert page not in run(context(root)), "a row of somebody else"
    ours = context(root, recorded=frozenset({page}), states={"cfg2": "validated"})
    renewed = run(ours)[page]
    assert "| **toy-dev** | \u274c | \u2705 (with care) | \u274c | \u2705 | \u2753 | mine |\n" in renewed


def test_the_offload_page_lists_what_was_tried(tmp_path: Path):
    root = make_tree(tmp_path)
    page = "docs/user_guide/offload.md"
    assert page not in run(context(root))
    text = run(context(root, states={"layerwise": "validated"}))[page]
    row = "| ToyPipeline | `toy/toy-dev` | `ToyTransformer` | \u2014 | yes | `blocks`, `more_blocks` |"
    assert gained(FILES[page], text) == [row]


def test_a_model_that_is_listed_gets_no_second_row(tmp_path: Path):
    page = "docs/models/supported_models.md"
    root = make_tree(tmp_path)
    (root / page).write_text(FILES[page].replace("`OldPipeline`", "`OldPipeline`, `ToyPipeline`"), "utf-8")
    assert page not in run(context(root))


def test_a_model_with_a_tiny_test_is_not_excluded(tmp_path: Path):
    root = make_tree(tmp_path)
    (root / "tests/model_tests/diffusion/model_settings.py").write_text('X = {"ToyPipeline": 1}\n')
    assert "tests/model_tests/diffusion/test_alignment.py" not in run(context(root))


def test_a_bare_tree_is_left_alone(tmp_path: Path):
    bare = dataclasses.replace(DEFAULT, has_no_cache_set=False, model_metadata=False)
    assert run(context(tmp_path, features=bare, cache=False)) == {}


def test_an_item_of_a_list_of_recipes(tmp_path: Path):
    text = "# Recipes\n\n- [`Org/Old.md`](./Org/Old.md): serving\n  of old\n- another thing\n\nEnd.\n"
    root = make_tree(tmp_path)
    (root / "recipes/README.md").write_text(text)
    made = context(root)
    new = run(made)["recipes/README.md"]
    item = "- [`ToY/toy-dev.md`](./ToY/toy-dev.md): text-to-image serving recipe for toy-dev, not tested yet"
    assert gained(text, new) == [item]
    assert new.index("  of old") < new.index(item) < new.index("- another")
    (edit,) = [e for e in all_edits(made) if e.path == "recipes/README.md"]
    assert edit.drop(new) == text


# ------------------------------------------------------------------------------------------------------------- literals
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A = [\n    'x',\n]\n", "A = [\n    'x',\n    'k',\n]\n"),
        ("A = [\n    'x'  # why\n]\n", "A = [\n    'x',  # why\n    'k',\n]\n"),
        ("A: list = [\n  'x',\n  # last\n]\n", "A: list = [\n  'x',\n  # last\n  'k',\n]\n"),
        (
            "A = {\n    '\u00e4': f(\n        1,\n    ),\n}\n",
            "A = {\n    '\u00e4': f(\n        1,\n    ),\n    'k',\n}\n",
        ),
    ],
)
def test_an_element_is_added_behind_the_last(text: str, expected: str):
    literal = literals.assigned(ast.parse(text), "A")
    assert literal is not None
    assert literals.insert(text, literal, "'k'", "a.py") == expected


@pytest.mark.parametrize("text", ["A = ['x']\n", "A = []\n", "A = [\n    'x']\n"])
def test_other_layouts_are_refused(text: str):
    literal = literals.assigned(ast.parse(text), "A")
    assert literal is not None
    with pytest.raises(UnsupportedError, match="one element a line"):
        literals.insert(text, literal, "'k'", "a.py")


def test_what_is_no_literal_is_not_found():
    tree = ast.parse("A = f()\nB = 1\nC.update(x)\nD.update({'k': 1})\n")
    assert literals.assigned(tree, "A") is None and literals.assigned(tree, "D") is None
    assert literals.updated(tree, "C") is None and literals.updated(tree, "D") is not None
    with pytest.raises(UnsupportedError):
        literals.parse("def (", "a.py")


# --------------------------------------------------------------------------------------------------------------- tables
def test_tables_are_found_with_their_headings():
    page = "# A\n\n## B\n\n| X | Y \\| Z |\n|---|:-:|\n| 1 | a \\| b |\n\n"
    page += "# C\n\n```\n| no | no |\n|---|---|\n```\n|p|\n|-|\n"
    first, second = tables.tables(page)
    assert (first.headings, first.titles, first.end) == (("A", "B"), ("X", "Y \\| Z"), 7)
    assert first.rows == ((6, (" 1 ", " a \\| b ")),)
    assert (second.headings, second.columns, second.rows) == (("C",), ("p",), ())


def test_an_aligned_table_stays_aligned():
    page = "| M     | N |\n|-------|---|\n| a     | 1 |\n| bb    | 2 |\n"
    (table,) = tables.tables(page)
    assert tables.add_row(page, table, {0: "ccc", 1: "3"}).splitlines()[-1] == "| ccc   | 3 |"
    loose = page.replace("| bb    |", "| bb |")
    (table,) = tables.tables(loose)
    assert tables.add_row(loose, table, {0: "ccc", 1: "3"}).splitlines()[-1] == "| ccc | 3 |"


def test_a_row_behind_a_last_line_without_end():
    page = "| M |\n|---|\n| a |"
    (table,) = tables.tables(page)
    assert tables.add_row(page, table, {0: "b"}) == "| M |\n|---|\n| a |\n| b |\n"


def test_cells_are_changed_and_their_neighbours_are_not():
    page = "| M | N  | O |\n|---|----|---|\n|  a | no |x |\r\n"
    assert tables.set_cells(page, 2, {1: "yes"}) == "| M | N  | O |\n|---|----|---|\n|  a | yes |x |\r\n"


# -------------------------------------------------------------------------------------------------------------- plugins
@pytest.mark.parametrize("cache", [True, False])
def test_a_plugin_brings_its_rows_along(cache: bool, monkeypatch: pytest.MonkeyPatch):
    """What an edit puts into a tree, a plugin puts into the tables when vLLM-Omni loads it."""
    plan = context(Path(), output="video", cache=cache).plan
    target = Target(None, None, "unknown", ENABLER, RegistryView("registry.py"), (), True)
    files = {c.path: c.content for c in port_files(plan, *codes(), target, plugin=True)}
    assert ("vllm_omni_toy/cache.py" in files) == cache
    made: list[dict[str, str]] = []
    tables: dict[str, dict[str, Any]] = {
        "registry": {"register_diffusion_model": lambda **k: made.append(k), "_NO_CACHE_ACCELERATION": set()},
        "model_metadata": {"_DIFFUSION_MODEL_METADATA": {}, "DiffusionModelMetadata": dict},
        "cache": {},
        "cache.cache_dit_backend": {"CUSTOM_DIT_ENABLERS": {}},
    }
    package = types.ModuleType("vllm_omni_toy")
    package.__path__ = []
    own = types.ModuleType("vllm_omni_toy.cache")
    own.enable_cache_for_toy = "enabler"  # type: ignore[attr-defined]
    for name in ("vllm_omni", "vllm_omni.diffusion", *(f"vllm_omni.diffusion.{n}" for n in tables)):
        module = types.ModuleType(name)
        module.__dict__.update(tables.get(name.removeprefix("vllm_omni.diffusion."), {}))
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)
    monkeypatch.setitem(sys.modules, "vllm_omni_toy", package)
    monkeypatch.setitem(sys.modules, "vllm_omni_toy.cache", own)
    names: dict[str, Any] = {"__package__": "vllm_omni_toy"}
    exec(files["vllm_omni_toy/__init__.py"], names)
    names["register"]()
    names["register"]()
    assert made[0]["model_arch"] == "ToyPipeline" and made[0] == made[1]
    assert tables["model_metadata"]["_DIFFUSION_MODEL_METADATA"] == {"ToyPipeline": {"final_output_type": "video"}}
    enablers = tables["cache.cache_dit_backend"]["CUSTOM_DIT_ENABLERS"]
    assert enablers == ({"ToyPipeline": "enabler"} if cache else {})
    assert tables["registry"]["_NO_CACHE_ACCELERATION"] == (set() if cache else {"ToyPipeline"})
