"""Text encoders: what turns a prompt into embeddings, the repository's own or a wrapper of transformers' classes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from omniport.custom.code import CodeFile, nodes
from omniport.custom.facts import ClassFacts, Facts, dotted
from omniport.custom.signals.score import Score
from omniport.plan.custom import Candidate

_STOCK = re.compile(r"\A(Auto|T5|UMT5|MT5|CLIP|Bert|Roberta|Gemma\d?|Qwen\w*|Llama|Mistral|XLMRoberta|ByT5|ChatGLM)\w*"
                    r"(Model|Encoder\w*|ForCausalLM|ForConditionalGeneration|TextModel\w*)\Z")  # fmt: skip
_NAME = re.compile(r"T5|CLIP|Bert|Text_?(Encoder|Embedder|Model)|Prompt_?Embedder|Reason1", re.I)
_NOT = re.compile(
    r"Attention|Layer|Expander|Filter|FeedForward|Norm|Config|Block|Dataset|Processor|Tokenizer|Transform|Augment|Callback"
)
_TEXT = frozenset({"ids", "input_ids", "prompts", "prompt", "text", "texts", "captions", "caption"})


def find(facts: Facts) -> Iterator[Candidate]:
    built = {
        item for ref, of in facts.all.items() for child in of.children.values() for item in facts.built(ref, child)
    }
    for ref, of in facts.all.items():
        if _NOT.search(ref.name) or any("vision" in part.lower() for part in ref.file.parts):
            continue
        score = Score.of("text encoder", ref)
        if _NAME.search(ref.name):
            score.add(2, "is named as a text encoder")
        if stock := _stock(of):
            score.add(3, f"loads {stock[0]}", stock[1])
        if texts := sorted(_texts(of)):
            score.add(2, f"takes {texts[0]}")
        if score.total >= 4 and (stock or ref not in built or _NAME.search(ref.name)):
            yield score.candidate()
    yield from _loose(facts)


def _stock(of: ClassFacts) -> tuple[str, int] | None:
    for method in of.methods.values():
        for node in nodes(method):
            if found := _loaded(node):
                return found
    return None


def _loaded(node: ast.AST) -> tuple[str, int] | None:
    if isinstance(node, ast.Call):
        owner, _, method = dotted(node.func).rpartition(".")
        if method == "from_pretrained" and _STOCK.match(owner.rsplit(".", 1)[-1]):
            return owner, node.lineno
    return None


def _texts(of: ClassFacts) -> set[str]:
    found: set[str] = set()
    for name in ("forward", "__call__", "encode_prompts", "encode_text", "encode_prompt"):
        node = of.methods.get(name)
        if node is not None:
            found |= {a.arg for a in node.args.args} & _TEXT
    return found


def _loose(facts: Facts) -> Iterator[Candidate]:
    """Text encoders that are loaded outside of any class: in scripts and functions."""
    for file in facts.tree.files:
        if file.side:
            continue
        yield from _in_functions(file)


def _in_functions(file: CodeFile) -> Iterator[Candidate]:
    for function in file.functions.values():
        for node in nodes(function):
            if found := _loaded(node):
                score = Score("text encoder", found[0], file, node)
                score.add(4, f"{function.name} loads {found[0]}", found[1])
                yield score.candidate()
                break
