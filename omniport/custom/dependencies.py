"""Packages that the code imports and vLLM-Omni does not bring: where, how, and what to install for them.

An import's name is not a distribution's, and a distribution of that name may be another project (``matcha`` docks
molecules).  So a declared requirement decides first, then a table of known names; never that a name exists.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import PurePosixPath

from omniport.custom.code import CodeFile, CodeTree
from omniport.plan.custom import Dependency, Position, Provenance

#: what a vLLM-Omni installation has: its requirements and those of vLLM
BROUGHT = frozenset(
    {
        "torch", "numpy", "diffusers", "transformers", "accelerate", "safetensors", "huggingface_hub", "vllm",
        "vllm_omni", "PIL", "tqdm", "packaging", "einops", "requests", "regex", "typing_extensions", "tokenizers",
        "sentencepiece", "cache_dit", "soundfile", "librosa", "av", "cv2", "pydantic", "yaml", "msgspec", "psutil",
        "fastapi", "aiohttp", "openai", "jinja2", "filelock", "scipy", "setuptools", "google", "torchvision",
        "torchaudio", "omegaconf", "kernels", "soxr", "torchsde", "whisper", "imageio", "x_transformers", "msgpack",
        "gguf", "onnxruntime",
    }
)  # fmt: skip
#: import name -> distribution, where they differ
KNOWN = {
    "cv2": "opencv-python", "yaml": "PyYAML", "PIL": "pillow", "open_clip": "open_clip_torch", "git": "GitPython",
    "sklearn": "scikit-learn", "skimage": "scikit-image", "matcha": "matcha-tts",
    "attr": "attrs", "dateutil": "python-dateutil", "hydra": "hydra-core", "flash_attn": "flash-attn",
    "pytorch_lightning": "pytorch-lightning", 
} | {
    name: name
    for name in (
        "easydict", "dashscope", "timm", "peft", "torchdiffeq", "decord",
        "moviepy", "xfuser", "loguru", "ftfy", "fvcore", "iopath", "nltk", "vocos", "pydub", "jieba",
        "pypinyin", "click", "gradio", "wandb", "datasets", "pandas", "matplotlib",
    )
}  # fmt: skip
#: imported under names that no distribution of the index has
ELSEWHERE = frozenset(
    {
        "flash_attn_interface", "flash_attn_3_cuda", "magi_attention", "torch_musa", "videotokenizer", "s2wrapper",
        "st_keyup", "apex", "sageattention", "transformer_engine", "natten", "sam2", "megatron",
    }
)  # fmt: skip
_REQUIREMENT = re.compile(r"\A\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


def find(tree: CodeTree) -> tuple[Dependency, ...]:
    """Dependencies of the served code, by name; the hardest position of each."""
    declared = _declared(tree)
    order: dict[Position, int] = {"hard": 0, "soft": 1, "lazy": 2}
    found: dict[str, Dependency] = {}
    for file in tree.files:
        if file.side:
            continue
        for name, position, node in _imports(file):
            if name in sys.stdlib_module_names or name in BROUGHT or name in tree.top_level or name == "__future__":
                continue
            known = found.get(name)
            if known is None or order[position] < order[known.position]:
                found[name] = _dependency(name, position, file, node, declared)
    return tuple(found[name] for name in sorted(found))


def _dependency(name: str, position: Position, file: CodeFile, node: ast.AST, declared: dict[str, str]) -> Dependency:
    distribution = ""
    plain = KNOWN.get(name, name)
    key = plain.lower().replace("_", "-")
    kind: Provenance = "unknown"
    if key in declared:
        distribution, kind = declared[key], "declared"
    elif name in ELSEWHERE:
        kind = "not on the index"
    elif name in KNOWN:
        distribution, kind = plain, "known name"
    reason = {"hard": "imported by the module", "soft": "imported where it is there", "lazy": "imported in a function"}
    return Dependency(name, distribution, position, kind, file.why(reason[position], node))


def _imports(file: CodeFile) -> Iterator[tuple[str, Position, ast.AST]]:
    def names(node: ast.Import | ast.ImportFrom) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name.split(".")[0] for alias in node.names]
        return [] if node.level else [(node.module or "").split(".")[0]]

    def walk(nodes: list[ast.stmt], position: Position) -> Iterator[tuple[str, Position, ast.AST]]:
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name in names(node):
                    yield name, position, node
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from walk(node.body, "lazy")
            elif isinstance(node, ast.Try):
                inner: Position = position if position == "lazy" else "soft"
                for body in (node.body, node.orelse, node.finalbody, *(h.body for h in node.handlers)):
                    yield from walk(body, inner)
            elif isinstance(node, ast.If):
                inner = position if position == "lazy" else "soft"
                yield from walk(node.body, inner)
                yield from walk(node.orelse, inner)
            elif isinstance(node, ast.ClassDef | ast.With | ast.For | ast.While):
                yield from walk(node.body, position)

    yield from walk(file.tree.body, "hard")


def _declared(tree: CodeTree) -> dict[str, str]:
    """Names in requirements files and in ``METADATA``/``PKG-INFO``, normalised -> as written."""
    found: dict[str, str] = {}
    for path in tree.others:
        name = PurePosixPath(path).name
        if re.fullmatch(r"requirements[\w.-]*\.txt", name):
            lines = _lines(tree, path)
        elif name in ("METADATA", "PKG-INFO"):
            lines = [line[len("Requires-Dist:") :] for line in _lines(tree, path) if line.startswith("Requires-Dist:")]
        else:
            continue
        for line in lines:
            match = _REQUIREMENT.match(line)
            if match and not line.lstrip().startswith(("#", "-", "git+", "http")):
                found.setdefault(match[1].lower().replace("_", "-"), match[1])
    return found


def _lines(tree: CodeTree, path: str) -> list[str]:
    with (tree.root / path).open("rb") as file:
        return file.read(1 << 20).decode("utf-8", "replace").splitlines()
