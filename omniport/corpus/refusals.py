"""Numbers of tensor-parallel ranks that a model cannot be shared by end in the port's own message when it is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

#: What sizes in the corpus divide by seldom, and powers of two that heads may not divide by.
RANKS = (3, 5, 7, 8, 16, 64)

_MESSAGE = re.compile(r"tensor_parallel_size=(\d+) does not divide .+= ?\d+.*; these do: \[([\d, ]*)\]", re.DOTALL)


def unclear_refusals(build: Callable[[], object], ranks: tuple[int, ...] = RANKS) -> list[str]:
    """Problems of a model that ``build`` makes: what else than the model or its own message each number of ranks gives.

    The sizes that a message names have to do better than the one that it refuses: each builds the model, or another
    size of it is named.
    """
    problems: list[str] = []
    todo, seen = list(ranks), set[int]()
    while todo:
        number = todo.pop(0)
        if number in seen:
            continue
        seen.add(number)
        try:
            with _ranks(number), torch.device("meta"):
                build()
        except ValueError as error:
            found = _MESSAGE.match(str(error))
            if found is None or int(found[1]) != number:
                problems.append(f"{number} ranks: {_text(error)}")
                continue
            works = [int(item) for item in found[2].split(",") if item.strip()]
            if not works or number in works:
                problems.append(f"{number} ranks: {_text(error)}")
            todo += works[1:2]  # the smallest beside 1
        except Exception as error:
            problems.append(f"{number} ranks: {_text(error)}")
    return problems


@contextmanager
def _ranks(number: int) -> Iterator[None]:
    """vLLM's layers are made as by the first of ``number`` ranks."""
    from vllm.distributed.parallel_state import get_tp_group

    group = get_tp_group()
    before = group.world_size, group.rank_in_group
    group.world_size, group.rank_in_group = number, 0
    try:
        yield
    finally:
        group.world_size, group.rank_in_group = before


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
