"""Say the same with fewer words: what specialising leaves behind that no author would write.

* ``pair = f(x)`` followed by ``a, b = pair`` becomes ``a, b = f(x)``;
* ``self.net = nn.ModuleList([])`` with appends becomes a list, with temporaries that only feed an append put in place;
* ``for i, block in enumerate(blocks)`` loses an index that nothing reads;
* a method of one ``return`` moves to where it is called;
* arguments that repeat a default, or choose an attention backend, go; ``torch.nn`` is written ``nn``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import libcst as cst

from omniport.analyse import knowledge
from omniport.rewrite.normal.substitute import Substitute
from omniport.rewrite.normal.usage import ClassFacts, Usage
from omniport.source.syntax import code, constant, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind

Statement = cst.BaseStatement | cst.BaseSmallStatement


def shorten(node: cst.ClassDef, facts: Usage) -> cst.ClassDef:
    """One round over every function of a class; the same object if nothing changed."""
    if not _worth(node, facts.classes[node.name.value]):
        return node
    worker = _Shorten(facts.classes[node.name.value])
    new = transform(node, worker)
    assert isinstance(new, cst.ClassDef)
    return new if worker.changed else node


def _worth(node: cst.ClassDef, facts: ClassFacts) -> bool:
    """Whether there is anything to shorten: reading the class is much cheaper than rebuilding it."""
    if any(isinstance(loop.target, cst.Tuple) for loop in of_kind(node, cst.For)):
        return True
    if any(map(_long_name, of_kind(node, cst.Attribute))):
        return True
    if any(_tells(call, facts) for call in of_kind(node, cst.Call)):
        return True
    for block in of_kind(node, cst.IndentedBlock):
        pairs = [_assign(s) for s in block.body]
        for before, now in zip(pairs, pairs[1:], strict=False):
            if before and now and isinstance(now[1], cst.Name) and code(before[0]) == now[1].value:
                return True
        if any(pair and _empty_list(pair[1]) for pair in pairs):
            return True
    return False


def _long_name(node: cst.Attribute) -> bool:
    return node.attr.value == "nn" and dotted(node) == "torch.nn"


def _tells(call: cst.Call, facts: ClassFacts) -> bool:
    """Whether a call gives a default, or calls a method of the class."""
    name = dotted(call.func) or ""
    defaults = knowledge.DEFAULTS.get(name)
    if defaults is not None and any(_default(a, defaults) for a in call.args):
        return True
    return name.startswith("self.") and name.count(".") == 1 and facts.function(name[5:]) is not None


def _assign(statement: Statement) -> tuple[cst.BaseExpression, cst.BaseExpression] | None:
    """Target and value of a statement that is one plain assignment."""
    if type(statement) is cst.SimpleStatementLine and len(statement.body) == 1:
        part = statement.body[0]
        if type(part) is cst.Assign and len(part.targets) == 1:
            return part.targets[0].target, part.value
    return None


class _Shorten(cst.CSTTransformer):
    def __init__(self, facts: ClassFacts) -> None:
        self.facts = facts
        self.changed = False
        self.fn = ""

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self.fn = node.name.value

    def visit_SimpleStatementLine(self, node: cst.SimpleStatementLine) -> bool:
        if any(map(_long_name, of_kind(node, cst.Attribute))):
            return True
        return any(_tells(call, self.facts) for call in of_kind(node, cst.Call))

    def loads(self, name: str) -> int:
        return self.facts.loads.get(self.fn, {}).get(name, 0)

    def stores(self, name: str) -> int:
        return self.facts.stores.get(self.fn, {}).get(name, 0)

    # ------------------------------------------------------------------------------------------------- whole bodies
    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        if not self.fn:
            return updated_node
        body = self.module_lists(self.temporaries(list(updated_node.body)))
        if len(body) == len(updated_node.body):
            return updated_node
        self.changed = True
        return updated_node.with_changes(body=body)

    def temporaries(self, body: list[Statement]) -> list[Statement]:
        out: list[Statement] = []
        for statement in body:
            now, before = _assign(statement), _assign(out[-1]) if out else None
            if now and before and isinstance(before[0], cst.Name) and isinstance(statement, cst.SimpleStatementLine):
                name = before[0].value
                single = self.loads(name) == 1 and self.stores(name) == 1
                if single and code(now[1]) == name and isinstance(statement.body[0], cst.Assign):
                    last = out.pop()
                    assert isinstance(last, cst.SimpleStatementLine)
                    merged = statement.body[0].with_changes(value=before[1])
                    out.append(last.with_changes(body=[merged]))
                    continue
            out.append(statement)
        return out

    def module_lists(self, body: list[Statement]) -> list[Statement]:
        out: list[Statement] = []
        index = 0
        while index < len(body):
            start = _assign(body[index])
            name = dotted(start[0]) if start else None
            if start and name and name.startswith("self.") and _empty_list(start[1]):
                items: list[cst.BaseExpression] = []
                end = index + 1
                while end < len(body) and (value := _append(body[end], name)) is not None:
                    items.append(value)
                    end += 1
                if items:
                    out, items = self.placed(out, items)
                    call = start[1]
                    assert isinstance(call, cst.Call)
                    listed = cst.List([cst.Element(item, comma=_COMMA) for item in items])
                    statement = body[index]
                    assert isinstance(statement, cst.SimpleStatementLine)
                    assign = statement.body[0]
                    assert isinstance(assign, cst.Assign)
                    made = call.with_changes(args=[cst.Arg(listed)])
                    out.append(statement.with_changes(body=[assign.with_changes(value=made)]))
                    index = end
                    continue
            out.append(body[index])
            index += 1
        return out

    def placed(
        self, out: list[Statement], items: list[cst.BaseExpression]
    ) -> tuple[list[Statement], list[cst.BaseExpression]]:
        """Put temporaries that only feed the list in their place."""
        kept = list(out)
        for position, item in enumerate(items):
            if not isinstance(item, cst.Name) or self.loads(item.value) != 1 or self.stores(item.value) != 1:
                continue
            for back in range(len(kept) - 1, -1, -1):
                found = _assign(kept[back])
                if found and code(found[0]) == item.value:
                    items[position] = found[1]
                    del kept[back]
                    break
        return kept, items

    # ------------------------------------------------------------------------------------------------ single nodes
    def leave_For(self, original_node: cst.For, updated_node: cst.For) -> cst.For:
        target, iterated = updated_node.target, updated_node.iter
        if not isinstance(target, cst.Tuple) or not isinstance(iterated, cst.Call) or len(target.elements) != 2:
            return updated_node
        index = target.elements[0].value
        if dotted(iterated.func) != "enumerate" or not isinstance(index, cst.Name) or self.loads(index.value):
            return updated_node
        self.changed = True
        item = target.elements[1].value
        return updated_node.with_changes(target=item, iter=iterated.args[0].value)

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        if dotted(updated_node) == "torch.nn":
            self.changed = True
            return cst.Name("nn")
        return updated_node

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        name = dotted(updated_node.func) or ""
        defaults = knowledge.DEFAULTS.get(name)
        if defaults is not None:
            kept = [a for a in updated_node.args if not _default(a, defaults)]
            if kept and len(kept) != len(updated_node.args):
                self.changed = True
                kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
                return updated_node.with_changes(args=kept)
        elif name.startswith("self.") and name.count(".") == 1 and name[5:] != self.fn:
            inlined = self.inlined(name[5:], updated_node)
            if inlined is not None:
                self.changed = True
                return inlined
        return updated_node

    def inlined(self, method: str, call: cst.Call) -> cst.BaseExpression | None:
        function = self.facts.function(method)
        if function is None or method in ("__init__", "forward") or len(function.body.body) != 1:
            return None
        only = function.body.body[0]
        if not isinstance(only, cst.SimpleStatementLine) or not isinstance(only.body[0], cst.Return):
            return None
        value = only.body[0].value
        params = [p.name.value for p in function.params.params if p.name.value != "self"]
        if value is None or len(params) != len(call.args) or any(a.star or a.keyword for a in call.args):
            return None
        if not all(isinstance(a.value, cst.Name) for a in call.args):
            return None
        names = dict(zip(params, (a.value for a in call.args), strict=True))
        new = transform(value, Substitute(names))
        assert isinstance(new, cst.BaseExpression)
        return new


_COMMA = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))


def _empty_list(node: cst.BaseExpression) -> bool:
    if not isinstance(node, cst.Call) or dotted(node.func) not in knowledge.CONTAINERS:
        return False
    return not node.args or constant(node.args[0].value) == []


def _append(statement: Statement, owner: str) -> cst.BaseExpression | None:
    if isinstance(statement, cst.SimpleStatementLine) and isinstance(statement.body[0], cst.Expr):
        call = statement.body[0].value
        if isinstance(call, cst.Call) and dotted(call.func) == f"{owner}.append" and len(call.args) == 1:
            return call.args[0].value
    return None


def _default(arg: cst.Arg, defaults: Mapping[str, Sequence[object]]) -> bool:
    values = defaults.get(arg.keyword.value, ()) if arg.keyword else ()
    return bool(values) and (values[0] is ... or constant(arg.value) in values)


def inline_aliases(node: cst.ClassDef, facts: Usage) -> cst.ClassDef:
    """``self.inner_dim = query_dim`` that only the constructor reads, or ``dim_out = dim``: the parameter says it; and
    ``self.kv_dim = self.inner_dim``: that attribute does."""
    own = facts.classes[node.name.value]
    function = own.function("__init__")
    if function is None:
        return node
    stored, loaded = own.stores.get("__init__", {}), own.loads.get("__init__", {})
    elsewhere = own.outside_init | facts.read_elsewhere
    attributes: dict[str, cst.BaseExpression] = {}
    names: dict[str, cst.BaseExpression] = {}
    for statement in function.body.body:
        pair = _assign(statement)
        target = dotted(pair[0]) if pair else None
        if pair is None or target is None:
            continue
        source = dotted(pair[1]) or ""
        if source.startswith("self.") and target.startswith("self.") and _stored_once(node, source, target):
            if target[5:] not in elsewhere and target[5:] in own.own:
                attributes[target[5:]] = pair[1]
            continue
        if not isinstance(pair[1], cst.Name) or source in stored:
            continue
        if target.startswith("self.") and target[5:] not in elsewhere and target[5:] in own.own:
            if _stored_once(node, target):
                attributes[target[5:]] = pair[1]
        elif "." not in target and stored.get(target) == 1 and target in loaded and target != pair[1].value:
            names[target] = pair[1]
    if not attributes and not names:
        return node
    inner = transform(function, _Alias(attributes, names))
    members = [inner if m is function else m for m in node.body.body]
    return node.with_changes(body=node.body.with_changes(body=members))


def _stored_once(node: cst.ClassDef, *attributes: str) -> bool:
    """Whether a class binds each of these attributes in one place."""
    stores = [dotted(part.target) for part in of_kind(node, cst.AssignTarget)]
    stores += [dotted(part.target) for part in of_kind(node, cst.AugAssign)]
    return all(stores.count(attribute) == 1 for attribute in attributes)


class _Alias(cst.CSTTransformer):
    def __init__(self, attributes: Mapping[str, cst.BaseExpression], names: Mapping[str, cst.BaseExpression]) -> None:
        self.attributes, self.names = attributes, Substitute(names)

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg:
        return updated_node.with_changes(keyword=original_node.keyword)

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        return self.names.leave_Name(original_node, updated_node)

    def visit_Param(self, node: cst.Param) -> bool:
        return False

    def visit_AssignTarget(self, node: cst.AssignTarget) -> bool:
        return False

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        if dotted(original_node.value) == "self" and original_node.attr.value in self.attributes:
            return self.attributes[original_node.attr.value].deep_clone()
        return updated_node.with_changes(attr=original_node.attr)
