"""Dataclasses of our own behave as those of the standard library, but for writing to a frozen one."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from dataclasses import field
from typing import Any

import pytest

from omniport.records import dataclass, sealed


def made(kind: Any) -> dict[str, Any]:
    """Classes of one shape each, defined by the decorator ``kind``."""

    @kind(frozen=True)
    class Frozen:
        """A value."""

        a: int
        b: tuple[int, ...] = ()
        unseen: int = field(default=0, repr=False, compare=False)

    @kind(frozen=True)
    class One:
        a: int

    @kind(frozen=True)
    class Empty:
        pass

    @kind
    class Mutable:
        a: int
        b: list[int] = field(default_factory=list)

    @kind(eq=False)
    class Identity:
        a: int

    @kind(frozen=True)
    class Below(One):
        b: int = 2

    @kind(frozen=True)
    class Own:
        a: int

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "own"

    @kind(frozen=True, order=True)
    class Ordered:
        a: int

    return {c.__name__: c for c in (Frozen, One, Empty, Mutable, Identity, Below, Own, Ordered)}


OURS, THEIRS = made(dataclass), made(dataclasses.dataclass)
SEALED = made(sealed)


def values(held: dict[str, Any]) -> dict[str, Any]:
    return {
        "frozen": held["Frozen"](1, (2,)),
        "same": held["Frozen"](1, (2,), 3),
        "other": held["Frozen"](1, (3,)),
        "one": held["One"](1),
        "below": held["Below"](1),
        "empty": held["Empty"](),
        "mutable": held["Mutable"](1, [2]),
        "mutable too": held["Mutable"](1, [2]),
        "identity": held["Identity"](1),
        "own": held["Own"](1),
        "own too": held["Own"](2),
        "ordered": held["Ordered"](1),
    }


@pytest.mark.parametrize("held", [OURS, SEALED])
def test_comparison_hash_and_text(held: dict[str, Any]) -> None:
    ours, theirs = values(held), values(THEIRS)
    for name, value in ours.items():
        assert repr(value) == repr(theirs[name])
        assert [value == other for other in ours.values()] == [theirs[name] == other for other in theirs.values()]
        assert dataclasses.fields(value) is not None
        assert dataclasses.astuple(value) == dataclasses.astuple(theirs[name])
        if type(theirs[name]).__hash__ is None:
            with pytest.raises(TypeError):
                hash(value)
        elif name != "identity":
            assert hash(value) == hash(theirs[name])


def test_equality_sees_a_difference() -> None:
    assert OURS["Frozen"](1) != OURS["Frozen"](2)
    assert OURS["Frozen"](1) == OURS["Frozen"](1)
    assert OURS["One"](1) != OURS["Below"](1)
    assert OURS["One"](1) != 1


def test_order() -> None:
    assert OURS["Ordered"](1) < OURS["Ordered"](2)
    assert not OURS["Ordered"](2) < OURS["Ordered"](1)


def test_a_value_may_hold_itself() -> None:
    value = OURS["Mutable"](1)
    value.b.append(value)
    assert "..." in repr(value)


def test_replace() -> None:
    assert dataclasses.replace(OURS["Frozen"](1), b=(5,)) == OURS["Frozen"](1, (5,))


def test_a_sealed_class_is_not_written_to() -> None:
    value = SEALED["Frozen"](1)
    for kind in (SEALED["Frozen"], THEIRS["Frozen"]):
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'a'"):
            kind(1).a = 2
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'a'"):
            del kind(1).a
    mutable = SEALED["Mutable"](1)
    mutable.a = 2
    assert mutable.a == 2 and value.a == 1


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the standard library's own there")
def test_one_method_is_compiled_for_a_class_when_a_value_is_made() -> None:
    code = """
import builtins, dataclasses, sys
from omniport.records import dataclass, sealed
compiled = []
run = builtins.exec
builtins.exec = lambda *given: (compiled.append(given[0]), run(*given))[1]
kind = dataclass if sys.argv[1] == "ours" else dataclasses.dataclass
@kind(frozen=True)
class A:
    a: int
defined = len(compiled)
values = A(1), A(2)
print(defined, len(compiled))
"""
    ours, theirs = (
        subprocess.run([sys.executable, "-c", code, kind], capture_output=True, text=True, check=True).stdout.split()
        for kind in ("ours", "theirs")
    )
    assert ours == ["0", "1"]
    assert int(theirs[0]) == int(theirs[1]) > 1


def shapes(kind: Any) -> dict[str, Any]:
    """Classes whose constructors differ."""

    @kind
    class Fields:
        a: int
        b: list[int] = field(default_factory=list)
        c: int = 3
        d: int = field(default=4, init=False)
        e: dict[str, int] = field(default_factory=dict, init=False)
        f: int = field(default=6, kw_only=True)
        g: int = field(kw_only=True)

    @kind(kw_only=True)
    class Named:
        a: int = 1
        b: int

    @kind
    class After:
        a: int

        def __post_init__(self) -> None:
            self.twice = 2 * self.a

    @kind
    class Hand:
        a: int = 1

        def __init__(self) -> None:
            self.a = 7

    @kind(init=False)
    class Without:
        a: int = 1

    @kind(frozen=True, slots=True)
    class Slots:
        a: int
        b: int = 2

    @kind
    class Base:
        a: int

    class Plain(Base):
        def __init__(self, a: int) -> None:
            super().__init__(a + 1)

    @kind
    class More(Plain):
        b: int = 2

    return {c.__name__: c for c in (Fields, Named, After, Hand, Without, Slots, Base, Plain, More)}


@pytest.mark.parametrize("ours", [shapes(dataclass), shapes(sealed)])
@pytest.mark.parametrize(
    ("name", "args", "values"),
    [
        ("Fields", (1,), {"g": 7}),
        ("Fields", (1, [2], 5), {"f": 8, "g": 7}),
        ("Fields", (), {"a": 1, "b": [4], "g": 7}),
        ("Fields", (1,), {}),
        ("Fields", (), {"g": 1}),
        ("Fields", (1, [2], 5, 4), {"g": 7}),
        ("Fields", (1,), {"d": 2, "g": 7}),
        ("Named", (), {"b": 1}),
        ("Named", (1,), {"b": 1}),
        ("After", (4,), {}),
        ("Hand", (), {}),
        ("Hand", (1,), {}),
        ("Without", (), {}),
        ("Without", (1,), {}),
        ("Slots", (1,), {}),
        ("Slots", (1,), {"b": 3, "c": 4}),
        ("Base", (1,), {}),
        ("Plain", (1,), {}),
        ("More", (1,), {}),
        ("More", (1,), {"b": 5}),
    ],
)
def test_values_are_made_as_by_the_standard_library(
    ours: dict[str, Any], name: str, args: tuple[Any, ...], values: dict[str, Any]
) -> None:
    theirs = shapes(dataclasses.dataclass)
    for _ in range(2):  # the first value is made by what then makes place
        found = []
        for kind in (ours[name], theirs[name]):
            try:
                made = kind(*args, **values)
            except TypeError as error:
                found.append(str(error))
            else:
                fields = {f.name: getattr(made, f.name) for f in dataclasses.fields(made)}
                found.append((fields, getattr(made, "__dict__", None)))
        assert found[0] == found[1]
        assert isinstance(found[0], str | tuple)


def test_defaults_are_made_for_each_value() -> None:
    kind = shapes(dataclass)["Fields"]
    first, second = kind(1, g=1), kind(1, g=1)
    assert first.b == second.b == [] and first.b is not second.b and first.e is not second.e


def test_each_class_compiles_its_own_constructor() -> None:
    """The first value may be one of a class below, or of a copy of the class."""
    held = shapes(dataclass)
    assert held["More"](1, 5).b == 5
    assert held["Base"](3).a == 3
    assert held["Plain"](3).a == 4
    copy = type("Copy", held["Base"].__bases__, dict(vars(shapes(dataclass)["Base"])))
    assert copy(5).a == 5 and copy(6).a == 6


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the standard library's own there")
def test_nodes_of_libcst_behave_as_its_own() -> None:
    """Imported by our rooms first, libcst differs in nothing but that its nodes are not frozen, and that its abstract
    classes are plain ones."""
    code = """
import sys
if sys.argv[1] == "ours":
    import omniport.analyse
import dataclasses
import libcst as cst
from libcst.metadata import CodePosition
assert dataclasses.dataclass.__module__ == "dataclasses"
assert ("__setattr__" in vars(cst.Name)) == (sys.argv[1] == "theirs") == (type(cst.BaseNumber) is not type)
module = cst.parse_module("def f(a, *, b=1):\\n    return a[0] + b  # why\\n")
a, b = cst.Name("a"), cst.Name("a")
assert a == a and a != b and len({a, b, a}) == 2 and a.deep_equals(b)
assert CodePosition(1, 2) == CodePosition(1, 2) and len({CodePosition(1, 2), CodePosition(1, 2)}) == 1
for wrong in (lambda: cst.Name(""), lambda: a.with_changes(value=""), lambda: a.with_changes(of="b")):
    try:
        wrong()
    except (cst.CSTValidationError, TypeError) as error:
        print(type(error).__name__, error)
assert isinstance(a, cst.BaseExpression) and isinstance(a, cst.If | cst.Name)
assert not isinstance(a, cst.If | cst.Attribute)
assert issubclass(cst.If, cst.BaseStatement) and not issubclass(cst.If, cst.BaseExpression)
held = a.with_changes(value="b", lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
assert held.deep_equals(cst.parse_expression("(b)"))
print(module.code, module.with_changes(body=[]).code, module.visit(cst.CSTTransformer()).deep_equals(module))
print(module, CodePosition(1, 2))
"""
    ours, theirs = (
        subprocess.run([sys.executable, "-c", code, kind], capture_output=True, text=True, check=True).stdout
        for kind in ("ours", "theirs")
    )
    assert ours == theirs
    assert ours.count("CSTValidationError") == 2 and "def f(a, *, b=1):" in ours


def test_nobody_writes_to_a_plan() -> None:
    """The classes that rooms share are frozen at run time, too."""
    import dataclasses

    from omniport.plan import model, remap, todos

    classes = [c for m in (model, remap, todos) for c in vars(m).values() if dataclasses.is_dataclass(c)]
    assert len(classes) > 20
    for cls in classes:
        assert cls.__dataclass_params__.frozen, cls  # type: ignore[attr-defined]
        with pytest.raises(dataclasses.FrozenInstanceError):
            cls.__setattr__(object.__new__(cls), dataclasses.fields(cls)[0].name, None)
