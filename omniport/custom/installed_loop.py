"""How the installed transformers calls the layers of a model: read as text, never imported.

Between release 4.45 and 5 the layers of decoders came to take the rotary tables from the model, to update the cache in
place and to return a tensor.  What holds for one class is read from the loop of that class itself.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from omniport.errors import UnsupportedError
from omniport.records import dataclass

PACKAGE = "transformers"


@dataclass(frozen=True)
class Loop:
    """``hidden = layer(hidden, **keywords)`` over ``self.<layers>``.

    ``keywords`` are names with their expressions as text; ``computed`` are locals among these, with the expression that
    each is bound to before the loop.
    """

    layers: str
    hidden: str
    keywords: Mapping[str, str]
    computed: Mapping[str, str]
    release: str


@functools.cache
def loop_of(name: str) -> Loop:
    """The loop of the model class ``name``.

    Raises:
        UnsupportedError: transformers is not installed, has no such class, or its forward has no such loop.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UnsupportedError(f"{PACKAGE} is not installed, so how its layers are called now is not known")
    text = _module(Path(spec.submodule_search_locations[0]) / "models", name)
    classes = {n.name: n for n in ast.parse(text).body if isinstance(n, ast.ClassDef)} if text else {}
    if name not in classes:
        raise UnsupportedError(f"{PACKAGE} {version(PACKAGE)} has no {name}")
    found = _read(classes[name], version(PACKAGE))
    if found is None:
        raise UnsupportedError(f"{name} of {PACKAGE} {version(PACKAGE)} calls its layers in a way that is not known")
    return found


def _module(folder: Path, name: str) -> str:
    """The text of the module that defines ``name``: by the name of its folder, which is the model's."""
    stem = name.removesuffix("Model").lower()
    for path in sorted(folder.glob("*/modeling_*.py")):
        if path.parent.name.replace("_", "") == stem and not path.stem.startswith("modeling_tf"):
            return path.read_text("utf-8")
    return ""


def _read(node: ast.ClassDef, release: str) -> Loop | None:
    forward = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "forward"), None)
    loops = [n for n in ast.walk(forward) if isinstance(n, ast.For)] if forward else []
    if forward is None or len(loops) != 1 or len(loops[0].body) != 1:
        return None
    loop, line = loops[0], loops[0].body[0]
    over = loop.iter.value if isinstance(loop.iter, ast.Subscript) else loop.iter  # self.layers[: depth]
    if not (isinstance(over, ast.Attribute) and isinstance(over.value, ast.Name) and over.value.id == "self"):
        return None
    call = line.value if isinstance(line, ast.Assign) else None
    target = line.targets[0] if isinstance(line, ast.Assign) else None
    if not isinstance(call, ast.Call) or not isinstance(target, ast.Name) or not isinstance(loop.target, ast.Name):
        return None
    if ast.unparse(call.func) != loop.target.id or [ast.unparse(a) for a in call.args] != [target.id]:
        return None
    keywords = {k.arg: ast.unparse(k.value) for k in call.keywords if k.arg is not None}
    parameters = {a.arg for a in (*forward.args.args, *forward.args.kwonlyargs)}
    computed = {
        n.targets[0].id: ast.unparse(n.value)
        for n in forward.body
        if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)
        if n.targets[0].id in keywords.values() and n.targets[0].id not in parameters
    }
    return Loop(over.attr, target.id, keywords, computed, release)
