"""The transformer file of a custom model: native where every pass understands it, else word for word with TODOs.

Both begin with the slice of the backbone's closure (:mod:`omniport.custom.slice`).  Native: the passes of Path A
rewrite it (parallel linears, vLLM-Omni's attention, plans).  Word for word: the classes as they are, with a strict
``load_weights``, so that names equal the checkpoint's; what the passes refused is the reason of a TODO.
"""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import replace
from pathlib import Path

from omniport.custom import external
from omniport.custom.code import CodeTree
from omniport.custom.complete import require_attributes
from omniport.custom.idioms import plain
from omniport.custom.idioms.attention_functions import IMPORT
from omniport.custom.idioms.settings_object import Settings
from omniport.custom.library import SliceTree
from omniport.custom.prepare import prepare
from omniport.custom.release import as_installed
from omniport.custom.slice import Slice, cut
from omniport.custom.todo import marker, todo
from omniport.errors import OmniportError, UnsupportedError, refusing
from omniport.plan.custom import Candidate, Dependency
from omniport.plan.model import Decision, TransformerPlan, Why
from omniport.records import dataclass
from omniport.rewrite.root import LOAD_PLAIN
from omniport.target.features import DEFAULT

_MODULE = "custom_source"
#: Rotations and gates of a repository stay as they are written.
_FEATURES = replace(DEFAULT, qk_rope=False, gate_kernel=False)
_ATTENDS = re.compile(r"(scaled_dot_product_attention|flash_attn\w*|flash_attention\w*|memory_efficient_attention)\Z")
_LOADER_IMPORTS = (
    "import torch",
    "from collections.abc import Iterable",
    "from vllm.model_executor.model_loader.weight_utils import default_weight_loader",
)


@dataclass(frozen=True)
class CustomTransformer:
    """The file's code (unformatted), its plan, and what is left to do; ``source`` is the slice it was made from."""

    code: str
    plan: TransformerPlan
    todos: tuple[Decision, ...]
    native: bool
    source: str
    settings: Settings | None = None  # the constructor's parameter that was an object

    def taken(self) -> tuple[str, ...]:
        """Parameters of the original's forward, in order."""
        return _signatures(self.source, self.plan.class_name)[1]


def port_transformer(tree: CodeTree, backbone: Candidate, dependencies: tuple[Dependency, ...]) -> CustomTransformer:
    """Port the class ``backbone`` with its closure.

    Raises:
        UnsupportedError: the closure cannot be cut: a name in it that nothing explains.
    """
    file = next(f for f in tree.files if f.path == backbone.file)
    found = cut(tree, file, backbone.name)
    text, removed = prepare("\n\n\n".join(piece.text for piece in found.pieces) + "\n")
    dropped = tuple(
        Decision(name, None, file.why("weights come through load_weights; nothing is trained or saved"))
        for name in removed
    )
    text, decided, left = as_installed(found, text)
    try:
        made = _native(found, text, backbone, dependencies, dropped)
    except OmniportError as refusal:  # also a form of the source that no pass knows
        made = _verbatim(found, text, backbone, dependencies, dropped, refusal)
    plan = replace(made.plan, decisions=(*made.plan.decisions, *decided))
    return replace(made, plan=plan, todos=(*made.todos, *left), source=text)


@refusing("porting the denoiser")
def _native(
    found: Slice,
    text: str,
    backbone: Candidate,
    dependencies: tuple[Dependency, ...],
    dropped: tuple[Decision, ...],
) -> CustomTransformer:
    from omniport.port import analyse_class
    from omniport.rewrite.transformer import render_transformer
    from omniport.source.tree import SourceModule, SourceTree

    said = plain(text, backbone.name)
    text = said.text
    imports = "\n".join([*sorted({f.line() for f in found.foreign}), *([IMPORT] if said.attends else [])])
    path = Path(_MODULE, "__init__.py")
    module = SourceModule(_MODULE, path, backbone.file, imports + "\n\n\n" + text, True)
    source = SliceTree(path.parent, "of the repository", {_MODULE: module}, library=SourceTree.locate())
    analysis = analyse_class(source, module, backbone.name)
    code = render_transformer(
        analysis.normal, analysis.plan, header="", attributes=(), separate_cfg=False, features=_FEATURES
    )
    require_attributes(code, text, backbone.file)
    if not re.search(r"^import torch$", code, re.M):
        code = "import torch\n" + code  # load_weights names it
    plan = analysis.plan
    kept = [d.why for d in plan.decisions if d.value == "reference" and d.subject.startswith("attention call")]
    changed = {place.partition(".")[0] for place, _ in said.notes}
    for decision in plan.decisions:
        if decision.value == "reference" and decision.subject.rpartition(" of ")[2] in changed:
            raise UnsupportedError(f"its own attention function: {decision.why.reason}", backbone.file, backbone.line)
    if not plan.attentions and not kept:
        kept = [Why("no attention of it was recognised", backbone.file, backbone.line)]
    code, calls = _mark_attention(external.guard(_with_helpers(code, module), found.foreign, dependencies))
    todos = tuple(todo("ATTN", why.reason, why) for why in kept)
    todos += tuple(todo("ATTN", c, Why(c, backbone.file, backbone.line)) for c in calls[len(kept) :])
    todos += _unknown(found, dependencies)
    dropped += tuple(
        Decision(f"parameter {name}", None, Why("a dict: its entries are parameters", backbone.file, backbone.line))
        for name in said.unfolded
    )
    if said.settings is not None:
        why = Why("an object: its fields are parameters", backbone.file, backbone.line)
        dropped += (Decision(f"parameter {said.settings.parameter}", None, why),)
    named = replace(plan, module=backbone.file.removesuffix(".py").replace("/", "."), dropped=(*dropped, *plan.dropped))
    return CustomTransformer(code, named, todos, True, text, said.settings)


def _unknown(found: Slice, dependencies: tuple[Dependency, ...]) -> tuple[Decision, ...]:
    """Packages that the denoiser uses and of which nobody says what to install."""
    used = {f.module.split(".")[0] for f in found.foreign}
    return tuple(todo("DEPENDENCY", d.name, d.why) for d in dependencies if d.name in used and not d.distribution)


def _with_helpers(code: str, module: object) -> str:
    """Definitions in place of the imports from the slice: what holds nothing to change is brought word for word."""
    from omniport.source.tree import SourceModule

    assert isinstance(module, SourceModule)
    tree = ast.parse(module.text)
    wanted: list[str] = []
    lines = []
    for line in code.splitlines():
        match = re.match(rf"from {_MODULE} import (\w+)\Z", line)
        if match:
            wanted.append(match[1])
        elif f"from {_MODULE}" in line:
            raise UnsupportedError(f"{line.strip()}: a helper under another name", module.file, 0)
        else:
            lines.append(line)
    if not wanted:
        return code
    defined = {name: node for node in tree.body for name in _bound(node)}
    todo_names, brought = list(wanted), {}
    while todo_names:
        name = todo_names.pop()
        node = defined.get(name)
        if node is None or node.lineno in brought:
            continue
        brought[node.lineno] = ast.get_source_segment(module.text, node, padded=True) or ""
        todo_names += [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and n.id in defined]
    known = set(re.findall(r"^class (\w+)", code, re.M))  # some of a library, rewritten
    known |= {line.split()[-1] for line in lines if re.match(r"(from|import) ", line)}
    imports = [line for line in module.text.splitlines() if re.match(r"(from|import) ", line)]
    imports = [line for line in imports if line.split()[-1] not in known]
    helpers = "\n\n\n".join(brought[number] for number in sorted(brought))
    return "\n".join([*imports, *_imports_first(lines, helpers)])


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
    return []


def _imports_first(lines: list[str], helpers: str) -> list[str]:
    first = next((i for i, line in enumerate(lines) if re.match(r"(class|def|@|\w+ =)", line)), len(lines))
    return [*lines[:first], "", helpers, "", *lines[first:]]


def _verbatim(
    found: Slice,
    text: str,
    backbone: Candidate,
    dependencies: tuple[Dependency, ...],
    dropped: tuple[Decision, ...],
    refusal: OmniportError,
) -> CustomTransformer:
    reason = refusal.construct if isinstance(refusal, UnsupportedError) else str(refusal)
    todos = [todo("NATIVE", reason, Why(reason, backbone.file, backbone.line))]
    text, attentions = _mark_attention(text)
    todos += [todo("ATTN", call, Why(call, backbone.file, backbone.line)) for call in attentions]
    todos += _unknown(found, dependencies)
    plain, guarded = external.import_lines(found.foreign, dependencies)
    text = _with_loader(text, backbone.name)
    note = textwrap.fill(f"{marker('NATIVE')}: {reason}", 116, initial_indent="# ", subsequent_indent="# ")
    lines = dict.fromkeys([*plain.splitlines(), *_LOADER_IMPORTS])  # a class may annotate with what follows it
    code = "\n".join(["from __future__ import annotations", "", *lines, guarded, "", text])
    code = code.replace(f"class {backbone.name}(", f"{note}\nclass {backbone.name}(", 1)
    module = backbone.file.removesuffix(".py").replace("/", ".")
    parameters, forward = _signatures(text, backbone.name)
    plan = TransformerPlan(
        class_name=backbone.name,
        module=module,
        parameters=parameters,
        forward=forward,
        dropped=dropped,
        classes=(),
        linears=(),
        attentions=(),
        weights=(),
        sp=(),
        blocks=(),
        features=(),
        decisions=tuple(Decision("renamed", None, why) for why in found.renamed),
    )
    return CustomTransformer(code, plan, tuple(todos), False, text)


def _mark_attention(text: str) -> tuple[str, list[str]]:
    """A marker above every statement that attends; where they are, as ``Class.method: call``."""
    places: dict[int, str] = {}
    for cls in (n for n in ast.parse(text).body if isinstance(n, ast.ClassDef)):
        for method in (m for m in cls.body if isinstance(m, ast.FunctionDef)):
            for node in ast.walk(method):
                if isinstance(node, ast.stmt) and not hasattr(node, "body"):
                    for call in (c for c in ast.walk(node) if isinstance(c, ast.Call)):
                        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                        if _ATTENDS.match(name):
                            places[node.lineno] = f"{cls.name}.{method.name}: {name}"
    lines = text.splitlines()
    for number in sorted(places, reverse=True):
        line = lines[number - 1]
        indent = line[: len(line) - len(line.lstrip())]
        lines.insert(number - 1, f"{indent}# {marker('ATTN')}: use vLLM-Omni's Attention layer")
    return "\n".join(lines) + "\n", [places[n] for n in sorted(places)]


def _with_loader(text: str, name: str) -> str:
    """The class with ``load_weights`` at its end."""
    node = next(n for n in ast.parse(text).body if isinstance(n, ast.ClassDef) and n.name == name)
    lines = text.splitlines()
    kept = [m for m in node.body if isinstance(m, ast.FunctionDef) and m.name == "load_weights"]
    if kept:
        raise UnsupportedError(f"{name} has a load_weights of its own", "", kept[0].lineno)
    end = node.end_lineno or len(lines)
    return "\n".join([*lines[:end], textwrap.indent(LOAD_PLAIN, "    "), *lines[end:]]) + "\n"


def _signatures(text: str, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    classes = {n.name: n for n in ast.parse(text).body if isinstance(n, ast.ClassDef)}
    found: dict[str, tuple[str, ...]] = {"__init__": (), "forward": ()}
    todo_classes = [name]
    while todo_classes:
        node = classes.get(todo_classes.pop(0))
        if node is None:
            continue
        for method in (m for m in node.body if isinstance(m, ast.FunctionDef) and m.name in found):
            if not found[method.name]:
                args = (*method.args.args, *method.args.kwonlyargs)
                found[method.name] = tuple(a.arg for a in args if a.arg != "self")
        todo_classes += [b.id for b in node.bases if isinstance(b, ast.Name)]
    return found["__init__"], found["forward"]
