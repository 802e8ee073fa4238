"""A port whose steps are alike only at an argument's default: proven with a cache, and found if it refuses nothing."""

from __future__ import annotations

from typing import Any

import pytest

from omniport.verify.api import make_job, run_jobs
from omniport.verify.features.cache import _other, _refused
from omniport.verify.port import find_port
from omniport.verify.results import FeatureResult

from .conftest import write_twin

pytestmark = pytest.mark.verify

CHECK = "requests that a cache cannot count are refused"
TWIN = "cached/unrefused"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureResult, FeatureResult]:
    """The feature ``cache`` of Lumina 2, whose guidance may be cut off at some step, and of its twin."""
    from omniport.scaffold import scaffold

    root = tmp_path_factory.mktemp("lumina") / "root"
    options: dict[str, Any] = {"name": None, "revision": None, "source": None, "offline": True, "into": None}
    scaffold("diffusers:Lumina2Pipeline", plugin=root, **options, dry_run=False, diff=False, force=False)
    port = find_port(root)
    jobs = [make_job(port.manifest_path, ("cache",)), write_twin(port, TWIN, ("cache",))]
    results, _ = run_jobs(jobs)
    return results[0][0], results[1][0]


def test_steps_that_are_alike_at_the_default_are_cached(found: tuple[FeatureResult, FeatureResult]) -> None:
    port, _ = found
    assert port.state == "validated", port.reason
    assert [check.ok for check in port.checks if check.name == CHECK] == [True]
    assert any("cfg_trunc_ratio=1.0" in line for line in port.evidence)


def test_a_port_that_serves_what_a_cache_cannot_count_is_found(found: tuple[FeatureResult, FeatureResult]) -> None:
    _, twin = found
    assert twin.state != "validated"
    assert [check.name for check in twin.checks if not check.ok] == [CHECK]


@pytest.mark.parametrize(("value", "other"), [(None, [0]), (1.0, 0.5), (0.0, 0.5), (True, False), (3, 4)])
def test_another_value_is_of_the_same_kind(value: Any, other: Any) -> None:
    assert _other(value) == other and type(_other(value)) is type(other)


def test_only_a_refusal_because_of_the_cache_is_one() -> None:
    assert _refused("ValueError: cache_dit needs cut=1.0", "cut")
    assert not _refused("ValueError: cut must lie between 0 and 1", "cut")
    assert not _refused("ValueError: cache_dit needs end=1.0", "cut") and not _refused("", "cut")
