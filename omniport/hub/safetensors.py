"""Safetensors headers: names, types and shapes of tensors without their data, read as hostile input.

Layout of the format: 8 bytes little-endian header length N, N bytes of JSON, then the data.  Offsets count from the end
of the header and must tile the data without hole or overlap.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from omniport.errors import OmniportError
from omniport.records import dataclass

HEADER_LIMIT = 32 << 20  # the format allows 100 MB; the largest published headers have 1 to 2 MB
TENSOR_LIMIT = 100_000
DIMENSIONS = 16

BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}


@dataclass(frozen=True)
class TensorInfo:
    """Element type in the format's own spelling (``BF16``), and shape."""

    dtype: str
    shape: tuple[int, ...]


def header_length(prefix: bytes, name: str, file_size: int | None) -> int:
    """Bytes of JSON that follow the first 8 bytes of the file ``name``; raises OmniportError if that cannot be."""
    if len(prefix) < 8:
        raise OmniportError(f"{name}: {len(prefix)} bytes is too short for a safetensors file")
    if prefix[:7] == b"version":
        raise OmniportError(f"{name}: a Git-LFS pointer, not the weights; run `git lfs pull` in the model folder")
    length = int.from_bytes(prefix[:8], "little")
    if length > HEADER_LIMIT:
        raise OmniportError(f"{name}: header of {length} bytes; more than {HEADER_LIMIT} is refused")
    if length < 2 or (file_size is not None and 8 + length > file_size):
        raise OmniportError(
            f"{name}: header of {length} bytes does not fit the file; it is damaged or no safetensors file"
        )
    return length


def parse_header(header: bytes, name: str, file_size: int | None) -> dict[str, TensorInfo]:
    """Tensors of one file in the order of its header.

    Raises:
        OmniportError: the header is no JSON object, an entry is malformed, or the offsets do not tile the data.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name appears twice")
        return found

    try:
        value = json.loads(header.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise OmniportError(f"{name}: header is not valid: {error}") from None
    if not isinstance(value, dict):
        raise OmniportError(f"{name}: header is no JSON object")
    value.pop("__metadata__", None)
    if len(value) > TENSOR_LIMIT:
        raise OmniportError(f"{name}: {len(value)} tensors; more than {TENSOR_LIMIT} are refused")
    tensors: dict[str, TensorInfo] = {}
    spans: list[tuple[int, int, str]] = []
    for tensor, entry in value.items():
        try:
            info, begin, end = _entry(entry)
        except (ValueError, KeyError, TypeError) as error:
            raise OmniportError(f"{name}: tensor {tensor[:200]!r}: {error}") from None
        tensors[tensor] = info
        spans.append((begin, end, tensor))
    cursor = 0
    for begin, end, tensor in sorted(spans):
        if begin != cursor:
            raise OmniportError(
                f"{name}: tensor {tensor[:200]!r} begins at byte {begin} of the data, expected {cursor}"
            )
        cursor = end
    if file_size is not None and 8 + len(header) + cursor != file_size:
        raise OmniportError(f"{name}: {file_size} bytes, but its header describes {8 + len(header) + cursor}")
    return tensors


def _entry(entry: dict[str, Any]) -> tuple[TensorInfo, int, int]:
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in BITS:
        raise ValueError(f"unknown type {str(dtype)[:40]!r}")
    if not isinstance(shape, list) or len(shape) > DIMENSIONS or not all(map(_is_size, shape)):
        raise ValueError(f"shape {str(shape)[:80]} is no list of sizes")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)) or offsets[0] > offsets[1]:
        raise ValueError(f"offsets {str(offsets)[:80]} are no range")
    bits = math.prod(shape) * BITS[dtype]
    if bits % 8 or bits // 8 != offsets[1] - offsets[0]:
        raise ValueError(f"{dtype} {shape} needs {bits / 8:g} bytes, its offsets span {offsets[1] - offsets[0]}")
    return TensorInfo(dtype, tuple(shape)), offsets[0], offsets[1]


def _is_size(number: object) -> bool:
    return type(number) is int and 0 <= number < 1 << 63


def read_header(read: Callable[[int, int], bytes], name: str, file_size: int | None) -> dict[str, TensorInfo]:
    """Header of a file through ``read(begin, end)``, which returns the bytes of a half-open range."""
    first = read(0, 8)
    length = header_length(first, name, file_size)
    header = read(8, 8 + length)
    if len(header) != length:
        raise OmniportError(f"{name}: header ends after {len(header)} of {length} bytes")
    return parse_header(header, name, file_size)
