"""Where the reference gives no latents, what it decodes is compared; where it fails in any way, it is the reason.

A call for two outputs is compared where the reference makes two.
"""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from omniport.verify.calls import Call  # noqa: E402
from omniport.verify.tasks import _first_run, without_count  # noqa: E402

pytestmark = pytest.mark.verify


class Reference:
    def __init__(self, gives: tuple[str, ...]) -> None:
        self.gives, self.asked = gives, []

    def __call__(self, output_type: str, **_: Any) -> Any:
        self.asked.append(output_type)
        if output_type not in self.gives:
            raise UnboundLocalError(f"no {output_type}")
        return torch.full((2,), float(len(output_type)))


CALL = Call("base", {"prompt": "a"}, ("a",))


def test_latents_are_asked_for_alone_where_they_are_given() -> None:
    reference = Reference(("latent", "np"))
    tensors, why = _first_run(reference, CALL)
    assert (why, reference.asked, float(tensors[0][0])) == ("", ["latent"], 6.0)


def test_what_is_decoded_takes_the_place_of_latents_with_a_reason() -> None:
    tensors, why = _first_run(Reference(("np",)), CALL)
    assert float(tensors[0][0]) == 2.0
    assert why.startswith("UnboundLocalError: no latent (test_compared_form.py:")


def test_a_reference_that_fails_in_any_way_fails_with_its_first_error() -> None:
    with pytest.raises(UnboundLocalError, match="no latent"):
        _first_run(Reference(()), CALL)


def test_a_call_for_two_outputs_of_which_one_comes_is_left_out() -> None:
    results = {"base": [torch.ones(1, 4)], "two outputs": [torch.ones(1, 4)], "defaults": [torch.ones(1, 4)]}
    assert "one output" in (without_count(results) or "")
    assert results.keys() == {"base", "defaults"}


def test_two_outputs_are_compared() -> None:
    for several in ([torch.ones(2, 4)], [torch.ones(1, 4), torch.ones(1, 4)]):
        results = {"base": [torch.ones(1, 4)], "two outputs": several}
        assert without_count(results) is None and "two outputs" in results
    assert without_count({"base": [torch.ones(1, 4)]}) is None
