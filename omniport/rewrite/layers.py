"""Linears become vLLM's parallel layers; quantisation and prefix reach each of them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.plan.model import LinearPlan, TransformerPlan
from omniport.rewrite.builds import build_paths, constructors, kept_by_imports, self_call
from omniport.rewrite.norms import sharded_norms
from omniport.rewrite.paths import INDEX, module_paths
from omniport.rewrite.syntax import (
    assignment,
    code,
    dotted,
    expression,
    method,
    self_attribute,
    substitute,
    with_keywords,
)

_LAYERS = {
    "column": "ColumnParallelLinear",
    "gathered": "ColumnParallelLinear",
    "merged": "MergedColumnParallelLinear",
    "row": "RowParallelLinear",
    "scattered": "RowParallelLinear",
    "replicated": "ReplicatedLinear",
}

#: Sizes over all ranks, by their names in ``nn.Linear``.
_SIZES = {"in_features": "input_size", "out_features": "output_size"}

_NAMED = ("in_features", "out_features", "bias")

#: How a layer differs from the common use of its class.
_MODES = {"gathered": ("gather_output", "True"), "scattered": ("input_is_parallel", "False")}

#: Layers that compute modulation stay unquantised unless the checkpoint itself is quantised (safe_quant_config).
_QUANT = {"gathered": "safe_quant_config(quant_config)"}

#: The parameter of a class whose modules attend to tokens of different streams: those of its keys.
KEY_STREAMS = "key_streams"
_COUNTER = re.compile(r"\{\w+\}")  # the index of a list's item, in a path

PACK_INPUT = '''
def shard_packed_input(linear: RowParallelLinear, sizes: list[int]) -> None:
    """Load ``linear`` for an input that concatenates parts of ``sizes``, each sharded by itself over the ranks."""
    weight = linear.weight
    load = weight.weight_loader

    def weight_loader(param: nn.Parameter, loaded_weight: torch.Tensor) -> None:
        parts = [part.chunk(linear.tp_size, dim=1) for part in loaded_weight.split(sizes, dim=1)]
        load(param, torch.cat([shard for rank in zip(*parts) for shard in rank], dim=1))

    weight.weight_loader = weight_loader
'''


def linears_of(plan: TransformerPlan, cls: str) -> dict[str, LinearPlan]:
    """Linears of a class by attribute path."""
    return {linear.path.partition(".")[2]: linear for linear in plan.linears if linear.path.partition(".")[0] == cls}


def parallel_classes(classes: dict[str, cst.ClassDef], plan: TransformerPlan, root: str) -> set[str]:
    """Classes that hold a parallel layer or an attention, or hold such a class: they take quant_config and prefix."""
    found = {attention.class_name for attention in plan.attentions} | {root}
    found |= {linear.path.partition(".")[0] for linear in plan.linears}
    built = {
        name: {dotted(call.func) for init in constructors(node).values() for call in build_paths(init, classes)}
        for name, node in classes.items()
        if method(node, "__init__") is not None
    }
    while True:
        more = {name for name, calls in built.items() if calls & found}
        if more <= found:
            return found
        found |= more


class Constructor(cst.CSTTransformer):
    """Rewrites ``__init__`` of one class.

    Args:
        node: the class, the very object that is visited.
        plan: roles of its linears.
        parallel: classes that take ``quant_config`` and ``prefix``.
        root: name of the root class, whose own linears stay ``nn.Linear`` if they are replicated.
        classes: the classes of the module by name, as they are before any rewrite.
    """

    def __init__(
        self,
        node: cst.ClassDef,
        plan: TransformerPlan,
        parallel: set[str],
        root: str,
        classes: Mapping[str, cst.ClassDef],
    ) -> None:
        self.cls, self.plan, self.parallel, self.root = node.name.value, plan, parallel, root
        self.linears = linears_of(plan, self.cls)
        self.paths = module_paths(node)
        self.attention = next((a for a in plan.attentions if a.class_name == self.cls), None)
        self.plain = {d.subject.removeprefix("plain ") for d in plan.decisions if d.subject.startswith("plain ")}
        self.norms = sharded_norms(plan)
        self.siblings = self._siblings(node)
        self.builds: dict[cst.Call, str] = {}  # calls of classes that take prefix
        self.helpers: set[str] = set()  # methods of the constructor that need it
        self._find_builds(constructors(node), classes)
        self.key_streams = self._key_streams()

    def _find_builds(self, functions: dict[str, cst.FunctionDef], classes: Mapping[str, cst.ClassDef]) -> None:
        imported = kept_by_imports(self.plan)
        called: dict[str, set[str]] = {}
        for name, function in functions.items():
            calls = build_paths(function, classes, imported)
            built = {call: path for call, path in calls.items() if dotted(call.func) in self.parallel}
            self.builds |= built
            called[name] = {self_call(call) for call in calls}
            if built:
                self.helpers.add(name)
        while more := {name for name, own in called.items() if own & self.helpers} - self.helpers:
            self.helpers |= more
        self.helpers -= {"__init__"}

    def _siblings(self, node: cst.ClassDef) -> dict[str, list[cst.Call]]:
        """The calls that one fused layer takes in, by its name."""
        calls: dict[str, list[cst.Call]] = {}
        for call, path in self.paths.items():
            linear = self.linears.get(path)
            if linear is not None and linear.fused is not None:
                calls.setdefault(linear.fused, []).append(call)
        for fused, group in calls.items():
            if len({(code(call.args[0].value), self._bias(call)) for call in group}) > 1:
                raise UnsupportedError(f"{self.cls}: projections of {fused} differ in input size or bias")
        return calls

    @staticmethod
    def _bias(call: cst.Call) -> str:
        for index, arg in enumerate(call.args):
            if (arg.keyword is not None and arg.keyword.value == "bias") or (arg.keyword is None and index == 2):
                return code(arg.value)
        return "True"

    def prefix(self, path: str) -> str:
        if not path:
            return "prefix"
        text = f'f"{{prefix}}.{path}"'
        if self.cls == self.root:
            text = f'maybe_prefix(prefix, f"{path}")' if "{" in path else f'maybe_prefix(prefix, "{path}")'
        return text

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        return node.name.value == "__init__" or node.name.value in self.helpers

    # ---------------------------------------------------------------------------------------------------------- calls
    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        path = self.paths.get(original_node)
        if path in self.linears and dotted(original_node.func).rpartition(".")[2] == "Linear":
            return self._linear(self.linears[path], updated_node, path)
        if f"{self.cls}.{path}" in self.norms:
            return updated_node.with_changes(func=cst.Name(self.norms[f"{self.cls}.{path}"]))
        if original_node in self.builds:
            prefix = self.prefix(self.builds[original_node] if path is None else path)
            streams = self.key_streams.get(original_node)
            keywords = [] if streams is None else [(KEY_STREAMS, streams)]
            return with_keywords(updated_node, [*keywords, ("quant_config", "quant_config"), ("prefix", prefix)])
        if self_call(original_node) in self.helpers:
            return with_keywords(updated_node, [("quant_config", "quant_config"), ("prefix", "prefix")])
        return updated_node

    def _key_streams(self) -> dict[cst.Call, str]:
        """The calls that make a module whose keys are split tokens, where that depends on the module, and their names.

        Raises:
            UnsupportedError: such a module is made in a form that is not followed.
        """
        found: dict[cst.Call, str] = {}
        for attention in self.plan.attentions:
            for place, streams in attention.key_streams:
                owner, _, path = place.partition(".")
                calls = [
                    call
                    for call, built in self.builds.items()
                    if dotted(call.func) == attention.class_name and _COUNTER.sub("*", built) == path
                ]
                if owner != self.cls or not streams:
                    continue
                if len(calls) != 1:
                    why = attention.why
                    raise UnsupportedError(f"{place} is made in a way that is not followed", why.file, why.line)
                found[calls[0]] = f"({', '.join(f'{name!r}' for name in streams)},)".replace("'", '"')
        return found

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        """A constructor that reads the sizes of a linear reads those of the layer in its place."""
        linear = self.linears.get(self_attribute(original_node.value))
        size = _SIZES.get(original_node.attr.value)
        kept = linear is None or self._kept(linear)
        return updated_node if size is None or kept else updated_node.with_changes(attr=cst.Name(size))

    def _kept(self, linear: LinearPlan) -> bool:
        """Whether a linear stays ``nn.Linear``."""
        return linear.role == "replicated" and (self.cls == self.root or linear.path in self.plain)

    def _linear(self, linear: LinearPlan, call: cst.Call, path: str) -> cst.BaseExpression:
        extra = {arg.keyword.value for arg in call.args if arg.keyword is not None} - set(_NAMED)
        if self._kept(linear) or (linear.role == "replicated" and extra):
            return call
        if extra:
            raise UnsupportedError(f"{linear.path}: linear with {', '.join(sorted(extra))}")
        call = _positional(call)
        if linear.role == "qkv":
            return self._qkv(linear, call)
        keywords = [_MODES[linear.role]] if linear.role in _MODES else []
        quant = _QUANT.get(linear.role, "quant_config")
        keywords += [("return_bias", "False"), ("quant_config", quant), ("prefix", self.prefix(path))]
        if linear.role == "merged":
            return _merged(linear, call, keywords)
        return with_keywords(call.with_changes(func=cst.Name(_LAYERS[linear.role])), keywords)

    def _qkv(self, linear: LinearPlan, call: cst.Call) -> cst.BaseExpression:
        assert self.attention is not None and linear.fused is not None
        heads, kv_heads = self.attention.heads, self.attention.kv_heads
        keywords = [
            ("hidden_size", code(call.args[0].value)),
            ("head_size", self.attention.head_dim),
            ("total_num_heads", heads),
            *([("total_num_kv_heads", kv_heads)] if kv_heads != heads else []),
            ("bias", self._bias(call)),
            ("return_bias", "False"),
            ("quant_config", "quant_config"),
            ("prefix", self.prefix(linear.fused)),
        ]
        return with_keywords(cst.Call(cst.Name("QKVParallelLinear")), keywords)

    # ----------------------------------------------------------------------------------------------------------- lines
    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel | cst.FlattenSentinel[cst.SimpleStatementLine]:
        target = assignment(original_node)
        made = assignment(updated_node)
        linear = self.linears.get(self_attribute(target[0])) if target is not None else None
        if linear is None or target is None or made is None or not isinstance(target[1], cst.Call):
            return updated_node
        if linear.fused is not None:
            if linear.shard != "q":
                return cst.RemoveFromParent()
            fused = cst.Attribute(cst.Name("self"), cst.Name(linear.fused))
            return updated_node.with_changes(body=[cst.Assign([cst.AssignTarget(fused)], made[1])])
        if linear.role == "row" and linear.packed:
            text = f"shard_packed_input({code(target[0])}, [{', '.join(linear.packed)}])"
            line = cst.SimpleStatementLine([cst.Expr(expression(text))])
            return cst.FlattenSentinel([updated_node, line])
        return updated_node

    def leave_ListComp(self, original_node: cst.ListComp, updated_node: cst.ListComp) -> cst.BaseExpression:
        return _counted(updated_node)

    def leave_GeneratorExp(self, original_node: cst.GeneratorExp, updated_node: cst.GeneratorExp) -> cst.BaseExpression:
        return _counted(updated_node)

    # ------------------------------------------------------------------------------------------------------ signature
    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        name = original_node.name.value
        if name not in self.helpers and (name != "__init__" or self.cls not in self.parallel):
            return updated_node
        params = list(updated_node.params.params)
        if name == "__init__" and self.attention is not None and self.attention.key_streams:
            params.append(parameter(KEY_STREAMS, "tuple[str, ...]", "()"))
        params += [parameter("quant_config", "QuantizationConfig | None", "None"), parameter("prefix", "str", '""')]
        return updated_node.with_changes(params=updated_node.params.with_changes(params=params))


def _counted(loop: cst.ListComp | cst.GeneratorExp) -> cst.BaseExpression:
    """``loop`` with a name for its counter, so that a prefix can hold it."""
    target = loop.for_in.target
    renamed = substitute(loop, {"_": INDEX}) if isinstance(target, cst.Name) and target.value == "_" else loop
    assert isinstance(renamed, cst.BaseExpression)
    return renamed


def _merged(linear: LinearPlan, call: cst.Call, keywords: list[tuple[str, str]]) -> cst.BaseExpression:
    """A layer of several parts; where the constructor may make one only, the layer of one part, which adapters need."""
    equal = linear.packed[0].startswith("[")
    sizes = cst.Arg(expression(linear.packed[0] if equal else f"[{', '.join(linear.packed)}]"))
    args = [call.args[0], sizes, *call.args[2:]]
    several = with_keywords(call.with_changes(func=cst.Name(_LAYERS["merged"]), args=args), keywords)
    if not equal or len(linear.packed) == 1:
        return several
    one = with_keywords(call.with_changes(func=cst.Name(_LAYERS["column"])), keywords)
    return cst.IfExp(test=expression(linear.packed[1]), body=several, orelse=one)


def _positional(call: cst.Call) -> cst.Call:
    """``Linear(in_features=a, out_features=b)`` as ``Linear(a, b)``."""
    named = {arg.keyword.value: arg for arg in call.args if arg.keyword is not None}
    sizes = [named.pop(name) for name in _NAMED[:2] if name in named]
    if not sizes:
        return call
    first = [arg for arg in call.args if arg.keyword is None]
    plain = [arg.with_changes(keyword=None, equal=cst.MaybeSentinel.DEFAULT) for arg in sizes]
    return call.with_changes(args=[*first, *plain, *named.values()])


def parameter(name: str, annotation: str, default: str | None) -> cst.Param:
    """A constructor parameter."""
    return cst.Param(
        cst.Name(name), cst.Annotation(expression(annotation)), default=expression(default) if default else None
    )


def check_complete(node: cst.ClassDef, plan: TransformerPlan) -> None:
    """Each linear of the class has a place in the constructor that the rewrite found.

    Raises:
        UnsupportedError: a linear is made where :func:`module_paths` does not look.
    """
    made = {path for call, path in module_paths(node).items() if dotted(call.func).rpartition(".")[2] == "Linear"}
    for path, linear in linears_of(plan, node.name.value).items():
        if path not in made and linear.role != "replicated":
            raise UnsupportedError(
                f"{linear.path} is made in a way that is not followed", linear.why.file, linear.why.line
            )
    if method(node, "__init__") is None:
        raise UnsupportedError(f"class {node.name.value} has no constructor of its own")
