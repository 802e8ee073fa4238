from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniport.errors import OmniportError
from omniport.hub.safetensors import HEADER_LIMIT, TensorInfo, header_length, parse_header, read_header


def entry(dtype: object = "F32", shape: object = (2, 3), offsets: object = (0, 24)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def header(**tensors: object) -> bytes:
    return json.dumps(tensors).encode()


def test_read_what_safetensors_writes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    tensors = {
        "a": torch.zeros(2, 3),
        "b": torch.zeros(4, dtype=torch.bfloat16),
        "c": torch.zeros((), dtype=torch.int64),
    }
    path = tmp_path / "x.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    data = path.read_bytes()
    found = read_header(lambda begin, end: data[begin:end], "x", len(data))
    assert found == {"a": TensorInfo("F32", (2, 3)), "b": TensorInfo("BF16", (4,)), "c": TensorInfo("I64", ())}
    with pytest.raises(OmniportError, match="its header describes"):
        read_header(lambda begin, end: data[begin:end], "x", len(data) + 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "header is not valid"),
        (b"[]", "header is no JSON object"),
        (b'{"a": 1, "a": 2}', "appears twice"),
        (b"\xff", "header is not valid"),
        (b"[" * 100_000, "header is not valid"),
        (header(a=1), "tensor 'a'"),
        (header(a={}), "tensor 'a'"),
        (header(a=entry(dtype="F33")), "unknown type 'F33'"),
        (header(a=entry(dtype=["F32"])), "tensor 'a'"),
        (header(a=entry(shape=[-2, -3])), "is no list of sizes"),
        (header(a=entry(shape=[True, 6])), "is no list of sizes"),
        (header(a=entry(shape=[2.0, 3])), "is no list of sizes"),
        (header(a=entry(shape=[1 << 70, 0])), "is no list of sizes"),
        (header(a=entry(shape="23")), "is no list of sizes"),
        (header(a=entry(shape=[1] * 20)), "is no list of sizes"),
        (header(a=entry(offsets=[24, 0])), "are no range"),
        (header(a=entry(offsets=[-24, 0])), "are no range"),
        (header(a=entry(offsets=[0, 23])), "needs 24 bytes, its offsets span 23"),
        (header(a=entry(shape=[1 << 62, 1 << 62], offsets=[0, 0])), "its offsets span 0"),
        (header(a=entry(dtype="F4", shape=[3], offsets=[0, 1])), "needs 1.5 bytes"),
        (header(a=entry(), b=entry(offsets=[12, 36])), "begins at byte 12 of the data, expected 24"),
        (header(a=entry(), b=entry(offsets=[32, 56])), "begins at byte 32 of the data, expected 24"),
        (header(a=entry(offsets=[8, 32])), "begins at byte 8 of the data, expected 0"),
    ],
)
def test_refused(data: bytes, message: str) -> None:
    with pytest.raises(OmniportError, match=f"f: .*{message}"):
        parse_header(data, "f", None)


def test_metadata_and_empty_tensors() -> None:
    data = header(__metadata__={"format": "pt"}, a=entry(), b=entry(shape=[0], offsets=[24, 24]))
    assert parse_header(data, "f", 8 + len(data) + 24) == {"a": TensorInfo("F32", (2, 3)), "b": TensorInfo("F32", (0,))}


def test_lengths() -> None:
    assert header_length((100).to_bytes(8, "little"), "f", 200) == 100
    for prefix, message in (
        (b"123", "too short"),
        (b"version https", "Git-LFS pointer"),
        ((HEADER_LIMIT + 1).to_bytes(8, "little"), "is refused"),
        (b"\xff" * 8, "is refused"),
        ((193).to_bytes(8, "little"), "does not fit"),
        ((1).to_bytes(8, "little"), "does not fit"),
    ):
        with pytest.raises(OmniportError, match=message):
            header_length(prefix, "f", 200)


def test_header_cut_off() -> None:
    data = (50).to_bytes(8, "little") + b"{}"
    with pytest.raises(OmniportError, match="header ends after 2 of 50 bytes"):
        read_header(lambda begin, end: data[begin:end], "f", None)


def test_too_many_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omniport.hub.safetensors.TENSOR_LIMIT", 1)
    with pytest.raises(OmniportError, match="2 tensors; more than 1"):
        parse_header(header(a=entry(), b=entry(offsets=[24, 48])), "f", None)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_gives_our_error(data: bytes) -> None:
    try:
        assert read_header(lambda begin, end: data[begin:end], "f", len(data)) == {}
    except OmniportError as error:
        assert str(error).startswith("f:")
