"""OP962: a module is imported that vLLM-Omni replaces by another."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Edit, Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile

#: module -> what to import in its place
_INSTEAD = {
    "re": "import regex as re",
    "base64": "import pybase64 as base64",
    "triton": "from vllm.triton_utils import triton",
    "pickle": "safetensors or msgspec",
}
#: those whose replacement is the same under the same name
_SAME = frozenset({"re", "base64"})


class ForbiddenImport(Rule):
    """A module is imported that vLLM-Omni's own checks replace by another.

    ``import re`` (``regex``), ``import base64`` (``pybase64``), ``triton`` directly (``vllm.triton_utils``), or
    ``pickle``.

    Why: the pre-commit of vLLM-Omni rejects them since #6273: ``re`` can take exponential time on a prompt, ``triton``
    does not exist on every platform and breaks the import of the port there, ``pickle`` runs code.

    Fix: the import that the message names (``--fix`` writes those of ``re`` and ``base64``).
    """

    code = "OP962"
    name = "forbidden-import"
    VALID = (
        """
        import regex as re
        import pybase64 as base64
        from vllm.triton_utils import tl, triton
        """,
        """
        from .re import pattern
        """,
    )
    INVALID = (
        """
        import re
        """,
        """
        import triton
        import triton.language as tl
        """,
        """
        def clean(text):
            import base64
            return base64.b64decode(text)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            for node in file.nodes(ast.Import):
                for alias in node.names:
                    root = alias.name.partition(".")[0]
                    if root in _INSTEAD:
                        message = f"{alias.name} is rejected upstream; use {_INSTEAD[root]}"
                        yield self.at(file, node, message, edits=_fix(file, node, alias))
            for found in file.nodes(ast.ImportFrom):
                root = (found.module or "").partition(".")[0]
                if not found.level and root in _INSTEAD:
                    yield self.at(file, found, f"{found.module} is rejected upstream; use {_INSTEAD[root]}")


def _fix(file: SourceFile, node: ast.Import, alias: ast.alias) -> tuple[Edit, ...]:
    """Replace the whole statement where it imports this module alone, under its own name."""
    if len(node.names) != 1 or alias.asname is not None or alias.name not in _SAME:
        return ()
    return (file.edit(node, _INSTEAD[alias.name]),)
