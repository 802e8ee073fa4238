"""OP158: an optional dependency raises while the module is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import last_name

_IMPORT_ERRORS = frozenset({"ImportError", "ModuleNotFoundError"})


class ImportRaisesAtModuleLevel(Rule):
    """An optional dependency that is missing raises while the port's module is imported.

    ``try: import x`` at the top of a module has a handler that raises.

    Why: the registry catches whatever the import raises, logs it and returns no class, so the user reads "not found
    in diffusion model registry" and not the message that the port wrote.  DreamID-Omni's port in vllm-omni 0.20 did
    so; the ports of vllm-omni 0.30.0 import inside the function that needs the library.

    Fix: import it inside the function, and raise there with the name of the package to install.
    """

    code = "OP158"
    name = "import-raises-at-module-level"
    VALID = (
        """
        try:
            import flash_attn
        except ImportError:
            flash_attn = None
        """,
        """
        def decode(audio):
            try:
                import soundfile
            except ImportError as error:
                raise ImportError("pip install soundfile") from error
        """,
    )
    INVALID = (
        """
        try:
            import soundfile
        except ImportError as error:
            raise ImportError("pip install soundfile") from error
        """,
        """
        try:
            from dreamid import Model
        except ModuleNotFoundError:
            raise RuntimeError("install dreamid first")
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            for node in file.tree.body:
                if not isinstance(node, ast.Try):
                    continue
                if not any(isinstance(n, ast.Import | ast.ImportFrom) for n in node.body):
                    continue
                for handler in node.handlers:
                    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
                    caught = any(t is None or last_name(t) in _IMPORT_ERRORS for t in types)
                    if caught and isinstance(handler.body[-1], ast.Raise):
                        yield self.at(
                            file, handler.body[-1], "the registry swallows this and says that the model is unknown"
                        )
