"""What the classes of a custom repository say of themselves: children, lists of blocks, calls, parameters."""

from __future__ import annotations

import ast
import functools
from dataclasses import field

from omniport.custom.code import ClassRef, CodeTree, nodes
from omniport.records import dataclass

_LISTS = frozenset({"ModuleList", "ModuleDict"})
_MODULES = frozenset({"Module", "ModelMixin", "PreTrainedModel", "ConfigMixin", "LightningModule"})


@dataclass(frozen=True)
class Child:
    """An attribute of a class that is built in it: what is called for it, innermost call last."""

    name: str
    line: int
    calls: tuple[str, ...]
    listed: bool  # within a ModuleList or ModuleDict
    dispatched: bool = False  # the class is looked up: ``table[config.layer](...)``
    parameter: str = ""  # the constructor's parameter that it is, as it was given


@dataclass(frozen=True)
class ClassFacts:
    """Children and calls of one class, those of its bases in the repository included."""

    ref: ClassRef
    bases: tuple[str, ...]  # dotted, as written, of all repository bases too
    children: dict[str, Child] = field(hash=False)
    methods: dict[str, ast.FunctionDef] = field(hash=False)
    calls: frozenset[str]  # last names of everything called
    foreign: frozenset[str]  # attributes assigned on the children's own children: ``block.attn.k_fusion = Linear()``

    @property
    def module(self) -> bool:
        """Whether it is a torch module, as far as its bases tell."""
        last = {base.rsplit(".", 1)[-1] for base in self.bases}
        return bool(last & _MODULES) or any(base.endswith(("Model", "Mixin", "Layer")) for base in last)

    def forward(self) -> tuple[str, ...]:
        """Parameters of ``forward``."""
        node = self.methods.get("forward")
        if node is None:
            return ()
        return tuple(a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs) if a.arg != "self")


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a name or attribute; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        return ".".join([node.id, *reversed(parts)])
    return ""


class Facts:
    """Facts of classes, computed once each."""

    def __init__(self, tree: CodeTree) -> None:
        self.tree = tree
        self._known: dict[ClassRef, ClassFacts] = {}

    def of(self, ref: ClassRef) -> ClassFacts:
        if ref not in self._known:
            self._known[ref] = self._read(ref, ())
        return self._known[ref]

    def _read(self, ref: ClassRef, seen: tuple[ClassRef, ...]) -> ClassFacts:
        bases: list[str] = []
        children: dict[str, Child] = {}
        methods: dict[str, ast.FunctionDef] = {}
        for base in ref.node.bases:
            name = dotted(base)
            bases.append(name)
            found = self.tree.resolve(ref.file, name) if name and "." not in name else None
            if found is not None and found != ref and found not in seen:
                inherited = self._read(found, (*seen, ref))
                bases += inherited.bases
                children |= inherited.children
                methods |= inherited.methods
        own = {node.name: node for node in ref.node.body if isinstance(node, ast.FunctionDef)}
        foreign: set[str] = set()
        for node in own.values():
            parameters = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)} if node.name == "__init__" else set()
            for inner in nodes(node):
                for child in _children(inner, parameters):
                    known = children.get(child.name)
                    children[child.name] = _joined(known, child)
                foreign |= _foreign(inner)
        methods |= own
        calls = frozenset(last for node in methods.values() for inner in nodes(node) if (last := _called(inner)))
        return ClassFacts(ref, tuple(bases), children, methods, calls, frozenset(foreign))

    def built(self, ref: ClassRef, child: Child) -> list[ClassRef]:
        """The classes of the repository that a child is built from."""
        found = (self._resolved(ref, call) for call in child.calls)
        return list(dict.fromkeys(item for item in found if item is not None))

    def _resolved(self, ref: ClassRef, call: str) -> ClassRef | None:
        """``call`` in the file of ``ref``, or in that of a base which the child was inherited from."""
        head, _, last = call.rpartition(".")
        if head:
            module = ref.file.imports.get(head, (None, None))
            target = self.tree.module(".".join(filter(None, module)), ref.file) if module[0] else None
            return ClassRef(target, last) if target is not None and last in target.classes else None
        found = self.tree.resolve(ref.file, call)
        if found is None:
            for base in ref.node.bases:
                name = dotted(base)
                inner = self.tree.resolve(ref.file, name) if name and "." not in name else None
                if inner is not None and inner != ref:
                    found = self._resolved(inner, call)
                if found is not None:
                    break
        return found

    def origin(self, ref: ClassRef, name: str) -> str:
        """The package that a name of a class's file comes from; empty if it is the repository's or a builtin."""
        module, attribute = ref.file.imports.get(name.split(".")[0], ("", None))
        return module if module and self.tree.module(module, ref.file) is None else ""

    @functools.cached_property
    def all(self) -> dict[ClassRef, ClassFacts]:
        return {ref: self.of(ref) for ref in self.tree.classes()}


def _joined(known: Child | None, child: Child) -> Child:
    """Several assignments and appends to one attribute are one child."""
    if known is None:
        return child
    calls = tuple(dict.fromkeys((*known.calls, *child.calls)))
    return Child(
        child.name, known.line, calls, known.listed or child.listed, known.dispatched or child.dispatched,
        known.parameter or child.parameter,
    )  # fmt: skip


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _children(node: ast.AST, parameters: set[str]) -> list[Child]:
    if isinstance(node, ast.Assign):
        targets, value = node.targets, node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets, value = [node.target], node.value
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("append", "add_module")
    ):
        targets, value = [node.func.value], node.args[-1] if node.args else node
    else:
        return []
    found = []
    for target in targets:
        if not (isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self"):
            continue
        calls = [inner for inner in nodes(value) if isinstance(inner, ast.Call)]
        names = tuple(dict.fromkeys(name for call in calls if (name := dotted(call.func))))
        given = value.id if isinstance(value, ast.Name) and value.id in parameters else ""
        if not names and not given and not any(isinstance(call.func, ast.Subscript) for call in calls):
            continue
        found.append(
            Child(
                target.attr,
                node.lineno,
                names,
                any(name.rsplit(".", 1)[-1] in _LISTS for name in names),
                any(isinstance(call.func, ast.Subscript) for call in calls),
                given,
            )
        )
    return found


def _foreign(node: ast.AST) -> set[str]:
    """Modules put on another model's parts: ``x.attn.k_fusion = nn.Linear(...)``, ``x`` not ``self``."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
        return set()
    if dotted(node.value.func).rsplit(".", 1)[-1] not in ("Linear", "LayerNorm", "RMSNorm", "Parameter"):
        return set()
    return {
        t.attr
        for t in node.targets
        if isinstance(t, ast.Attribute) and not dotted(t).startswith("self.") and dotted(t).count(".") > 0
    }
