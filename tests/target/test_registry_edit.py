"""Edits touch the rows of one class and nothing else."""

import difflib

import pytest

from omniport.errors import OmniportError, UnsupportedError
from omniport.target import registry_edit
from omniport.target.registry import parse_registry, read_text
from omniport.target.registry_edit import RowEdit, edit_registry
from tests.support.ports import installed_package
from tests.target.test_registry import TEXT

NEW = RowEdit("NewPipeline", "new", "pipeline_new", "NewPipeline", "get_new", None)


def changed(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), n=0)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def test_a_new_row_comes_last_and_has_the_layout_of_the_row_before():
    after = edit_registry(TEXT, "registry.py", NEW)
    assert changed(TEXT, after) == [
        '+    "NewPipeline": ("new", "pipeline_new", "NewPipeline"),\n',
        '+    "NewPipeline": "get_new",\n',
    ]
    tall = TEXT.replace(
        '"BPipeline": ("b", "pipeline_b", "Other")', '"BPipeline": (\n        "b",\n        "m",\n        "O",\n    )'
    )
    assert changed(tall, edit_registry(tall, "registry.py", NEW)) == [
        '+    "NewPipeline": (\n',
        '+        "new",\n',
        '+        "pipeline_new",\n',
        '+        "NewPipeline",\n',
        "+    ),\n",
        '+    "NewPipeline": "get_new",\n',
    ]


def test_a_row_too_long_for_a_line_takes_several():
    edit = RowEdit("NewPipeline", "n" * 40, "pipeline_" + "n" * 40, "NewPipeline", None, None)
    after = edit_registry(TEXT, "registry.py", edit)
    assert max(map(len, after.splitlines())) <= 120
    assert changed(TEXT, after)[0] == '+    "NewPipeline": (\n' and len(changed(TEXT, after)) == 5


def test_rows_are_replaced_in_place():
    after = edit_registry(TEXT, "registry.py", RowEdit("BPipeline", "b2", "pipeline_b2", "BPipeline", None, None))
    assert changed(TEXT, after) == [
        '-    "BPipeline": ("b", "pipeline_b", "Other"),\n',
        '+    "BPipeline": ("b2", "pipeline_b2", "BPipeline"),\n',
    ]


def test_a_hook_that_the_port_does_not_have_goes():
    text = TEXT.replace(
        '"get_a",\n', '"get_a",  # of a\n    # about b\n    "BPipeline": "get_b",\n    "CPipeline": "get_c",\n'
    )
    after = edit_registry(text, "registry.py", RowEdit("BPipeline", "b", "pipeline_b", "Other", None, None))
    assert changed(text, after) == ['-    "BPipeline": "get_b",\n']
    first = edit_registry(
        text.replace('_DIFFUSION_MODELS["AliasPipeline"] = _DIFFUSION_MODELS["APipeline"]\n', ""),
        "registry.py",
        RowEdit("APipeline", "a", "pipeline_a", "APipeline", None, None),
    )
    assert '"get_a"' not in first and "# about b" in first


def test_the_only_hook_goes_and_comes_back():
    text = TEXT.replace('_DIFFUSION_MODELS["AliasPipeline"] = _DIFFUSION_MODELS["APipeline"]\n', "")
    edit = RowEdit("APipeline", "a", "pipeline_a", "APipeline", None, None)
    without = edit_registry(text, "registry.py", edit)
    assert parse_registry(without, "registry.py").post == {}
    back = edit_registry(without, "registry.py", RowEdit("APipeline", "a", "pipeline_a", "APipeline", "get_a", None))
    assert parse_registry(back, "registry.py").post["APipeline"].function == "get_a"


def test_an_empty_table_is_filled():
    after = edit_registry(TEXT, "registry.py", RowEdit("NewPipeline", "n", "m", "C", None, "get_pre"))
    assert '_DIFFUSION_PRE_PROCESS_FUNCS = {\n    "NewPipeline": "get_pre",\n}\n' in after


def test_one_line_and_comments_stay():
    text = (
        '_DIFFUSION_MODELS = {"A": ("a", "b", "C")}  # short\n'
        '_DIFFUSION_POST_PROCESS_FUNCS = {\n    "A": "f",  # last\n    # end\n}\n'
    )
    after = edit_registry(text, "registry.py", NEW)
    assert after == (
        '_DIFFUSION_MODELS = {"A": ("a", "b", "C"), "NewPipeline": ("new", "pipeline_new", "NewPipeline")}  # short\n'
        '_DIFFUSION_POST_PROCESS_FUNCS = {\n    "A": "f",  # last\n    # end\n    "NewPipeline": "get_new",\n}\n'
    )


def test_without_a_trailing_comma():
    text = TEXT.replace('"Other"),\n}', '"Other")\n}')
    after = edit_registry(text, "registry.py", NEW)
    assert parse_registry(after, "registry.py").models["NewPipeline"].folder == "new"


def test_an_alias_gets_a_row_of_its_own():
    after = edit_registry(TEXT, "registry.py", RowEdit("AliasPipeline", "x", "pipeline_x", "X", None, None))
    assert changed(TEXT, after) == [
        '-_DIFFUSION_MODELS["AliasPipeline"] = _DIFFUSION_MODELS["APipeline"]\n',
        '+_DIFFUSION_MODELS["AliasPipeline"] = ("x", "pipeline_x", "X")\n',
    ]


def test_a_row_that_an_alias_uses_is_left_alone():
    with pytest.raises(UnsupportedError, match=r"registry\.py:11: .*alias AliasPipeline"):
        edit_registry(TEXT, "registry.py", RowEdit("APipeline", "x", "pipeline_x", "X", "get_a", None))


def test_an_edit_that_would_change_other_rows_is_refused(monkeypatch: pytest.MonkeyPatch):
    insert = registry_edit._insert

    def loses_a_row(literal, key, values):
        literal = insert(literal, key, values)
        return literal.with_changes(elements=literal.elements[1:])

    monkeypatch.setattr(registry_edit, "_insert", loses_a_row)
    with pytest.raises(UnsupportedError, match="would change other rows"):
        edit_registry(TEXT.replace('_DIFFUSION_MODELS["AliasPipeline"]', "alias"), "registry.py", NEW)


@pytest.mark.parametrize("bad", ['x"', "a b", "", "1a", "a\n", "ä"])
def test_only_names_get_in(bad: str):
    with pytest.raises(OmniportError, match="no name"):
        edit_registry(TEXT, "registry.py", RowEdit("NewPipeline", bad, "m", "C", None, None))


def test_a_missing_table_is_named():
    text = TEXT.replace("_DIFFUSION_POST_PROCESS_FUNCS", "_OTHER")
    with pytest.raises(OmniportError, match="no table _DIFFUSION_POST_PROCESS_FUNCS"):
        edit_registry(text, "registry.py", NEW)


@pytest.mark.parametrize("form", ["plain", "crlf", "bom", "mixed"])
@pytest.mark.parametrize(
    ("edit", "lines"),
    [
        (RowEdit("NewPipeline", "new", "pipeline_new", "NewPipeline", "get_new", "get_pre"), (7, 0)),
        (RowEdit("FluxPipeline", "flux_dev", "pipeline_flux_dev", "FluxPipeline", "get_it", None), (3, 3)),
        (RowEdit("WanPipeline", "wan", "pipeline_wan", "WanPipeline", None, None), (3, 5)),
    ],
    ids=["new", "replaced", "hooks gone"],
)
def test_the_installed_registry(form: str, edit: RowEdit, lines: tuple[int, int]):
    text = read_text(installed_package() / "diffusion" / "registry.py")
    if form == "crlf":
        text = text.replace("\n", "\r\n")
    elif form == "bom":
        text = "\ufeff" + text
    elif form == "mixed":
        text = text.replace("\n", "\r\n", text.count("\n") // 2)
    after = edit_registry(text, "registry.py", edit)
    diff = changed(text, after)
    assert (sum(d[0] == "+" for d in diff), sum(d[0] == "-" for d in diff)) == lines
    assert after.startswith("\ufeff") == (form == "bom")
    if form == "crlf":
        assert after.count("\n") == after.count("\r\n")
    if form == "plain":
        assert "\r" not in after
    assert edit_registry(after, "registry.py", edit) == after
    others = parse_registry(text, "registry.py").models
    for key, row in parse_registry(after, "registry.py").models.items():
        if key != edit.architecture:
            assert (row.folder, row.module, row.cls) == (others[key].folder, others[key].module, others[key].cls)


OTHER = '_DIFFUSION_IR_OP_PRIORITY_FUNCS = {\n    "BPipeline": "get_ops",\n    "CPipeline": "get_other",\n}\n'


def test_hooks_of_other_tables_go_with_the_port_by_hand():
    text = TEXT + OTHER
    after = edit_registry(text, "registry.py", RowEdit("BPipeline", "new", "pipeline_b", "Other", None, None))
    assert '-    "BPipeline": "get_ops",\n' in changed(text, after)
    assert parse_registry(after, "registry.py").others["_DIFFUSION_IR_OP_PRIORITY_FUNCS"].keys() == {"CPipeline"}
    assert changed(text, edit_registry(text, "registry.py", NEW)) == changed(TEXT, edit_registry(TEXT, "r.py", NEW))
