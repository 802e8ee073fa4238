"""OP807: a port needs an attention library to be imported at all."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import packages_imported

_LIBRARIES = frozenset(
    {"flash_attn", "flash_attn_interface", "flashinfer", "magi_attention", "sageattention", "xformers"}
)


class AttentionLibraryImported(Rule):
    """A port needs an attention library to be imported at all.

    ``flash_attn``, ``xformers``, ``flashinfer`` and the like are imported at the top of a module, not in a ``try``.

    Why: none of them is a dependency of vLLM-Omni, and none exists for every platform; the registry swallows the
    ImportError and says that the model is unknown.  Original repositories do it everywhere (BAGEL, MAGI-1); #2572,
    #4010 and #3728 removed it from merged ports.

    Fix: vLLM-Omni's ``Attention``, which chooses the backend; a kernel of your own is imported where it is called.
    """

    code = "OP807"
    name = "attention-library-imported"
    VALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
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
        from flash_attn import flash_attn_varlen_func
        """,
        """
        import torch
        import xformers.ops as xops
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            for node, root in packages_imported(file):
                if root in _LIBRARIES:
                    yield self.at(file, node, f"without {root} the port cannot be imported")
