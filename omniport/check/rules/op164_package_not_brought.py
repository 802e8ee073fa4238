"""OP164: a module imports, while it is imported itself, a package that vLLM-Omni does not bring."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import packages_imported
from omniport.custom.dependencies import BROUGHT

_OWN = frozenset({"__future__", "omniport"})


class PackageNotBrought(Rule):
    """A module imports, while it is imported itself, a package that vLLM-Omni does not bring.

    ``import x`` at the top of a module, outside ``try`` and ``if``, where ``x`` is neither of the standard library nor
    among the requirements of vLLM and vLLM-Omni.

    Why: whoever has not installed the package gets no class from the registry, which swallows the error and says that
    the model is unknown.  Original repositories import a whole training stack so: of 22 backbones of the package
    index 6 can be imported as they stand (measured).  All ports of vllm-omni 0.30.0 keep to what is there.

    Fix: import it inside the function that needs it, with an error that names the package to install.
    """

    code = "OP164"
    name = "package-not-brought"
    VALID = (
        """
        import os
        import torch
        from vllm.logger import init_logger
        from .layers import Block
        """,
        """
        def decode(audio):
            import audio_separator
            return audio_separator.split(audio)
        """,
        """
        try:
            import flash_attn
        except ImportError:
            flash_attn = None
        """,
    )
    INVALID = (
        """
        import easydict
        """,
        """
        from flash_attn_interface import flash_attn_func
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            for node, root in packages_imported(file):
                if root not in BROUGHT and root not in sys.stdlib_module_names and root not in _OWN:
                    yield self.at(file, node, f"{root} may be absent: the registry then knows no such model")
