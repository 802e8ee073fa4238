"""Where the backbone's configuration comes from: what its constructor is called with."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.custom.code import nodes
from omniport.custom.facts import Facts, dotted
from omniport.custom.scopes import scopes
from omniport.custom.signals import backbone
from omniport.custom.signals.score import Score
from omniport.plan.custom import Candidate

_READS = {
    "from_json_file": "a JSON file", "json.load": "a JSON file", "OmegaConf.load": "a YAML file",
    "yaml.safe_load": "a YAML file", "yaml.load": "a YAML file", "EasyDict": "an EasyDict",
    "load_config": "a config file", "from_config": "a config", "LazyDict": "a lazy config", "L": "a lazy config",
}  # fmt: skip


def find(facts: Facts) -> Iterator[Candidate]:
    names = {ref.name for ref in facts.all if backbone.scored(facts, ref).total >= 5}
    for file in facts.tree.files:
        if file.side and not any(part in ("demo", "scripts", "examples", "tools") for part in file.parts):
            continue
        for scope, body in scopes(file):
            score = Score("config source", scope, file, body[0])
            reads: list[tuple[str, ast.Call]] = []
            for statement in body:
                for node in nodes(statement):
                    if not isinstance(node, ast.Call):
                        continue
                    called = dotted(node.func)
                    owner, _, last = called.rpartition(".")
                    reads += [(what, node) for read, what in _READS.items() if called == read or last == read]
                    if last in names or called in names:
                        score.add(3, f"builds {last or called}{_given(node)}", node)
                    elif last in ("from_pretrained", "from_config") and owner.rsplit(".", 1)[-1] in names:
                        score.add(4, f"builds {owner} from its own configuration file", node)
            if score.total:
                for what, node in reads[:2]:
                    score.add(2, f"reads {what}", node)
                yield score.candidate()
            elif reads and "config" in file.path.lower():
                score.add(2, f"defines {reads[0][0]}", reads[0][1])
                yield score.candidate()


def _given(node: ast.Call) -> str:
    if any(k.arg is None for k in node.keywords):
        return " with a mapping of settings"
    if node.keywords and all(isinstance(k.value, ast.Constant) for k in node.keywords):
        return " with literal settings"
    return f" with {ast.unparse(node.args[0])[:40]}" if node.args else ""
