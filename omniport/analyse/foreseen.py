"""What a pipeline most likely asks of its denoiser, read off its source in a moment, without its normal form.

The transformer's analysis needs the answer of the pipeline's; with a guess both can run at the same time.  Whoever uses
one asks :func:`~omniport.analyse.demand.demand_of` for the truth afterwards, and analyses again where it was wrong:
a guess costs or saves time, it decides nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from omniport.analyse import pipeline_reading as reading
from omniport.analyse.demand import Demand
from omniport.analyse.knowledge import DROPPED_PARAMETERS
from omniport.analyse.pipeline_carried import carried_entries
from omniport.analyse.pipeline_knowledge import ATTENTION_ARGUMENTS, HARMLESS, NOT_PORTED
from omniport.analyse.pipeline_perturbed import perturbation
from omniport.analyse.pipeline_swaps import swaps
from omniport.errors import refusing
from omniport.source.nodes import each_node, methods
from omniport.source.tree import SourceTree

_ENTRY = "__call__"


@refusing("reading the pipeline")
def foreseen_demand(source: SourceTree, class_name: str, denoisers: Collection[str], model: ast.ClassDef) -> Demand:
    """The demand that the text of a pipeline class suggests.

    Args:
        source: the reference package.
        class_name: the pipeline class.
        denoisers: names of its components that denoise.
        model: their class.

    Raises:
        OmniportError: the class cannot be read.
    """
    module = source.exported_class(class_name, "pipelines")
    module, class_name = reading.followed(source, module, class_name)
    node = module.class_def(class_name)
    how = perturbation(source, module, node, model)
    set_on = swaps(source, module, node, denoisers) if how is None else ()
    own = {name: method for name, method in methods(node).items() if name not in {swap.method for swap in set_on}}
    attributes = {f"self.{name}" for name in denoisers}
    given: set[str] = set()
    read: set[str] = set()
    shared = False
    for name, method in _used(own):
        held = attributes | set(denoisers) if name == "__init__" else attributes
        for part in each_node(method):
            if isinstance(part, ast.Attribute) and reading.dotted(part.value) in attributes:
                read.add(part.attr)
            elif isinstance(part, ast.Call):
                if reading.dotted(part.func) in attributes:
                    given |= {k.arg for k in part.keywords if k.arg is not None and _is_given(k.arg, k.value)}
                shared = shared or _hands_on(part, held)
    carried = {name: keys for name, (keys, _) in carried_entries(own[_ENTRY]).items()} if _ENTRY in own else {}
    perturbed, without = (how.kind, frozenset(how.without)) if how is not None else ("", frozenset[str]())
    members = frozenset(read & _members(model)) - ({"attn_processors", "set_attn_processor"} if perturbed else set())
    processors = tuple((swap.place, swap.processor) for swap in set_on)
    return Demand(frozenset(given), members, tuple(carried.items()), shared, processors, perturbed, without)


def _used(own: dict[str, ast.FunctionDef]) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The constructor, the call, and the methods that they use."""
    pending = [name for name in ("__init__", _ENTRY) if name in own]
    for name in pending:  # it grows on the way
        yield name, own[name]
        used = {node.attr for node in each_node(own[name]) if isinstance(node, ast.Attribute)}
        pending += [other for other in own if other in used and other not in pending]


def _is_given(name: str, value: ast.expr) -> bool:
    """Whether an argument that ports leave out has a value."""
    left_out = any(pattern.match(name) for pattern, _, _ in DROPPED_PARAMETERS)
    known = name in NOT_PORTED or ATTENTION_ARGUMENTS.match(f"self.{name}")
    return left_out and not known and not reading.is_none(value)


def _hands_on(call: ast.Call, held: set[str]) -> bool:
    """Whether others get the denoiser itself."""
    if (reading.dotted(call.func) or "").rpartition(".")[2] in HARMLESS:
        return False
    return any(reading.dotted(value) in held for value in (*call.args, *(k.value for k in call.keywords)))


def _members(model: ast.ClassDef) -> set[str]:
    """What the class of the denoiser defines itself, parameters of its constructor aside, which every port keeps."""
    own = methods(model)
    stored = {
        node.attr
        for node in each_node(model)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and reading.dotted(node.value) == "self"
    }
    init = own.get("__init__")
    parameters = {a.arg for a in (*init.args.args, *init.args.kwonlyargs)} if init is not None else set()
    return (stored | own.keys()) - parameters
