"""Facts on the ``nn.Module`` classes of a port: what an instance holds, and which of it are which layers."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator

from omniport.check.port import Port, is_attention
from omniport.check.source import Function, SourceFile, class_attributes, constant, dotted, last_name, method, walk

#: bases that add no attribute a port could mean
PLAIN_BASES = frozenset({"ABC", "CachedTransformer", "Generic", "Module", "Protocol", "object"})
#: methods that bind an attribute by its name
_BINDERS = frozenset({"add_module", "register_buffer", "register_module", "register_parameter"})
#: layers whose output is this rank's share
SHARDED = ("ColumnParallelLinear", "MergedColumnParallelLinear", "QKVParallelLinear")


def attributes(port: Port, file: SourceFile, cls: ast.ClassDef) -> set[str] | None:
    """Every attribute that an instance of ``cls`` can have; None where a base or a computed name hides some."""
    found: set[str] = set()
    for where, node in port.bases(file, cls):
        for base in node.bases:
            name = last_name(base.value if isinstance(base, ast.Subscript) else base)
            if name not in PLAIN_BASES and port.find_class(name, where) is None:
                return None
        own = _own_attributes(node)
        if own is None:
            return None
        found |= own
    return found


def held_names(port: Port, file: SourceFile, cls: ast.ClassDef) -> set[str] | None:
    """Attributes that anything in a class, or in the file around it, sets on an object; None if some are computed.

    Wider than :func:`attributes`: a pipeline is also filled by helpers, and its mixins add no modules.
    """
    found: set[str] = set()
    for where, node in port.bases(file, cls):
        own = _own_attributes(node)
        bases = [last_name(b) for b in node.bases]
        if own is None or any(b.endswith("Pipeline") and port.find_class(b, where) is None for b in bases):
            return None
        found |= own
        found |= {n.attr for n in where.nodes(ast.Attribute) if isinstance(n.ctx, ast.Store)}
    return found


def _own_attributes(cls: ast.ClassDef) -> set[str] | None:
    found = set(class_attributes(cls))
    found |= {n.name for n in cls.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    if "__getattr__" in found or "__getattribute__" in found:
        return None
    for node in walk(cls):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and dotted(node.value) == "self":
            found.add(node.attr)
        elif isinstance(node, ast.Call) and _binds(node):
            name = constant(node.args[1 if last_name(node.func) == "setattr" else 0]) if node.args else None
            if not isinstance(name, str):
                return None
            found.add(name)
    return found


def _binds(call: ast.Call) -> bool:
    if last_name(call.func) == "setattr":
        return len(call.args) > 1 and dotted(call.args[0]) == "self"
    return last_name(call.func) in _BINDERS and dotted(call.func).startswith("self.")


@functools.lru_cache(4096)
def assigned(cls: ast.ClassDef) -> tuple[tuple[str, ast.expr], ...]:
    """``(name, value)`` of every ``self.<name> = value`` in the class."""
    found = []
    for node in walk(cls):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Attribute) and dotted(target.value) == "self":
                    found.append((target.attr, node.value))
    return tuple(found)


def layers(cls: ast.ClassDef) -> Iterator[tuple[str, ast.Call]]:
    """``(name, call)`` of every ``self.<name> = Something(...)``, either branch of a conditional included."""
    for name, value in assigned(cls):
        for node in (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,):
            if isinstance(node, ast.Call):
                yield name, node


def attention_layers(file: SourceFile, cls: ast.ClassDef) -> dict[str, ast.Call]:
    """Attributes of the class that hold vLLM-Omni's attention layer."""
    return {name: call for name, call in layers(cls) if is_attention(file, call)}


def forward(cls: ast.ClassDef) -> Function | None:
    return method(cls, "forward")


def element_of(comprehension: ast.ListComp | ast.GeneratorExp) -> ast.expr:
    """What a comprehension makes; the block of ``Block(...) if ... else PPMissingLayer()``, shared by stages."""
    made = comprehension.elt
    other = made.orelse if isinstance(made, ast.IfExp) else None
    if isinstance(made, ast.IfExp) and isinstance(other, ast.Call) and last_name(other.func) == "PPMissingLayer":
        return made.body
    return made


def module_list(call: ast.expr) -> ast.Call | None:
    """The call that builds each element of ``nn.ModuleList([Block(...) for ...])``, of a list or a comprehension."""
    if not isinstance(call, ast.Call) or last_name(call.func) != "ModuleList" or not call.args:
        return None
    inner = call.args[0]
    element = element_of(inner) if isinstance(inner, ast.ListComp | ast.GeneratorExp) else None
    return element if isinstance(element, ast.Call) else None


def literal_strings(node: ast.expr | None) -> list[tuple[ast.expr, str]]:
    """The strings of a written-out list or tuple; empty for every other expression."""
    if not isinstance(node, ast.List | ast.Tuple | ast.Set):
        return []
    return [(e, e.value) for e in node.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)]


def inherits(port: Port, file: SourceFile, cls: ast.ClassDef, base: str) -> bool:
    """Whether a class, or a base of it as far as the port defines them, names ``base`` among its bases."""
    return any(base in [last_name(b) for b in node.bases] for _, node in port.bases(file, cls))


def is_loaded_model(value: ast.expr) -> bool:
    """Whether ``from_pretrained`` of a class that has parameters makes the value, moved or not."""
    for node in walk(value):
        if isinstance(node, ast.Attribute) and node.attr == "from_pretrained":  # called, or given to a helper that does
            owner = last_name(node.value)
            return owner.endswith(("Model", "ForConditionalGeneration", "Encoder")) or owner.startswith("Autoencoder")
    return False


def built_class(port: Port, file: SourceFile, cls: ast.ClassDef, name: str) -> tuple[SourceFile, ast.ClassDef] | None:
    """The class of the port that ``self.<name>`` is an instance of; None where it is another's or one of several."""
    calls = {last_name(call.func) for attribute, call in layers(cls) if attribute == name}
    return port.find_class(calls.pop(), file) if len(calls) == 1 else None


def block_list(cls: ast.ClassDef) -> str | None:
    """The attribute that holds a list of blocks; None if there is none, or one block is also used by its number.

    A block of which parts are used outside the loop cannot be moved or gathered only while it runs.
    """
    numbered = {
        dotted(node.value).removeprefix("self.")
        for node in walk(cls)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
    }
    for name, value in assigned(cls):
        element = module_list(value)
        if element is not None and ("lock" in name or "ayer" in name or "lock" in last_name(element.func)):
            return None if name in numbered else name
    return None


def lacks(port: Port, file: SourceFile, cls: ast.ClassDef, names: tuple[str, ...]) -> bool:
    """Whether a class surely has none of these class attributes: not itself, and no base that hides some."""
    for where, node in port.bases(file, cls):
        if class_attributes(node).keys() & set(names):
            return False
        if any(last_name(b) not in PLAIN_BASES and port.find_class(last_name(b), where) is None for b in node.bases):
            return False
    return True
