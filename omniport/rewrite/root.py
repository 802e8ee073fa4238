"""What only the root has: declarations for the framework, the size check, ``load_weights``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.plan.model import SpEntry, TransformerPlan
from omniport.rewrite.cached_blocks import cache_declaration
from omniport.rewrite.layers import parameter
from omniport.rewrite.precision import precision_attributes, precision_statements
from omniport.rewrite.syntax import assignment, code, method, names_in, self_attribute, single, statements
from omniport.rewrite.truths import decided_once
from omniport.source.walk import of_kind

LOAD_WEIGHTS = """
def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
    tensors = self.state_dict(keep_vars=True)
    expected = {}
    for name in tensors:
        stacked = [
            (name.replace(f"{fused}.", f"{part}."), shard)
            for fused, part, shard in self.stacked_params_mapping
            if f"{fused}." in name
        ]
        for source, shard in stacked or [(name, None)]:
            expected[source] = (name, shard)

    unexpected = []
    for source, weight in weights:
        if source not in expected:
            unexpected.append(source)
            continue
        name, shard = expected.pop(source)
        weight_loader = getattr(tensors[name], "weight_loader", default_weight_loader)
        weight_loader(tensors[name], weight, *([] if shard is None else [shard]))
    if expected or unexpected:
        raise ValueError(f"checkpoint tensors missing: {sorted(expected)}; unexpected: {sorted(unexpected)}")
    return set(tensors)
"""

DTYPE = """
@property
def dtype(self) -> torch.dtype:
    return next(self.parameters()).dtype
"""

LOAD_PLAIN = """
def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
    tensors = self.state_dict(keep_vars=True)
    missing, unexpected = set(tensors), []
    for name, weight in weights:
        if name not in missing:
            unexpected.append(name)
            continue
        missing.remove(name)
        getattr(tensors[name], "weight_loader", default_weight_loader)(tensors[name], weight)
    if missing or unexpected:
        raise ValueError(f"checkpoint tensors missing: {sorted(missing)}; unexpected: {sorted(unexpected)}")
    return set(tensors)
"""


def rewrite_root(
    node: cst.ClassDef, plan: TransformerPlan, attributes: tuple[str, ...], separate_cfg: bool
) -> cst.ClassDef:
    """Declarations, constructor and loader of the root class.

    Raises:
        UnsupportedError: an attribute the pipeline reads is no constructor parameter.
    """
    init = method(node, "__init__")
    if init is None:
        raise UnsupportedError(f"class {node.name.value} has no constructor of its own")
    node = decided_once(node)
    body: list[cst.BaseStatement] = []
    for item in node.body.body:
        if isinstance(item, cst.SimpleStatementLine) and _declared(item, node):
            continue
        if item is init:
            body += statements(declarations(plan, node.name.value, separate_cfg))
            body.append(_constructor(init, node, plan, attributes))
        else:
            body.append(item)  # type: ignore[arg-type]
    if "dtype" in set(_own_reads(node)) - _defined(node):
        body += statements(DTYPE.strip())
    body += statements((LOAD_WEIGHTS if plan.weights else LOAD_PLAIN).strip())
    return node.with_changes(body=node.body.with_changes(body=body))


def _declared(item: cst.SimpleStatementLine, node: cst.ClassDef) -> bool:
    """Whether a line is a declaration of the reference's framework (``_no_split_modules = [...]``)."""
    pair = assignment(item)
    if pair is None or not isinstance(pair[0], cst.Name) or not pair[0].value.startswith("_"):
        return False
    return sum(name == pair[0].value for name in names_in(node)) == 1


def _defined(node: cst.ClassDef) -> set[str]:
    """Attributes that the constructor assigns, and methods."""
    init = method(node, "__init__")
    found = {item.name.value for item in node.body.body if isinstance(item, cst.FunctionDef)}
    return found | {self_attribute(pair[0]) for line in (init.body.body if init else ()) if (pair := assignment(line))}


def _own_reads(node: cst.CSTNode) -> Iterator[str]:
    """Attributes of ``self`` that occur, with repetition."""
    return (name for read in of_kind(node, cst.Attribute) if (name := self_attribute(read)))


def _constructor(
    init: cst.FunctionDef, node: cst.ClassDef, plan: TransformerPlan, attributes: tuple[str, ...]
) -> cst.FunctionDef:
    params = list(init.params.params)
    od_config = parameter("od_config", "OmniDiffusionConfig | None", "None")
    known = {param.name.value for param in params} | {"od_config"}
    assigned = {self_attribute(pair[0]) for line in init.body.body if (pair := assignment(line))}
    wanted = dict.fromkeys([*attributes, *(name for name in _own_reads(node) if name in known)])
    missing = [name for name in wanted if name not in assigned]
    if strange := [name for name in missing if name not in known]:
        raise UnsupportedError(f"the pipeline reads {strange[0]}, which the transformer's constructor does not take")
    lines = list(init.body.body)
    at = next((i for i, line in enumerate(lines) if _is_super(line)), -1) + 1
    added = "".join(f"self.{name} = {name}\n" for name in missing)
    lines[at:at] = [*statements(check(plan)), *statements(added)]
    lines += precision_statements(plan, node)
    if all(param.default is not None for param in params[1:]):
        given = init.params.with_changes(params=[params[0], od_config, *params[1:]])
    else:  # what has no default comes from the published config, by name
        keywords = [*params[1:], *init.params.kwonly_params]
        given = init.params.with_changes(
            params=[params[0], od_config], star_arg=cst.ParamStar(), kwonly_params=keywords
        )
    changed = init.with_changes(params=given)
    return changed.with_changes(body=init.body.with_changes(body=lines))


def _is_super(line: cst.CSTNode) -> bool:
    small = single(line)
    return isinstance(small, cst.Expr) and code(small.value).startswith("super()")


def check(plan: TransformerPlan) -> str:
    """Code that refuses a number of ranks that the sizes do not divide by, or any if nothing is sharded."""
    sizes = [str(d.value) for d in plan.decisions if d.subject == "tp divisor"]
    if any(f.name == "tensor parallelism" and not f.supported for f in plan.features):
        return (
            "if get_tensor_model_parallel_world_size() > 1:\n"
            f'    raise ValueError("{plan.class_name} has no tensor parallelism: set tensor_parallel_size to 1")\n'
        )
    if not sizes:
        return ""
    bad = " or ".join(f"{size} % tp_size" if size.isidentifier() else f"({size}) % tp_size" for size in sizes)
    fits = " or ".join(f"{size} % n" if size.isidentifier() else f"({size}) % n" for size in sizes)
    shown = ", ".join("{" + (f"{size}=" if size.isidentifier() else f"{size} = ") + "}" for size in sizes)
    first = sizes[0] if sizes[0].isidentifier() else f"({sizes[0]})"
    return (
        "tp_size = get_tensor_model_parallel_world_size()\n"
        f"if {bad}:\n"
        f"    works = [n for n in range(1, {first} + 1) if not ({fits})]\n"
        f'    raise ValueError(f"tensor_parallel_size={{tp_size}} does not divide {shown}; "\n'
        '        f"these do: {works}")\n'
    )


# --------------------------------------------------------------------------------------------------------- declarations
def declarations(plan: TransformerPlan, root: str, separate_cfg: bool) -> str:
    """Class attributes that vLLM-Omni reads."""
    lines: list[str] = []
    names = list(dict.fromkeys(block.attribute for block in plan.blocks))
    left_out = {feature.name for feature in plan.features if not feature.supported}
    if names:
        classes = list(dict.fromkeys(block.class_name for block in plan.blocks))
        lines.append(f"_repeated_blocks = {classes!r}")
        loaded = list(dict.fromkeys(block.attribute for block in plan.blocks if not block.optional))
        if loaded and "layerwise offload" not in left_out:
            lines.append(f"_layerwise_offload_blocks_attrs = {loaded!r}")
        lines += cache_declaration(plan, separate_cfg)
    lines += precision_attributes(plan)
    if plan.sp:
        lines.append(sp_plan(plan.sp))
    if plan.weights:
        fused: dict[str, list[str]] = {}
        for weight in plan.weights:
            fused.setdefault(weight.parameter, []).append(weight.checkpoint)
        stacked = ", ".join(f'(".{w.parameter}", ".{w.checkpoint}", "{w.shard}")' for w in plan.weights)
        lines += [f"packed_modules_mapping = {fused!r}", f"stacked_params_mapping = [{stacked}]"]
    if names and "hsdp" not in left_out:
        reached = list(dict.fromkeys(path for block in plan.blocks for path in block.reached))
        alone = f" or name in {reached!r}" if reached else ""
        within = f'parent == "{names[0]}"' if len(names) == 1 else f"parent in {names!r}"
        lines.append(
            "@staticmethod\n"
            "def _is_block(name: str, module: nn.Module) -> bool:\n"
            '    parent, _, index = name.rpartition(".")\n'
            f"    return {within} and index.isdigit(){alone}\n\n"
            "_hsdp_shard_conditions = [_is_block]"
        )
    return "\n".join(lines)


def sp_plan(entries: Iterable[SpEntry]) -> str:
    """The ``_sp_plan`` literal."""
    modules: dict[str, list[SpEntry]] = {}
    for entry in entries:
        modules.setdefault(entry.module, []).append(entry)
    rows = []
    for module, group in modules.items():
        if group[0].kind == "gather":
            outputs = ", ".join(
                f"SequenceParallelOutput(gather_dim={e.dim}, expected_dims={e.dims}{_group(e)})" for e in group
            )
            rows.append(f'"{module}": {outputs if len(group) == 1 else f"[{outputs}]"}')
            continue
        splits = []
        for entry in group:
            options = f"split_dim={entry.dim}" + (f", expected_dims={entry.dims}" if entry.dims is not None else "")
            options += ", split_output=True" if entry.split_output else ""
            options += ", auto_pad=True" if entry.auto_pad else ""
            options += _group(entry)
            key = entry.key if isinstance(entry.key, int) else f'"{entry.key}"'
            splits.append(f"{key}: SequenceParallelInput({options})")
        rows.append(f'"{module}": {{{", ".join(splits)}}}')
    return f"_sp_plan = {{{', '.join(rows)}}}"


def _group(entry: SpEntry) -> str:
    return f', shard_group="{entry.group}"' if entry.group else ""
