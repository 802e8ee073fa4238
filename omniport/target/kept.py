"""What was read of packages, kept from one check to the next by a process that ends with its command.

Others read anew each time: a package may change under a process that lives long.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

_KEPT: list[dict[Hashable, Any]] = []


def keep() -> None:
    """From now on this process keeps what it reads."""
    if not _KEPT:
        _KEPT.append({})


def kept(key: Hashable, make: Callable[[], T]) -> T:
    """What ``make`` gives: made once for ``key`` where this process keeps such things."""
    for found in _KEPT:
        if key not in found:
            found[key] = make()
        return found[key]  # type: ignore[no-any-return]
    return make()
