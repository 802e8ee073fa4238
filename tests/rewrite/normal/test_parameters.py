"""Parameters that nothing reads go with their arguments; two that are always given alike become one."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.normal.parameters import drop_unused_parameters, merge_equal_parameters, require_parameters
from omniport.rewrite.normal.usage import UsageCache
from tests.rewrite.normal.helpers import Classes, check_noop, check_transformed, each

MERGE = each(merge_equal_parameters)


def drop(found: Classes) -> Classes:
    return found | drop_unused_parameters(found, UsageCache().of(found), "Root", {"dropped"})


def require(found: Classes) -> Classes:
    given = {("A", "forward", "x"), ("A", "forward", "y")}
    return found | require_parameters(found, UsageCache().of(found), "Root", given)


ROOT = """
class Root(nn.Module):
    def __init__(self, width):
        self.a = A({arguments})
    def forward(self, x):
        return self.a({call})
"""


def with_a(body: str, arguments: str = "width", call: str = "x") -> str:
    return f"{body}\n{ROOT.format(arguments=arguments, call=call)}"


A_DROPS = """
class A(nn.Module):
    def __init__(self, width, bias=True):
        self.lin = nn.Linear(width, width)
    def forward(self, x, mask=None):
        return self.lin(x)
"""
A_CLEAN = """
class A(nn.Module):
    def __init__(self, width):
        self.lin = nn.Linear(width, width)
    def forward(self, x):
        return self.lin(x)
"""


def test_unread_parameters_go_with_their_arguments() -> None:
    check_transformed(drop, with_a(A_DROPS, "width, bias=False", "x, mask=None"), with_a(A_CLEAN))


def test_read_parameters_stay() -> None:
    check_noop(drop, with_a(A_CLEAN))


def test_the_root_keeps_its_constructor() -> None:
    check_noop(drop, "class Root(nn.Module):\n    def __init__(self, width):\n        self.x = 1\n")


def test_the_root_keeps_its_forward() -> None:
    check_noop(drop, "class Root(nn.Module):\n    def forward(self, x, unread=None):\n        return x\n")


def test_the_root_loses_what_the_plan_drops() -> None:
    check_transformed(
        drop,
        "class Root(nn.Module):\n    def forward(self, x, dropped=None):\n        return x\n",
        "class Root(nn.Module):\n    def forward(self, x):\n        return x\n",
    )


def test_star_arguments_at_a_call_keep_the_parameter() -> None:
    check_noop(drop, with_a(A_DROPS.replace(", bias=True", ""), "width", "*x"))


def test_a_parameter_that_is_set_before_it_is_read_goes() -> None:
    linear = "        self.lin = nn.Linear(width, width)"
    after = A_CLEAN.replace(linear, "        inner = 2 * width\n        self.lin = nn.Linear(width, inner)")
    before = after.replace("def __init__(self, width)", "def __init__(self, width, inner=None)")
    check_transformed(drop, with_a(before), with_a(after))


TWO = """
class A(nn.Module):
    def __init__(self, dim, out):
        self.lin = nn.Linear(dim, out)
    def forward(self, x):
        return self.lin(x)
"""


def test_equal_arguments_merge() -> None:
    merged = TWO.replace("nn.Linear(dim, out)", "nn.Linear(dim, dim)")
    check_transformed(MERGE, with_a(TWO, "width, width"), with_a(merged, "width, width"))


def test_equal_expressions_merge() -> None:
    merged = TWO.replace("nn.Linear(dim, out)", "nn.Linear(dim, dim)")
    check_transformed(MERGE, with_a(TWO, "width // 2, width // 2"), with_a(merged, "width // 2, width // 2"))


@pytest.mark.parametrize("arguments", ["4, 4", "next(width), next(width)"])
def test_equal_numbers_and_calls_do_not_merge(arguments: str) -> None:
    check_noop(MERGE, with_a(TWO, arguments))


def test_different_arguments_do_not_merge() -> None:
    check_noop(MERGE, with_a(TWO, "width, 2 * width"))
    check_noop(MERGE, with_a(TWO, "width, height"))


def test_a_parameter_that_is_set_does_not_merge() -> None:
    check_noop(
        MERGE, with_a(TWO.replace("        self.lin", "        out = out + 1\n        self.lin"), "width, width")
    )


def test_arguments_equal_at_one_call_only_do_not_merge() -> None:
    text = with_a(TWO, "width, width")
    check_noop(
        MERGE, text.replace("self.a = A(width, width)", "self.a = A(width, width)\n        self.b = A(width, 4)")
    )


OPTIONAL = """
class A(nn.Module):
    def __init__(self, width):
        self.lin = nn.Linear(width, width)
    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None):
        return self.lin(x) + y
"""


def test_a_parameter_always_given_needs_no_default() -> None:
    needed = OPTIONAL.replace("y: torch.Tensor | None = None", "y: torch.Tensor")
    check_transformed(require, with_a(OPTIONAL, call="x, y=x"), with_a(needed, call="x, y=x"))


MAY_BE_NONE = """
class A(nn.Module):
    def __init__(self, width{bias}):
        self.lin = nn.Linear(width, width)
    def forward(self, x: torch.Tensor, mask{mask}, y{y}):
        return self.lin(x) if mask is None else y
"""


@pytest.mark.parametrize(
    ("mask", "needed"),
    [
        (": torch.Tensor | None = None", ": torch.Tensor | None"),
        (": Optional[torch.Tensor] = None", ": Optional[torch.Tensor]"),
        (": torch.Tensor = None", ": torch.Tensor | None"),
        ("=None", ""),
        (": bool = True", ": bool"),
        (": torch.Tensor | None", ": torch.Tensor | None"),
    ],
)
def test_what_every_call_gives_has_no_default_be_it_none(mask: str, needed: str) -> None:
    before = MAY_BE_NONE.format(bias=": int = 4", mask=mask, y=": torch.Tensor | None = None" if "=" in mask else "")
    after = MAY_BE_NONE.format(bias=": int", mask=needed, y=": torch.Tensor" if "=" in mask else "")
    arguments = {"arguments": "4, 8", "call": "x, None, y=x"}
    before, after = (text.replace("(self, width:", "(self, width, bias:") for text in (before, after))
    check_transformed(require, with_a(before, **arguments), with_a(after, **arguments))


def test_what_stands_behind_a_default_keeps_its_own() -> None:
    text = MAY_BE_NONE.format(bias="", mask=": torch.Tensor | None = None", y=": torch.Tensor = None")
    check_noop(require, with_a(text, call="x, y=x"))
    check_noop(require, with_a(text, call="x, *more"))


def test_a_class_that_others_call_keeps_its_defaults() -> None:
    found = {
        n.name.value: n for n in cst.parse_module(with_a(OPTIONAL, call="x, y=x")).body if isinstance(n, cst.ClassDef)
    }
    usage = UsageCache().of(found)
    assert require_parameters(found, usage, "Root", (), {"A"}) == {}
    assert set(require_parameters(found, usage, "Root", (), {"B"})) == {"A"}


def test_a_parameter_left_out_somewhere_keeps_its_default() -> None:
    check_noop(require, with_a(OPTIONAL, call="x"))


def test_the_call_is_found_through_a_module_list() -> None:
    text = with_a(A_DROPS.replace(", bias=True", ""), call="x, mask=None")
    text = text.replace("self.a = A(width)", "self.a = nn.ModuleList([A(width) for _ in range(2)])")
    text = text.replace(
        "return self.a(x, mask=None)", "for block in self.a:\n            x = block(x, mask=None)\n        return x"
    )
    found = drop({n.name.value: n for n in cst.parse_module(text.lstrip()).body if isinstance(n, cst.ClassDef)})
    assert "mask" not in cst.Module(list(found.values())).code


@pytest.mark.parametrize(
    "loop",
    [
        "for block in self.a:",
        "for i, block in enumerate(self.a):",
        "for block, y in zip(self.a, x):",
        "for i, (y, block) in enumerate(zip(x, self.a)):",
        "for y, (i, block) in zip(x, enumerate(self.a)):",
    ],
)
def test_the_call_is_found_through_loops(loop: str) -> None:
    text = with_a(A_DROPS.replace(", bias=True", ""), call="x, mask=None")
    text = text.replace("self.a = A(width)", "self.a = nn.ModuleList([A(width) for _ in range(2)])")
    called = text.replace(
        "return self.a(x, mask=None)", f"{loop}\n            x = block(x, mask=None)\n        return x"
    )
    found = drop({n.name.value: n for n in cst.parse_module(called.lstrip()).body if isinstance(n, cst.ClassDef)})
    assert "mask" not in cst.Module(list(found.values())).code
    check_noop(drop, called.replace(loop, loop.replace("self.a", "self.other")))


GUARDED = """
class A(nn.Module):
    def __init__(self, width):
        self.lin = nn.Linear(width, width)
    def forward(self, x, {more}emb=None):
        return self.lin(x) * emb

class B(nn.Module):
    def __init__(self, width):
        self.lin = nn.Linear(width, width)
    def forward(self, x, emb):
        return self.lin(x) + emb

class Root(nn.Module):
    def __init__(self, width, last=False):
        self.last = last
        if last:
            self.norm = B(width)
        else:
            self.norm = A(width)
    def forward(self, x, emb):
        if self.last:
            return self.norm(x, emb)
        return self.norm(x, emb=emb)
"""


def test_a_call_under_a_flag_is_of_the_class_that_the_flag_builds() -> None:
    before = GUARDED.replace(
        "        return self.norm(x, emb=emb)", "        else:\n            return self.norm(x, emb=emb)"
    )
    check_transformed(drop, before.format(more="step=None, "), before.format(more=""))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("if self.last:", "if emb is None:"),  # another condition
        ("if self.last:", "if last(x):"),
        ("        if last:", "        if width:"),  # built under another flag
        ("self.last = last", "self.last = not last"),
        ("self.last = last", "last = not last\n        self.last = last"),  # the parameter is changed
        ("    def forward(self, x, emb):\n        if", "    def reset(self):\n        self.last = True\n"
         "    def forward(self, x, emb):\n        if"),  # the flag is changed
    ],
)  # fmt: skip
def test_a_call_that_may_be_of_either_class_keeps_its_parameters(old: str, new: str) -> None:
    assert old in GUARDED
    check_noop(drop, GUARDED.replace(old, new).format(more="step=None, "))


STARS = """
class A(nn.Module):
    def __init__(self):
        self.lin = nn.Linear(4, 4)
    def forward(self, x{stars}):
        return self.lin(x)
"""


@pytest.mark.parametrize(
    ("call", "before", "after"),
    [
        ("x", ", *args, **kwargs", ""),
        ("x, 1", ", *args, **kwargs", ", *args"),  # what a call gives needs a place
        ("x, mask=1", ", *args, **kwargs", ", **kwargs"),
    ],
)
def test_stars_that_no_call_fills_go(call: str, before: str, after: str) -> None:
    check_transformed(
        drop,
        with_a(STARS.format(stars=before), "", call),
        with_a(STARS.format(stars=after), "", call),
    )


def test_stars_that_a_call_passes_on_stay() -> None:
    check_noop(drop, with_a(STARS.format(stars=", *args, **kwargs"), "", "x, *rest, **more"))


def test_the_roots_forward_takes_no_names_that_it_does_not_read() -> None:
    root = "class Root(nn.Module):\n    def forward(self, x{}):\n        return {}\n"
    check_transformed(drop, root.format(", **kwargs", "x"), root.format("", "x"))
    check_noop(drop, root.format(", **kwargs", "x + kwargs['y']"))


METHOD = """
class Root(nn.Module):
    def forward(self, x):
        return self.unpatchify(x{argument})
    def unpatchify(self, x{parameter}):
        return x
"""


def test_a_method_has_no_parameter_that_nothing_reads() -> None:
    before, after = (", False", ", is_training"), ("", "")
    texts = [METHOD.format(argument=a, parameter=p) for a, p in (before, after)]
    check_transformed(drop, *texts)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    def unpatchify", "    @staticmethod\n    def unpatchify"),
        ("return self.unpatchify(x, False)", "return list(map(self.unpatchify, x))"),  # handed on
        ("return self.unpatchify(x, False)", "return self.unpatchify(*x)"),
        ("        return x\n", "        return x if is_training else -x\n"),
    ],
)
def test_a_method_keeps_what_may_be_read(old: str, new: str) -> None:
    before = METHOD.format(argument=", False", parameter=", is_training").replace(old, new)
    check_noop(drop, before)


def test_a_method_that_others_call_stays() -> None:
    other = "class Other(nn.Module):\n    def forward(self, root):\n        return root.unpatchify(1, False)\n"
    check_noop(drop, METHOD.format(argument=", False", parameter=", is_training") + other)
