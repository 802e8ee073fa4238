"""What of a model does not simply have the precision it is loaded in.

The reference's ``from_pretrained(torch_dtype=...)`` casts every tensor of the checkpoint, parameters and persistent
buffers, but those under the names in ``_keep_in_fp32_modules``, which it keeps in float32.  vLLM-Omni constructs a
model under the wanted default precision and copies the checkpoint into what is there, so the constructor has to see
to both.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.analyse.syntax import text
from omniport.errors import UnsupportedError
from omniport.plan.model import Decision, Why
from omniport.source.nodes import each_node
from omniport.source.normal import NormalForm
from omniport.source.tree import SourceModule, SourceTree

KEPT = "kept in float32"
"""Subject of the decision whose value names the modules and parameters, separated by commas."""

TABLE = "table of the checkpoint: "
"""Start of the subject of a decision: the root's attribute that holds a persistent buffer."""

_DECLARATION = "_keep_in_fp32_modules"


def plan_precision(tree: SourceTree, module: SourceModule, normal: NormalForm) -> tuple[Decision, ...]:
    """The decisions of both kinds for the root class of ``normal``, which ``module`` defines.

    Raises:
        UnsupportedError: the declaration is no list of names, or a persistent buffer lies deeper than in a child of
            the root.
    """
    kept = _kept(tree, module, normal.root)
    return (*((kept,) if kept else ()), *_tables(tree, normal))


def kept_names(decisions: tuple[Decision, ...]) -> list[str]:
    """Names of modules and parameters that stay in float32."""
    return [name for d in decisions if d.subject == KEPT for name in str(d.value).split(", ")]


def checkpoint_tables(decisions: tuple[Decision, ...]) -> dict[str, str]:
    """Children of the root that hold a persistent buffer, and its name."""
    return {d.subject.removeprefix(TABLE): str(d.value) for d in decisions if d.subject.startswith(TABLE)}


def _kept(tree: SourceTree, module: SourceModule, root: str) -> Decision | None:
    found = _declaration(tree, module, root)
    if found is None:
        return None
    where, node = found
    try:
        names = ast.literal_eval(node.value) or []
    except ValueError:
        raise UnsupportedError(f"{_DECLARATION} is no literal: {text(node.value)}", where.file, node.lineno) from None
    if not names:
        return None
    reason = f"{_DECLARATION}: the reference's loader leaves them in float32, whatever torch_dtype is"
    return Decision(KEPT, ", ".join(names), Why(reason, where.file, node.lineno))


def _declaration(tree: SourceTree, module: SourceModule, name: str) -> tuple[SourceModule, ast.Assign] | None:
    """Where a class, or the nearest of its bases in the reference, says what is kept."""
    outline = module.outline(name)
    node = outline.members.get(_DECLARATION)
    if isinstance(node, ast.Assign):
        return module, node
    for base in outline.bases:
        found = tree.resolve(module.name, base.id) if isinstance(base, ast.Name) else None
        if found is not None and _DECLARATION in found[0].text:
            inherited = _declaration(tree, *found)
            if inherited is not None:
                return inherited
    return None


# ------------------------------------------------------------------------------------------------- persistent buffers
def _tables(tree: SourceTree, normal: NormalForm) -> Iterator[Decision]:
    parsed = normal.tree
    classes = {node.name: node for node in parsed.body if isinstance(node, ast.ClassDef)}
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in parsed.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    init = next(n for n in classes[normal.root].body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    direct = {
        id(node.value): text(node.targets[0]).removeprefix("self.")
        for node in each_node(init)
        if isinstance(node, ast.Assign)
    }
    for call in each_node(parsed):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            continue
        name = call.func.id
        cls = classes.get(name) or _imported(tree, imported.get(name))
        buffer = _persistent(cls, call) if cls is not None else None
        if buffer is None:
            continue
        origin = normal.origin(call.lineno)
        if id(call) not in direct:
            what = f"{name}, which is no child of the root, keeps {buffer} in checkpoints"
            raise UnsupportedError(what, origin.file, origin.line)
        reason = f"{name} registers {buffer} as persistent: the reference casts it with the weights"
        yield Decision(f"{TABLE}{direct[id(call)]}", buffer, Why(reason, origin.file, origin.line))


def _imported(tree: SourceTree, where: tuple[str, str] | None) -> ast.ClassDef | None:
    module = tree.module(where[0]) if where else None
    if where is None or module is None or "register_buffer" not in module.text:
        return None
    node = module.definitions.get(where[1])
    return node if isinstance(node, ast.ClassDef) else None


def _persistent(cls: ast.ClassDef, call: ast.Call) -> str | None:
    """The name of a buffer that ``cls``, constructed by ``call``, may keep in checkpoints."""
    init = next((n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    for node in each_node(cls):
        if not isinstance(node, ast.Call) or text(node.func) != "self.register_buffer":
            continue
        said = next((k.value for k in node.keywords if k.arg == "persistent"), ast.Constant(True))
        if said.value if isinstance(said, ast.Constant) else init is None or _may_hold(init, said, call):
            name = node.args[0]
            return str(name.value) if isinstance(name, ast.Constant) else text(name)
    return None


def _may_hold(init: ast.FunctionDef, said: ast.expr, call: ast.Call) -> bool:
    """Whether ``said`` may be true in a constructor that ``call`` calls: one of the parameters it depends on is."""
    names = {n.id for n in each_node(said) if isinstance(n, ast.Name)}
    for node in each_node(init):
        if isinstance(node, ast.Assign) and text(node.targets[0]) in names:
            names |= {n.id for n in each_node(node.value) if isinstance(n, ast.Name)}
    parameters = init.args.args[1:]
    values = dict(zip((a.arg for a in reversed(parameters)), reversed(init.args.defaults), strict=False))
    values |= dict(zip((a.arg for a in parameters), call.args, strict=False))
    values |= {k.arg: k.value for k in call.keywords if k.arg is not None}
    return any(not isinstance(v, ast.Constant) or bool(v.value) for name, v in values.items() if name in names)
