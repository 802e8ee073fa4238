"""OP921: the registry names a module, class or function that the port does not have."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile
from omniport.check.tree import Tree


class RegistryRowUnresolved(Rule):
    """The registry names a module, class or function that the port does not have.

    For every row of the tree's registry that points into the port's folder: the module exists, defines or imports the
    class, and its post- and pre-process functions.

    Why: the registry imports lazily and swallows what goes wrong, so a typing error in a row reads "model not found"
    to the user, and a missing post-process function fails after the image was computed.  #4045 and #6322 corrected
    rows after the merge.

    Fix: correct the row, or the name in the module.
    """

    code = "OP921"
    name = "registry-row-unresolved"
    # rows stand in the tree's registry: the tests write one beside these files
    VALID = (
        """
        def get_example_post_process_func(od_config):
            return lambda images: images
        class ExamplePipeline:
            pass
        """,
        """
        from .other import ExamplePipeline, get_example_post_process_func
        """,
    )
    INVALID = (
        """
        def get_example_post_process_func(od_config):
            return lambda images: images
        class ExamplesPipeline:
            pass
        """,
        """
        class ExamplePipeline:
            pass
        """,
    )
    TREE = {
        "vllm_omni/diffusion/registry.py": (
            '_DIFFUSION_MODELS = {"ExamplePipeline": ("example", "example", "ExamplePipeline")}\n'
            '_DIFFUSION_POST_PROCESS_FUNCS = {"ExamplePipeline": "get_example_post_process_func"}\n'
        )
    }

    def check(self, port: Port) -> Iterator[Finding]:
        tree = port.tree
        if tree is None or tree.registry is None:
            return
        folder = tree.diffusion / "models" / port.name
        modules = {f.path.resolve().relative_to(folder).with_suffix("").as_posix(): f for f in _inside(port, tree)}
        for key in tree.keys_of(port.name):
            row = tree.registry.models[key]
            file = modules.get(row.module.replace(".", "/")) or modules.get(f"{row.module.replace('.', '/')}/__init__")
            if file is None:
                if any(f.path.name == "__init__.py" for f in port.files) or len(port.files) > 1:
                    yield self._at(tree, row.line, f"{key}: there is no module {row.folder}.{row.module}")
                continue
            names = _names(file)
            if row.cls not in names:
                yield self._at(tree, row.line, f"{key}: {row.folder}.{row.module} has no class {row.cls}")
            for table in (tree.registry.post, tree.registry.pre):
                hook = table.get(key)
                if hook is not None and hook.function not in names:
                    yield self._at(tree, hook.line, f"{key}: {row.folder}.{row.module} has no {hook.function}")

    def _at(self, tree: Tree, line: int, message: str) -> Finding:
        file = tree.registry_source
        return Finding(self.code, file.path.as_posix(), line, 1, message, file.line(line))


def _inside(port: Port, tree: Tree) -> list[SourceFile]:
    folder = tree.diffusion / "models" / port.name
    return [file for file in port.files if file.path.resolve().is_relative_to(folder)]


def _names(file: SourceFile) -> set[str]:
    """What a module offers at its top level."""
    found = set(file.imports) | set(file.classes) | {function.name for function in file.nodes(ast.FunctionDef)}
    return found | {t.id for node in file.nodes(ast.Assign) for t in node.targets if isinstance(t, ast.Name)}
