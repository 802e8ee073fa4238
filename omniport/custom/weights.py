"""Weight files that the code names, and what is dangerous about how it reads things."""

from __future__ import annotations

import ast
import re

from omniport.custom.code import CodeTree, nodes
from omniport.custom.facts import dotted
from omniport.plan.model import Why

_FILE = re.compile(r"[\w./{}-]+\.(safetensors|pth|pt|bin|ckpt|zst|gguf)(\.index\.json)?\Z")


def named(tree: CodeTree) -> tuple[Why, ...]:
    """Literal names of weight files, each once, with the line that names it."""
    found: dict[str, Why] = {}
    for file in tree.files:
        if any(part in ("train", "training", "eval", "tests") for part in file.parts):
            continue
        for node in nodes(file.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _FILE.match(node.value):
                found.setdefault(node.value, file.why(node.value, node))
    return tuple(found.values())


def hazards(tree: CodeTree) -> tuple[Why, ...]:
    """Reads that run or may run foreign code, or ask a server: never carried into a port."""
    found: list[Why] = []
    for file in tree.files:
        if file.side:
            continue
        for node in nodes(file.tree):
            if not isinstance(node, ast.Call):
                continue
            called = dotted(node.func)
            keywords = {k.arg: k.value for k in node.keywords}
            safe = keywords.get("weights_only")
            if called == "torch.load" and not (isinstance(safe, ast.Constant) and safe.value is True):
                found.append(file.why("torch.load without weights_only=True unpickles", node))
            elif called in ("pickle.load", "pickle.loads", "joblib.load"):
                found.append(file.why(f"{called} runs what the file says", node))
            elif called in ("eval", "exec"):
                found.append(file.why(f"{called} runs text", node))
            elif called.startswith(("requests.", "urllib.request.")):
                found.append(file.why(f"{called} asks a server", node))
            elif called in ("os.system", "subprocess.run", "subprocess.Popen", "subprocess.check_output"):
                found.append(file.why(f"{called} runs a program", node))
    return tuple(found)
