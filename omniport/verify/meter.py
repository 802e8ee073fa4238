"""What a feature must visibly change on each rank.  Runs in a forked child.

Numbers alone do not show that a feature acted: attention over duplicated keys gives the same result, so a sequence
that was never split passes every comparison.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from omniport.verify.block_meter import BlockCall, BlockMeter

_COLLECTIVES = (
    "allreduce",
    "all_reduce",
    "allgather",
    "all_gather",
    "alltoall",
    "all_to_all",
    "reduce_scatter",
    "broadcast",
    "gather",
    "send",
    "recv",
)
_NAMES = {"allreduce": "all_reduce", "allgather": "all_gather", "alltoall": "all_to_all"}


class CollectiveCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the collectives that are dispatched while it is active, by kind."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()
        self.gathered: list[int] = []  # rows of the gathered tensors [..., rows, channels]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        namespace, _, name = func.name().partition("::")
        if namespace in ("c10d", "_c10d_functional", "vllm", "_C"):
            kind = next((k for k in _COLLECTIVES if k in name), None)
            if kind is not None:
                self.counts[_NAMES.get(kind, kind)] += 1
                tensors = [a for a in args if isinstance(a, torch.Tensor)]
                if "gather" in kind:
                    self.gathered += [int(t.shape[-2]) for t in tensors if t.ndim >= 3][:1]
        return func(*args, **(kwargs or {}))


@dataclass
class Reading:
    """What one rank did.

    ``queries`` are the query lengths at every attention call before any all-to-all, ``samples`` how many sequences it
    is given, ``blocks`` the token counts of every block call by parameter name (:func:`token_counts`), ``tokens`` both
    lengths added up for each forward, ``block_parameters`` the elements this rank holds of the block lists,
    ``parameters`` of the whole transformer.  ``token_gathers`` are gathers of ``[..., rows, channels]`` with as many
    rows as the shortest stream that attention takes, ``masks`` the calls of attention with a mask,
    ``block_collectives`` those of each call of a block.
    """

    forwards: int = 0
    tokens: list[int] = field(default_factory=list)
    queries: list[int] = field(default_factory=list)
    samples: list[int] = field(default_factory=list)
    blocks: dict[str, list[int]] = field(default_factory=dict)
    block_calls: int = 0
    block_parameters: int = 0
    parameters: int = 0
    collectives: dict[str, int] = field(default_factory=dict)
    token_gathers: int = 0
    masks: int = 0
    block_collectives: list[BlockCall] = field(default_factory=list)

    def to_data(self) -> dict[str, Any]:
        """Plain data, for the way back to the parent."""
        return asdict(self)


def block_lists(transformer: nn.Module) -> list[str]:
    """Names of the transformer's lists of repeated blocks: direct children that are a ModuleList."""
    return [name for name, child in transformer.named_children() if isinstance(child, nn.ModuleList) and len(child)]


def block_parameters(transformer: nn.Module) -> int:
    """Elements of all parameters in the block lists."""
    return sum(p.numel() for name in block_lists(transformer) for p in getattr(transformer, name).parameters())


def token_counts(shapes: Mapping[str, tuple[int, ...]], batch: int) -> dict[str, int]:
    """How many tokens each argument of one block call holds, by its name.

    Args:
        shapes: of the tensors that the block is given.
        batch: samples of the attention within, which tell ``[tokens, batch, ...]`` from ``[batch, tokens, ...]``.

    Returns:
        those of the 3-D tensors; only where there is none, of packed ``[tokens, ...]``: beside a 3-D one they are
        embeddings of whole samples.
    """
    whole = {name: shape for name, shape in shapes.items() if len(shape) == 3}
    if not whole:
        return {name: shape[0] for name, shape in shapes.items() if len(shape) == 2}
    return {n: first if second == batch else second for n, (first, second, *_) in whole.items()}


class Meter:
    """Hooks on one transformer.  Use as a context manager around the calls that are to be measured."""

    def __init__(self, transformer: nn.Module) -> None:
        self.reading = Reading(
            block_parameters=block_parameters(transformer), parameters=sum(p.numel() for p in transformer.parameters())
        )
        self._transformer = transformer
        self._undo: list[Callable[[], None]] = []
        self._counter = CollectiveCounter()
        self._within = BlockMeter(self._counter.counts)
        self._given: list[dict[str, tuple[int, ...]]] = []  # to blocks whose attention was not called yet
        self._batch = 0  # samples of the last attention call
        self._shortest = 2  # tokens of the shortest stream; two rows at least

    def __enter__(self) -> Meter:
        from vllm_omni.diffusion.attention.layer import Attention

        self._hook(self._transformer, self._on_forward)
        for module in self._transformer.modules():
            if isinstance(module, Attention):
                self._hook(module, self._on_attention)
        for name in block_lists(self._transformer):
            for block in getattr(self._transformer, name):
                self._hook(block, self._on_block)
            self._undo += self._within.attach(list(getattr(self._transformer, name)))
        self._counter.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exc: Any) -> None:
        self._counter.__exit__(*exc)  # type: ignore[no-untyped-call]
        for undo in self._undo:
            undo()
        self._count_tokens()
        self.reading.collectives = dict(self._counter.counts)
        self.reading.token_gathers = sum(rows >= self._shortest for rows in self._counter.gathered)
        self.reading.block_collectives = self._within.calls

    def _hook(self, module: nn.Module, hook: Callable[[nn.Module, Any, Any], None]) -> None:
        """Call ``hook`` with what the module's own code is given."""
        inner = getattr(module, "_omni_original_forward", None)
        if inner is None:
            self._undo.append(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
            return
        # vLLM-Omni's hooks replace ``forward`` and keep the module's own here.  They split the sequence in between, so
        # an ordinary pre-hook would see the whole one.

        def forward(*args: Any, **kwargs: Any) -> Any:
            hook(module, args, kwargs)
            return inner(*args, **kwargs)

        module._omni_original_forward = forward  # type: ignore[assignment]
        self._undo.append(lambda: setattr(module, "_omni_original_forward", inner))

    def _on_forward(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._count_tokens()  # what the last blocks of the forward before were given
        self.reading.forwards += 1
        self.reading.tokens.append(0)

    def _took(self, tokens: int) -> None:
        if self.reading.tokens:
            self.reading.tokens[-1] += tokens

    def _on_attention(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        query = args[0] if args else kwargs["query"]
        key = args[1] if len(args) > 1 else kwargs["key"]
        self._batch = int(query.shape[0])
        self._count_tokens()
        least = min(int(query.shape[1]), int(key.shape[1]))
        self._shortest = min(self._shortest, least) if self.reading.queries else max(least, self._shortest)
        self.reading.queries.append(int(query.shape[1]))
        self.reading.samples.append(self._batch)
        self._took(int(query.shape[1]))
        masks = (getattr(value, "attn_mask", None) for value in (*args, *kwargs.values()))
        self.reading.masks += any(mask is not None for mask in masks)

    def _on_block(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self.reading.block_calls += 1
        names = list(inspect.signature(type(module).forward).parameters)[1:]
        given = [*zip(names, args, strict=False), *kwargs.items()]
        self._given.append({name: tuple(value.shape) for name, value in given if isinstance(value, torch.Tensor)})

    def _count_tokens(self) -> None:
        for shapes in self._given:
            for name, count in token_counts(shapes, self._batch).items():
                self.reading.blocks.setdefault(name, []).append(count)
                self._took(count)
        self._given.clear()
