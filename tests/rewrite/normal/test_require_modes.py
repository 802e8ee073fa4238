import libcst as cst
import pytest

from omniport.analyse.modes import MODES, Mode
from omniport.rewrite.normal.require_modes import require_modes

SOURCE = '''
class Model(nn.Module):
    def __init__(self, kind="a", flag=False):
        super().__init__()
        self.flagged = True

    def forward(self, x, blocks=None):
        """Says what it does."""
        return x if blocks is None else -x
'''


def applied(**modes: Mode) -> type:
    node = next(n for n in cst.parse_module(SOURCE).body if isinstance(n, cst.ClassDef))
    code = cst.Module([]).code_for_node(require_modes(node, modes))

    class Module:
        pass

    scope: dict[str, object] = {"nn": type("nn", (), {"Module": Module})}
    exec(code, scope)  # our own source, from above
    return scope["Model"]  # type: ignore[return-value]


def test_another_value_is_refused_at_construction():
    model = applied(kind=Mode(("a",), "why"))
    assert model().flagged
    with pytest.raises(ValueError, match="kind='b' is not supported, only 'a' is"):
        model(kind="b")


def test_several_values_are_named_in_the_refusal():
    model = applied(kind=Mode(("a", None), "why"))
    assert model(kind=None).flagged
    with pytest.raises(ValueError, match="kind='b' is not supported, only 'a' or None is"):
        model(kind="b")


def test_a_value_that_is_served_as_well_resets_what_it_leaves_out():
    model = applied(flag=Mode((False, True), "why", code=True, without=("blocks",)))
    assert model(flag=True).forward(2, blocks=[1]) == -2
    assert model(flag=False).forward(2, blocks=[1]) == 2


def test_without_modes_nothing_changes():
    node = next(n for n in cst.parse_module(SOURCE).body if isinstance(n, cst.ClassDef))
    assert require_modes(node, {}) is node


def test_each_mode_says_why():
    assert all(mode.reason for modes in MODES.values() for mode in modes.values())
