"""OP202: the result of an all-reduce is thrown away."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, constant, dotted, last_name, walk


class AllReduceResultDiscarded(Rule):
    """The result of an all-reduce is thrown away, as if it worked in place.

    ``tensor_model_parallel_all_reduce(x)`` or ``group.all_reduce(x)`` of a vLLM or vLLM-Omni group coordinator stands
    alone as a statement.  ``torch.distributed.all_reduce`` does work in place and is not meant.

    Why: the coordinators promise the sum in the return value only; vLLM's own (used with the expert-parallel mapping,
    and by its custom all-reduce) leaves the argument as it was, so that the norm or the projection goes on with this
    rank's part.  In vllm-omni 0.30.0 HiDream, Helios and LTX-2 do this in their norms across heads; Wan2.2 and
    SANA-Video use the return value.  Norms across heads under TP: #735, #4439.

    Fix: ``x = tensor_model_parallel_all_reduce(x)``.
    """

    code = "OP202"
    name = "all-reduce-result-discarded"
    VALID = (
        """
        def forward(self, x):
            total = tensor_model_parallel_all_reduce(x.pow(2).sum(-1, keepdim=True))
            return x * torch.rsqrt(total)
        """,
        """
        import torch.distributed as dist
        def forward(self, x):
            dist.all_reduce(x, group=self.group)
            return x
        """,
        """
        from vllm.distributed import get_tp_group
        def forward(self, x):
            group = get_tp_group()
            x = group.all_reduce(x)
            return x
        """,
    )
    INVALID = (
        """
        def forward(self, x):
            total = x.pow(2).sum(-1, keepdim=True)
            tensor_model_parallel_all_reduce(total)
            return x * torch.rsqrt(total)
        """,
        """
        from vllm.distributed import get_tp_group
        def forward(self, x):
            group = get_tp_group()
            group.all_reduce(x)
            return x
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("all_reduce"):
                continue
            for node in file.nodes(ast.Expr):
                call = node.value
                if isinstance(call, ast.Call) and _reduces(file, call):
                    name = ast.unparse(call.func)
                    yield self.at(
                        file, node, f"the sum that {name} returns is not used, and its argument need not change"
                    )


def _reduces(file: SourceFile, call: ast.Call) -> bool:
    """Whether a call reduces through a coordinator, not through torch."""
    if last_name(call.func) == "tensor_model_parallel_all_reduce":
        return True
    if not isinstance(call.func, ast.Attribute) or call.func.attr != "all_reduce":
        return False
    owner = dotted(call.func.value)
    if not owner:  # get_tp_group().all_reduce(x)
        return isinstance(call.func.value, ast.Call) and last_name(call.func.value.func).endswith("_group")
    origin = file.imports.get(owner.split(".")[0], owner)
    if origin.startswith("torch") or any(keyword.arg in ("group", "op") for keyword in call.keywords):
        return False
    return _is_coordinator(file, call, owner)


def _is_coordinator(file: SourceFile, call: ast.Call, owner: str) -> bool:
    """Whether ``owner`` was taken from a ``get_..._group()`` or from vLLM's parallel state."""
    function = file.enclosing_function(call)
    for node in walk(function) if function is not None else ():
        if isinstance(node, ast.Assign) and owner in [dotted(t) for t in node.targets]:
            value = node.value
            if isinstance(value, ast.Call) and last_name(value.func) == "getattr" and len(value.args) > 1:
                return constant(value.args[1]) in ("_TP", "_SP", "_CFG", "_DP", "_EP")
            return isinstance(value, ast.Call) and last_name(value.func).endswith("_group")
    return False
