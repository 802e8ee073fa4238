"""``compile``: regional compilation takes every block as one graph, and the result stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from omniport.verify.proofs import Proof, Subject, distance, run, unequal


def prove(subject: Subject, part: tuple[int, int] = (0, 1)) -> Proof:
    """Compile the blocks with a backend that counts graphs and runs them as they are.

    Tracing takes seconds per class of block.  ``part`` is which of how many parts of the classes to leave compiled; one
    that has none has an empty detail.
    """
    import torch._dynamo as dynamo
    from torch._dynamo.utils import counters
    from vllm_omni.diffusion.compile import regionally_compile

    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, example: Any) -> Any:
        graphs.append(sum(node.op.startswith("call") for node in graph.graph.nodes))
        return graph.forward

    model = subject.build()
    name, inputs = next(iter(subject.calls.items()))  # another length would only be traced again
    expected = run(model, inputs)
    dynamo.reset()
    counters.clear()
    blocks = _blocks(model)
    regionally_compile(model, backend=backend, dynamic=True)
    if part != (0, 1):
        kinds = list(dict.fromkeys(type(block) for block in blocks))
        mine = kinds[part[0] :: part[1]]
        if blocks and not mine:
            return Proof(None, (), "")
        for block in blocks:
            if type(block) not in mine:
                del block.forward  # regional compilation set it on the instance
        blocks = [block for block in blocks if type(block) in mine]
    with _traced_once():
        error = distance(run(model, inputs), expected)
    problems = unequal(name, error)
    breaks = sum(counters["graph_break"].values())
    if not graphs:
        problems.append("nothing was compiled")
    if breaks:
        reasons = "; ".join(" ".join(reason.split())[:160] for reason in list(counters["graph_break"])[:2])
        problems.append(f"{breaks} graph breaks in blocks: {reasons}")
    compiled = len(graphs)
    dynamo.reset()
    detail = f"{compiled} graphs for {len(blocks)} blocks, {breaks} graph breaks"
    return Proof(error, tuple(problems), detail)


@contextmanager
def _traced_once() -> Iterator[None]:
    """Leave out what only costs where each block is traced once and run once.

    A cache of what was traced; the names of functions for a log that nobody reads, for which every file is taken apart;
    and the timing of guards, which empties the processor's caches.  A release may have them elsewhere.
    """
    import torch._dynamo as dynamo
    from torch._dynamo import guards, symbolic_convert

    with ExitStack() as stack:
        stack.enter_context(dynamo.config.patch(fake_tensor_cache_enabled=False))
        for module, name, instead in (
            (symbolic_convert, "get_funcname", lambda file, line: None),
            (guards, "profile_guard_manager", lambda root, scope, times: 0.0),
        ):
            if hasattr(module, name):
                stack.enter_context(patch.object(module, name, instead))
        yield


def _blocks(model: nn.Module) -> list[nn.Module]:
    names = getattr(type(model), "_repeated_blocks", [])
    return [module for module in model.modules() if type(module).__name__ in names]
