"""OP941: the docs tick a feature that the port does not declare."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.declared import FEATURES, FROM_OUTSIDE, declared
from omniport.check.docs_tables import rows_of
from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.tree import FEATURES_PAGE, shown


class DocsClaimUndeclared(Rule):
    """The docs tick a feature that the port does not declare.

    A row of ``docs/user_guide/diffusion_features.md`` has the name of the port's folder, or of a class it registers,
    and ticks a column whose attribute or call is in none of the port's files.

    Why: users choose hardware by this page.  Tensor parallelism that is ticked and not there costs a second card for
    nothing; HSDP and layerwise offload raise.  #3721 brought the page back in line with the ports.

    Fix: untick the cell, or declare the feature and validate it (``omniport verify``); ``omniport matrix`` shows both.
    """

    code = "OP941"
    name = "docs-claim-undeclared"
    # the tests write this tree beside the examples
    VALID = (
        """
        class Transformer(nn.Module):
            _hsdp_shard_conditions = [is_block]
            def __init__(self):
                self.to_qkv = QKVParallelLinear(64, 16, 4)
        """,
        """
        class Transformer(nn.Module):
            _hsdp_shard_conditions = [is_block]
            _sp_plan = {"proj_out": SequenceParallelOutput(gather_dim=1)}
            def __init__(self):
                self.to_out = RowParallelLinear(64, 64)
        """,
    )
    INVALID = (
        """
        class Transformer(nn.Module):
            _hsdp_shard_conditions = []
            def __init__(self):
                self.to_qkv = QKVParallelLinear(64, 16, 4)
        """,
        """
        class Transformer(nn.Module):
            _hsdp_shard_conditions = [is_block]
            def __init__(self):
                self.to_qkv = ReplicatedLinear(64, 64)
        """,
    )
    TREE = {
        "vllm_omni/diffusion/registry.py": (
            '_DIFFUSION_MODELS = {"ExamplePipeline": ("example", "example", "ExamplePipeline")}\n'
        ),
        FEATURES_PAGE: (
            "| Model | SP (Ulysses & Ring) | Tensor-Parallel | HSDP |\n|---|---|---|---|\n"
            "| **Example** | \u274c | \u2705 | \u2705 |\n"
        ),
    }

    def check(self, port: Port) -> Iterator[Finding]:
        page = rows_of(port)
        has = declared(port) if page else frozenset()
        for row in page:
            for feature in row.claims():
                if feature not in has | FROM_OUTSIDE and port.tree is not None:
                    path = shown(port.tree.root / FEATURES_PAGE).as_posix()
                    message = f"{port.name}: {FEATURES[feature]} is ticked and nowhere declared"
                    yield Finding(self.code, path, row.line, 1, message, row.text)
