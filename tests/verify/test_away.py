"""Components that are moved away are away for real: what computes with them is found."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("vllm_omni")
from torch import nn  # noqa: E402

from omniport.verify.away import Away, offloaded  # noqa: E402

pytestmark = pytest.mark.verify


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.register_buffer("shift", torch.ones(3))

    @property
    def device(self) -> torch.device:
        return self.inner.weight.device

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + self.shift


class Pipeline(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()


def away_with(pipeline: Pipeline) -> AbstractContextManager[Away]:
    return offloaded(pipeline, SimpleNamespace(_offload_modules=[pipeline.encoder]))


def test_numbers_come_back_as_they_were() -> None:
    encoder, away = Encoder(), Away()
    before = [tensor.clone() for tensor in (*encoder.parameters(), *encoder.buffers())]
    away.take(encoder)
    assert all(t.isnan().all() for t in (*encoder.parameters(), *encoder.buffers()))
    away.take(encoder)  # twice is once
    away.bring(encoder)
    assert all(torch.equal(a, b) for a, b in zip([*encoder.parameters(), *encoder.buffers()], before, strict=True))
    assert not away.faults and encoder not in away


def test_a_weight_of_two_components_comes_back_with_either() -> None:
    first, second, away = Encoder(), Encoder(), Away()
    second.inner.weight = first.inner.weight
    before = first.inner.weight.clone()
    away.take(first)
    away.take(second)
    away.bring(second)
    assert torch.equal(second.inner.weight, before) and first in away and first.inner.bias.isnan().all()
    away.bring(first)
    assert torch.equal(first.inner.weight, before) and not first.inner.bias.isnan().any()
    away.take(first)
    assert second.inner.weight.isnan().all()
    away.bring(first)
    assert torch.equal(second.inner.weight, before)


def test_a_part_that_runs_without_its_component_is_found_and_gets_its_weights() -> None:
    pipeline = Pipeline()
    with away_with(pipeline) as away:
        out = pipeline.encoder.inner(torch.ones(2, 3))
        assert list(away.faults) == ["encoder.inner runs while its component is away"]
        assert torch.isfinite(out).all()


def test_a_component_that_was_brought_back_has_no_fault() -> None:
    pipeline = Pipeline()
    with away_with(pipeline) as away:
        away.bring(pipeline.encoder)
        pipeline.encoder(torch.ones(2, 3))
    assert not away.faults


def test_a_weight_that_is_used_by_itself_gives_no_number() -> None:
    pipeline = Pipeline()
    with away_with(pipeline):
        assert (torch.ones(2, 3) @ pipeline.encoder.inner.weight).isnan().all()
    assert torch.isfinite(pipeline.encoder.inner.weight).all()


def test_the_device_is_another_while_a_component_is_away() -> None:
    pipeline = Pipeline()
    with away_with(pipeline) as away:
        ids = torch.ones(2, 3, device=pipeline.encoder.device)
        away.bring(pipeline.encoder)
        assert pipeline.encoder.device.type == "cpu"
        with pytest.raises(RuntimeError, match="encoder is given a tensor on the device where its weights were"):
            pipeline.encoder(x=ids)
        away.take(pipeline.encoder)
    assert pipeline.encoder.device.type == "cpu"


def test_without_offload_nothing_moves() -> None:
    pipeline = Pipeline()
    with offloaded(pipeline, None) as away:
        assert torch.isfinite(pipeline.encoder(torch.ones(2, 3))).all()
    assert not away.faults
