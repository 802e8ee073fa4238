"""The recorder of scheduler steps and its comparison: what must be told apart is."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from omniport.verify.trace import Step, compare_outputs, compare_steps, recorded, tensors_of  # noqa: E402


class Scheduler:
    """One Euler step."""

    def step(
        self, model_output: Any, timestep: Any, sample: Any, eta: float = 0.0, generator: Any = None, **more: Any
    ) -> tuple[Any]:
        return (sample - 0.1 * model_output,)


def _run(scale: float = 2.0, *, steps: int = 3, given: dict[str, Any] | None = None) -> list[Step]:
    scheduler, sample = Scheduler(), torch.arange(12.0).reshape(3, 4) + 1
    with recorded({Scheduler}) as taken:
        for t in range(steps):
            (sample,) = deepcopy(scheduler).step(sample * scale, torch.tensor(t), sample, **(given or {}))
    return taken


def test_the_same_run_has_no_error_and_leaves_the_scheduler_as_it_was() -> None:
    before = Scheduler.step
    assert compare_steps(_run(), _run()) == (0.0, "")
    assert Scheduler.step is before


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"scale": -2.0}, "step 0: model_output"),
        ({"scale": 2.001}, "step 0"),
        ({"steps": 2}, "2 scheduler steps instead of 3"),
        ({"given": {"eta": 0.5}}, "eta is 0.5 instead of 0.0"),
        ({"given": {"generator": torch.Generator()}}, "generator given is True instead of False"),
    ],
)
def test_what_differs_is_told(broken: dict[str, Any], told: str) -> None:
    error, where = compare_steps(_run(**broken), _run())
    assert error > 1e-4
    assert told in where


def test_a_dropped_scheduler_argument_is_told() -> None:
    error, where = compare_steps(_run(), _run(given={"eta": 0.5}))
    assert error == float("inf")
    assert "eta" in where


def _doubled(other: float = 0.0) -> list[Step]:
    """The run of a pipeline that carries its doubled batch, with ``other`` added to the second half."""
    scheduler, one = Scheduler(), torch.arange(12.0).reshape(3, 4) + 1
    sample = torch.cat([one, one + other])
    with recorded({Scheduler}) as taken:
        for t in range(3):
            (sample,) = deepcopy(scheduler).step(sample * 2.0, torch.tensor(t), sample)
    return taken


def test_a_doubled_batch_of_the_reference_is_compared_once() -> None:
    assert compare_steps(_run(), _doubled()) == (0.0, "")
    error, where = compare_steps(_run(), _doubled(1e-3))
    assert error > 1e-4 and "step 0" in where
    error, where = compare_steps(_run(scale=2.001), _doubled())
    assert error > 1e-4 and "step 0" in where
    assert compare_steps(_doubled(), _run())[0] > 1e-4  # the port is to hold it once, not twice


def test_outputs_are_compared_by_full_scale() -> None:
    picture = torch.rand(1, 8, 8, 3)
    assert compare_outputs([picture], [picture])[0] == 0.0
    assert compare_outputs([picture + 0.01], [picture])[0] > 5e-3
    assert compare_outputs([picture.flip(1)], [picture])[0] > 0.1
    assert "shapes" in compare_outputs([picture, picture], [picture])[1]
    assert compare_outputs([picture * float("nan")], [picture])[0] == float("inf")


def test_every_kind_of_output_becomes_tensors() -> None:
    from PIL import Image

    grey = Image.new("L", (4, 2), 51)
    assert [list(t.shape) for t in tensors_of({"video": [[grey, grey]]})] == [[2, 2, 4]]
    assert float(tensors_of(grey)[0].max()) == pytest.approx(0.2)
    assert len(tensors_of((torch.zeros(1), None, torch.zeros(2)))) == 2


def test_bytes_may_differ_by_a_level_where_few_lie_on_an_edge() -> None:
    picture = (torch.rand(1, 100, 100, 3) * 200 + 20).round() / 255
    few, many, far = picture.clone(), picture.clone(), picture.clone()
    few.view(-1)[:20] += 1 / 255
    many.view(-1)[:60] += 1 / 255
    far.view(-1)[:1] += 2 / 255
    assert compare_outputs([few], [picture]) == (0.0, "")
    assert compare_outputs([many], [picture])[0] > 1e-3  # two in a thousand
    assert compare_outputs([far], [picture])[0] > 1e-3
    smooth = picture + 0.3 / 255  # not cut to bytes: nothing is let pass
    assert compare_outputs([smooth + (few - picture)], [smooth])[0] > 1e-3
    assert compare_outputs([smooth + 2e-3], [picture])[0] > 1e-3


def test_each_step_is_announced_before_it_is_made() -> None:
    scheduler, sample, forwards = Scheduler(), torch.ones(2), 0
    begun: set[int] = set()
    with recorded({Scheduler}, lambda: begun.add(forwards)) as taken:
        for _ in range(3):
            forwards += 2
            scheduler.step(sample, 0, sample)  # as Cosmos does: what it predicts, then the step itself
            scheduler.step(sample, 0, sample)
    assert len(taken) == 6 and begun == {2, 4, 6}
