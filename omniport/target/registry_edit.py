"""Edits of the registry: one row of each table is inserted, replaced or removed, and nothing else changes.

The file is edited as a concrete syntax tree, so comments, layout, line endings and every other row stay byte for byte;
a new row takes the layout of the row before it.  The result is read again and compared row by row.
"""

from __future__ import annotations

import re
from dataclasses import replace

import libcst as cst

from omniport.errors import OmniportError, UnsupportedError
from omniport.records import dataclass
from omniport.source.reading import parse_cst
from omniport.target.registry import MODELS, OTHERS, POST, PRE, HookRow, RegistryRow, RegistryView, parse_registry

_BOM = "\ufeff"
_LINE = 120  # a row longer than this is laid out over several lines
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class RowEdit:
    """The rows of one pipeline class; ``post`` and ``pre`` None means that the tables hold no row for it.

    What hooks of other tables the class had before, those of a port by hand, go: their functions are in its module.
    """

    architecture: str
    folder: str
    module: str
    cls: str
    post: str | None
    pre: str | None

    @property
    def values(self) -> dict[str, tuple[str, ...] | None]:
        """Table name -> strings of the row, None for no row."""
        return {
            MODELS: (self.folder, self.module, self.cls),
            POST: (self.post,) if self.post else None,
            PRE: (self.pre,) if self.pre else None,
            **dict.fromkeys(OTHERS),
        }


def edit_registry(text: str, file: str, edit: RowEdit) -> str:
    """The registry ``text`` with the rows of ``edit``; the same text if they are there already.

    Raises:
        OmniportError: ``edit`` names something that is no identifier, or the registry cannot be read.
        UnsupportedError: the tables have a form, or the row a role, that an edit would break.
    """
    for value in (edit.architecture, edit.folder, edit.module, edit.cls, edit.post, edit.pre):
        if value is not None and not _NAME.match(value):
            raise OmniportError(f"{value!r} is no name for a registry row")
    before = parse_registry(text, file)
    wanted = _expected(before, edit)
    if _rows(before) == _rows(wanted):
        return text
    for table, rows in (("models", before.models), ("post", before.post), ("pre", before.pre)):
        for key, row in rows.items():
            if row.alias_of == edit.architecture and getattr(wanted, table).get(edit.architecture) != rows.get(
                edit.architecture
            ):
                raise UnsupportedError(
                    f"the row of {edit.architecture} is also used by its alias {key}; edit both by hand", file, row.line
                )

    bom = _BOM if text.startswith(_BOM) else ""
    module = parse_cst(text.removeprefix(_BOM), file)
    body = list(module.body)
    for table, values in edit.values.items():
        if values is not None and not any(_literal(s, table) for s in body):
            raise OmniportError(f"{file}: no table {table} to add the row of {edit.architecture} to")
        body = _edit_table(body, table, edit.architecture, values, file)
    result = bom + module.with_changes(body=body).code
    if _rows(parse_registry(result, file)) != _rows(wanted):
        raise UnsupportedError(f"the edit for {edit.architecture} would change other rows too", file)
    return result


def remove_rows(text: str, file: str, architecture: str) -> str:
    """The registry ``text`` without the rows of ``architecture``; the same text if it has none.

    Raises:
        OmniportError: the registry cannot be read.
        UnsupportedError: an alias uses the row, or the tables have a form that an edit would break.
    """
    before = parse_registry(text, file)
    for rows in (before.models, before.post, before.pre):
        for key, row in rows.items():
            if row.alias_of == architecture:
                what = f"the row of {architecture} is also used by its alias {key}; remove both by hand"
                raise UnsupportedError(what, file, row.line)
    tables = ((MODELS, before.models), (POST, before.post), (PRE, before.pre))
    if not any(architecture in rows for _, rows in tables):
        return text
    bom = _BOM if text.startswith(_BOM) else ""
    module = cst.parse_module(text.removeprefix(_BOM))
    body = list(module.body)
    for table, rows in tables:
        if architecture in rows:
            body = _edit_table(body, table, architecture, None, file)
    result = bom + module.with_changes(body=body).code
    models, post, pre = ({k: v for k, v in rows.items() if k != architecture} for _, rows in tables)
    wanted = replace(before, models=models, post=post, pre=pre)  # type: ignore[arg-type]
    if _rows(parse_registry(result, file)) != _rows(wanted):
        raise UnsupportedError(f"removing {architecture} would change other rows too", file)
    return result


def _expected(view: RegistryView, edit: RowEdit) -> RegistryView:
    models = {**view.models, edit.architecture: RegistryRow(edit.folder, edit.module, edit.cls, 0)}
    hooks = []
    for rows, function in ((view.post, edit.post), (view.pre, edit.pre)):
        rows = {k: v for k, v in rows.items() if function or k != edit.architecture}
        hooks.append({**rows, **({edit.architecture: HookRow(function, 0)} if function else {})})
    others = {n: {k: v for k, v in rows.items() if k != edit.architecture} for n, rows in view.others.items()}
    return replace(view, models=models, post=hooks[0], pre=hooks[1], others=others)


def _rows(view: RegistryView) -> tuple[object, ...]:
    """The content of the tables, without line numbers and without the order."""
    return (
        {k: (r.folder, r.module, r.cls) for k, r in view.models.items()},
        {k: r.function for k, r in view.post.items()},
        {k: r.function for k, r in view.pre.items()},
        set(view.no_cache),
        {n: {k: r.function for k, r in rows.items()} for n, rows in view.others.items()},
    )


_Body = list[cst.SimpleStatementLine | cst.BaseCompoundStatement]


def _edit_table(body: _Body, table: str, key: str, values: tuple[str, ...] | None, file: str) -> _Body:
    """Replace the last write of ``key`` in ``table``; insert it at the end of the literal if there is none."""
    for index in reversed(range(len(body))):
        if _assigned_key(body[index], table) == key:
            return _edit_assignment(body, index, key, values, file)
        if literal := _literal(body[index], table):
            edited = _edit_literal(literal, key, values, file)
            body[index] = body[index].deep_replace(literal, edited)  # type: ignore[arg-type]
            return body
    return body


def _edit_assignment(body: _Body, index: int, key: str, values: tuple[str, ...] | None, file: str) -> _Body:
    """The row was assigned after the literal: there its value is replaced, or the statement dropped."""
    statement = body[index]
    assert isinstance(statement, cst.SimpleStatementLine)
    if values is None:
        if statement.leading_lines and any(line.comment for line in statement.leading_lines):
            raise UnsupportedError(f"the assignment of {key!r} carries a comment; remove it by hand", file)
        return body[:index] + body[index + 1 :]
    assign = statement.body[0]
    assert isinstance(assign, cst.Assign)
    assign = assign.with_changes(value=_value(values, None))
    body[index] = statement.with_changes(body=[assign, *statement.body[1:]])
    return body


def _literal(statement: cst.BaseStatement, table: str) -> cst.Dict | None:
    """The dict literal that ``statement`` binds to ``table``."""
    if not isinstance(statement, cst.SimpleStatementLine):
        return None
    for small in statement.body:
        if not isinstance(small, cst.Assign | cst.AnnAssign):
            continue
        targets = [t.target for t in small.targets] if isinstance(small, cst.Assign) else [small.target]
        if any(isinstance(t, cst.Name) and t.value == table for t in targets):
            return small.value if isinstance(small.value, cst.Dict) else None
    return None


def _assigned_key(statement: cst.BaseStatement, table: str) -> str | None:
    """The key of a statement ``table["key"] = ...``."""
    if isinstance(statement, cst.SimpleStatementLine) and isinstance(statement.body[0], cst.Assign):
        target = statement.body[0].targets[0].target
        if isinstance(target, cst.Subscript) and isinstance(target.value, cst.Name) and target.value.value == table:
            index = target.slice[0].slice
            if isinstance(index, cst.Index) and isinstance(index.value, cst.SimpleString):
                return str(index.value.evaluated_value)
    return None


def _edit_literal(literal: cst.Dict, key: str, values: tuple[str, ...] | None, file: str) -> cst.Dict:
    elements = list(literal.elements)
    places = [
        i
        for i, e in enumerate(elements)
        if isinstance(e, cst.DictElement) and isinstance(e.key, cst.SimpleString) and e.key.evaluated_value == key
    ]
    if places and values is None:
        for place in reversed(places):
            literal = _remove(literal, place, file)
        return literal
    if places:
        element = elements[places[-1]]
        assert isinstance(element, cst.DictElement)
        indent = _indent(literal)
        elements[places[-1]] = element.with_changes(value=_value(values or (), element.value, indent, key))
        return literal.with_changes(elements=elements)
    return literal if values is None else _insert(literal, key, values)


def _indent(literal: cst.Dict) -> str:
    """The indentation of the rows of a literal that has one row on each line."""
    space = literal.lbrace.whitespace_after
    return space.last_line.value if isinstance(space, cst.ParenthesizedWhitespace) else ""


def _newline(indent: str) -> cst.ParenthesizedWhitespace:
    return cst.ParenthesizedWhitespace(indent=False, last_line=cst.SimpleWhitespace(indent))


def _value(
    values: tuple[str, ...], like: cst.BaseExpression | None, indent: str = "", key: str = ""
) -> cst.BaseExpression:
    """The value of a row: a string, or a tuple of three laid out as ``like`` is (its comments are not copied)."""
    strings = [cst.SimpleString(f'"{v}"') for v in values]
    if len(strings) == 1:
        return strings[0]
    flat = cst.Tuple([cst.Element(s) for s in strings])
    several_lines = isinstance(like, cst.Tuple) and "\n" in cst.Module([]).code_for_node(like)
    row = f'{indent}"{key}": {cst.Module([]).code_for_node(flat)},'
    if not indent or not (several_lines or len(row) > _LINE):
        return flat
    inner, outer = _newline(indent * 2), _newline(indent)
    elements = [cst.Element(s, comma=cst.Comma(whitespace_after=inner)) for s in strings[:-1]]
    elements.append(cst.Element(strings[-1], comma=cst.Comma(whitespace_after=outer)))
    return cst.Tuple(elements, lpar=[cst.LeftParen(whitespace_after=inner)], rpar=[cst.RightParen()])


def _insert(literal: cst.Dict, key: str, values: tuple[str, ...]) -> cst.Dict:
    """A new last row.  What stood between the last row and the brace, such as a comment, stays above the new row."""
    elements = list(literal.elements)
    name = cst.SimpleString(f'"{key}"')
    indent = _indent(literal)
    if not elements:
        row = cst.DictElement(name, _value(values, None), comma=cst.Comma())
        return cst.Dict([row], cst.LeftCurlyBrace(_newline("    ")), cst.RightCurlyBrace(_newline("")))
    last = elements[-1]
    like = last.value if isinstance(last, cst.DictElement) else None
    closing = literal.rbrace.whitespace_before
    new = cst.DictElement(name, _value(values, like, indent, key))
    if isinstance(closing, cst.ParenthesizedWhitespace):
        between = closing.with_changes(indent=False, last_line=cst.SimpleWhitespace(indent))
        elements[-1] = last.with_changes(comma=cst.Comma(whitespace_after=between))
        brace = literal.rbrace.with_changes(
            whitespace_before=closing.with_changes(first_line=cst.TrailingWhitespace(), empty_lines=[])
        )
        return literal.with_changes(elements=[*elements, new.with_changes(comma=cst.Comma())], rbrace=brace)
    elements[-1] = last.with_changes(comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")))
    return literal.with_changes(elements=[*elements, new.with_changes(comma=last.comma)])


def _remove(literal: cst.Dict, place: int, file: str) -> cst.Dict:
    """Without row ``place``.  Comments above the row's neighbours stay; a comment on the row's own line goes."""
    elements = list(literal.elements)
    last = place == len(elements) - 1
    after = literal.rbrace.whitespace_before if last else _after(elements[place])
    before = literal.lbrace.whitespace_after if place == 0 else _after(elements[place - 1])
    if not (isinstance(before, cst.ParenthesizedWhitespace) and isinstance(after, cst.ParenthesizedWhitespace)):
        raise UnsupportedError("a table with several rows on one line; remove the row by hand", file)
    merged = before.with_changes(
        empty_lines=[*before.empty_lines, *after.empty_lines], indent=after.indent, last_line=after.last_line
    )
    del elements[place]
    lbrace, rbrace = literal.lbrace, literal.rbrace
    if last:  # the white space after the last row is kept with the brace
        rbrace = rbrace.with_changes(whitespace_before=merged)
        if elements:
            elements[-1] = elements[-1].with_changes(comma=cst.Comma())
        else:
            lbrace, rbrace = cst.LeftCurlyBrace(merged), cst.RightCurlyBrace()
    elif place == 0:
        lbrace = lbrace.with_changes(whitespace_after=merged)
    else:
        elements[place - 1] = elements[place - 1].with_changes(comma=cst.Comma(whitespace_after=merged))
    return literal.with_changes(elements=elements, lbrace=lbrace, rbrace=rbrace)


def _after(element: cst.BaseDictElement) -> cst.BaseParenthesizableWhitespace:
    comma = element.comma
    return comma.whitespace_after if isinstance(comma, cst.Comma) else cst.SimpleWhitespace("")
