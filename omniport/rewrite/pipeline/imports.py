"""Imports of the port's pipeline: exactly the names its text uses, each from where it is defined."""

from __future__ import annotations

import ast
import builtins

from omniport.errors import UnsupportedError
from omniport.source.nodes import below, each_node
from omniport.source.tree import SourceModule, SourceTree

#: Names of the target and of the standard library that generated code uses; None: ``import name``.
KNOWN: dict[str, str | None] = {
    "os": None,
    "torch": None,
    "nn": "torch",
    "Iterable": "collections.abc",
    "Any": "typing",
    "ClassVar": "typing",
    "AutoConfig": "transformers",
    "AutoWeightsLoader": "vllm.model_executor.models.utils",
    "init_logger": "vllm.logger",
    "get_hf_file_to_dict": "vllm.transformers_utils.repo_utils",
    "DiffusionOutput": "vllm_omni.diffusion.data",
    "OmniDiffusionConfig": "vllm_omni.diffusion.data",
    "OmniDiffusionSamplingParams": "vllm_omni.inputs.data",
    "CFGParallelMixin": "vllm_omni.diffusion.distributed.cfg_parallel",
    "PipelineParallelMixin": "vllm_omni.diffusion.distributed.pipeline_parallel",
    "get_local_device": "vllm_omni.diffusion.distributed.utils",
    "DiffusersPipelineLoader": "vllm_omni.diffusion.model_loader.diffusers_loader",
    "prefetch_subfolders": "vllm_omni.diffusion.model_loader.hub_prefetch",
    "from_pretrained_with_prefetch": "vllm_omni.diffusion.model_loader.hub_prefetch",
    "SupportsComponentDiscovery": "vllm_omni.diffusion.models.interface",
    "SupportsModuleOffload": "vllm_omni.diffusion.models.interface",
    "ProgressBarMixin": "vllm_omni.diffusion.models.progress_bar",
    "DiffusionPipelineProfilerMixin": "vllm_omni.diffusion.profiler.diffusion_pipeline_profiler",
    "get_transformer_config_kwargs": "vllm_omni.diffusion.utils.tf_utils",
    "TransformerConfig": "vllm_omni.diffusion.data",
    "resolve_video_num_frames": "vllm_omni.diffusion.request",
    "SupportImageInput": "vllm_omni.diffusion.models.interface",
    "SupportAudioInput": "vllm_omni.diffusion.models.interface",
    "SupportAudioOutput": "vllm_omni.diffusion.models.interface",
    "VaeImageProcessor": "diffusers.image_processor",
    "DiffusionRequestBatch": "vllm_omni.diffusion.worker.request_batch",
    "split_diffusion_output_by_request": "vllm_omni.diffusion.worker.request_batch",
}


def import_lines(body: ast.Module, module: SourceModule, source: SourceTree, classes: dict[str, str]) -> str:
    """Import statements, and the logger where it is used, for ``body``.

    Names are looked up in ``classes`` (component classes, with their modules), then in :data:`KNOWN`, then in the
    reference module: its imports, made absolute, and what it defines, imported from it.

    Raises:
        UnsupportedError: a name is found nowhere.
    """
    conditional = _conditional(module)
    guarded: dict[str, set[str]] = {}
    plain: set[str] = set()
    origins: dict[str, set[str]] = {}
    logger = ""
    names = free_names(body)
    for name in list(names):
        if name in conditional and name not in KNOWN and name not in classes:
            test, line = conditional[name]
            guarded.setdefault(test, set()).add(line)
            names += [n for n in free_names(ast.parse(test)) if n not in names]
    for name in names:
        if name in conditional and name not in KNOWN and name not in classes:
            continue
        if name == "logger" and name in module.definitions:
            logger = "\n\nlogger = init_logger(__name__)\n"
            origins.setdefault("vllm.logger", set()).add("init_logger")
            continue
        where, what = _origin(name, module, source, classes)
        if what is None:
            plain.add(where)
        else:
            origins.setdefault(where, set()).add(what)
    lines = [f"import {name}" for name in sorted(plain)]
    for where in sorted(origins, key=lambda w: (w.startswith("."), w)):
        lines.append(f"from {where} import {', '.join(sorted(origins[where]))}")
    later = "".join(
        f"\n\nif {test}:\n" + "\n".join(f"    {line}" for line in sorted(found)) for test, found in guarded.items()
    )
    return "\n".join(lines) + later + logger


def _conditional(module: SourceModule) -> dict[str, tuple[str, str]]:
    """Names that the module imports only under a condition -> the condition and the import, packages themselves aside.

    The condition is one on what is installed (``is_ftfy_available()``); one on versions or on type checking is decided.
    """
    found = {}
    for node in module.definitions.conditional():
        if (
            isinstance(node, ast.If)
            and isinstance(node.test, ast.Call)
            and ast.unparse(node.test).endswith("available()")
        ):
            for inner in node.body:
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    for alias in inner.names:
                        line = f"import {ast.unparse(alias)}"
                        if isinstance(inner, ast.ImportFrom):
                            line = f"from {module.absolute(inner)} {line}"
                        found[alias.asname or alias.name] = (ast.unparse(node.test), line)
    return found


def _origin(name: str, module: SourceModule, source: SourceTree, classes: dict[str, str]) -> tuple[str, str | None]:
    if name in classes:
        return classes[name], name
    if name in KNOWN:
        where = KNOWN[name]
        return (name, None) if where is None else (where, name)
    if name in module.imports:
        where, attribute = module.imports[name]
        if (where, attribute) == ("re", None):
            return "regex as re", None  # the target's own linter takes no other
        if attribute is None:
            return (where if where == name else f"{where} as {name}"), None
        if found := source.resolve(module.name, name):
            where = found[0].name
        return where, attribute if attribute == name else f"{attribute} as {name}"
    if name in module.definitions:
        return module.name, name
    raise UnsupportedError(f"name {name} is defined nowhere", module.file)


def free_names(tree: ast.Module) -> list[str]:
    """Names that a module reads and does not bind at its top, builtins aside."""
    found: set[str] = set()
    _Scope(found).block(tree.body, {n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)})
    return sorted(n for n in found if not hasattr(builtins, n))


class _Scope:
    def __init__(self, found: set[str]) -> None:
        self.found = found
        self.bound: set[str] = set()

    def block(self, body: list[ast.stmt], bound: set[str]) -> None:
        self.bound = bound
        for node in body:
            self.visit(node)

    def visit(self, node: ast.AST) -> None:
        todo = [node]
        while todo:
            current = todo.pop()
            if isinstance(current, ast.Name):
                if isinstance(current.ctx, ast.Load) and current.id not in self.bound:
                    self.found.add(current.id)
            elif isinstance(current, ast.FunctionDef):
                self.function(current)
            else:
                todo += below(current)

    def annotation(self, node: ast.expr) -> None:
        """Names of an annotation, and of the strings in it."""
        self.visit(node)
        literal = {
            id(inner)
            for part in each_node(node)
            if isinstance(part, ast.Subscript) and ast.unparse(part.value).endswith("Literal")
            for inner in each_node(part)
        }
        for inner in (n for n in each_node(node) if id(n) not in literal):
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                try:
                    self.visit(ast.parse(inner.value, mode="eval").body)
                except SyntaxError:
                    continue  # text, no annotation

    def function(self, node: ast.FunctionDef) -> None:
        for part in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults, node.returns):
            if part is not None:
                self.visit(part)
        own = set()
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg)
        for argument in arguments:
            if argument is not None:
                own.add(argument.arg)
                if argument.annotation is not None:
                    self.annotation(argument.annotation)
        for inner in each_node(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                own.add(inner.id)
            elif isinstance(inner, ast.FunctionDef | ast.ExceptHandler) and inner is not node and inner.name:
                own.add(inner.name)
            elif isinstance(inner, ast.arg):
                own.add(inner.arg)
        _Scope(self.found).block(node.body, self.bound | own)
