"""OP161: an index is written whose class name vLLM-Omni cannot look up."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, constant


class IndexClassUnusable(Rule):
    """An index is written whose class name vLLM-Omni cannot look up.

    A dictionary with ``_class_name`` gives it as a list; or one that goes into ``model_index.json`` names a class
    that the tree's registry does not have, or leaves ``_diffusers_version`` out.

    Why: diffusers writes ``["pipeline", "XPipeline"]`` for classes of the repository itself; vllm-omni 0.30.0 looks
    the value up in its registry as it stands and ends with "unhashable type: 'list'" (measured).  Without
    ``_diffusers_version`` the model is recognised only by importing a pipeline of diffusers, which may fail.

    Fix: ``{"_class_name": "XPipeline", "_diffusers_version": "0.40.0", ...}``, the key of the registry's row.
    """

    code = "OP161"
    name = "index-class-unusable"
    VALID = (
        """
        def write(folder):
            index = {"_class_name": "ExamplePipeline", "_diffusers_version": "0.40.0"}
            (folder / "model_index.json").write_text(json.dumps(index))
        """,
        """
        def write(folder):
            (folder / "transformer" / "config.json").write_text(json.dumps({"_class_name": "ExampleModel"}))
        """,
    )
    INVALID = (
        """
        INDEX = {"_class_name": ["pipeline", "ExamplePipeline"], "_diffusers_version": "0.40.0"}
        """,
        """
        def write(folder):
            index = {"_class_name": "ExamplePipe", "_diffusers_version": "0.40.0"}
            (folder / "model_index.json").write_text(json.dumps(index))
        """,
        """
        def write(folder):
            (folder / "model_index.json").write_text(json.dumps({"_class_name": "ExamplePipeline"}))
        """,
    )
    TREE = {
        "vllm_omni/diffusion/registry.py": (
            '_DIFFUSION_MODELS = {"ExamplePipeline": ("example", "example", "ExamplePipeline")}\n'
        )
    }

    def check(self, port: Port) -> Iterator[Finding]:
        known = port.registered
        for file in port.files:
            if not file.mentions("_class_name"):
                continue
            for table in file.nodes(ast.Dict):
                entries = {constant(k): v for k, v in zip(table.keys, table.values, strict=True) if k is not None}
                value = entries.get("_class_name")
                if value is None:
                    continue
                if isinstance(value, ast.List | ast.Tuple):
                    yield self.at(file, value, "a list is no key of the registry: give the name alone")
                elif _becomes_index(file, table):
                    name = constant(value)
                    if isinstance(name, str) and known is not None and name not in known:
                        yield self.at(file, value, f"the registry has no row {name!r}")
                    if "_diffusers_version" not in entries and all(key is not None for key in table.keys):
                        yield self.at(file, table, "without _diffusers_version the model may not be recognised")


def _becomes_index(file: SourceFile, table: ast.Dict) -> bool:
    """Whether the function around it names ``model_index.json`` and no ``config.json``."""
    function = file.enclosing_function(table)
    if function is None:
        return False
    names = {node.value for node in file.nodes(ast.Constant, within=function) if isinstance(node.value, str)}
    return any(name.endswith("model_index.json") for name in names) and "config.json" not in names
