"""What nothing reads goes; what may have an effect, or a reader, stays."""

from __future__ import annotations

import pytest

from omniport.rewrite.normal.dead_code import drop_dead_code
from tests.rewrite.normal.helpers import check_noop, check_transformed, each

DROP = each(drop_dead_code)


@pytest.mark.parametrize(
    "body",
    [
        "x = self.step()\n        return 1",  # a call may have an effect
        "x = 1\n        return x",
        "x = 1\n        for _ in y:\n            x = x + 1\n        return x",
        "x = 1\n        if y:\n            x = 2\n        return x",
        "x = y\n        z = x\n        x = 3\n        return x + z",
        "x, y = y, 2\n        return y",
        "self.used = 1\n        return self.used",
        "x += 1\n        return y",
    ],
)
def test_kept(body: str) -> None:
    check_noop(DROP, f"class A(nn.Module):\n    def forward(self, y):\n        {body}\n")


def test_an_attribute_read_by_another_class_stays() -> None:
    check_noop(
        DROP,
        """
        class A(nn.Module):
            def __init__(self):
                self.width = 4

        class B(nn.Module):
            def forward(self, x):
                return x * self.a.width
        """,
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1\n        return y", "return y"),
        ("a = b = None\n        return y", "return y"),
        ("x = int(y) + 1\n        return y", "return y"),
        ("x = None\n        x = y\n        return x", "x = y\n        return x"),
        ("y = y\n        return y", "return y"),
        ("self.unused = 1\n        return y", "return y"),
        ("self.proj._hint = [1, 2]\n        return self.proj(y)", None),
    ],
)
def test_dropped(before: str, after: str | None) -> None:
    head = "class A(nn.Module):\n    def forward(self, y):\n        "
    after = "return self.proj(y)" if after is None else after
    check_transformed(DROP, f"{head}{before}\n", f"{head}{after}\n")


@pytest.mark.parametrize("target", ["self.proj.bias", "self.proj.config.use_cache", "self.proj._hints[0]"])
def test_what_another_object_may_read_stays(target: str) -> None:
    body = f"class A(nn.Module):\n    def forward(self, y):\n        {target} = None\n        return self.proj(y)\n"
    check_transformed(DROP, body, body)


def test_a_method_without_caller_goes() -> None:
    check_transformed(
        DROP,
        """
        class A(nn.Module):
            def helper(self, x):
                return x
            def forward(self, x):
                return F.helper(x)
        """,
        """
        class A(nn.Module):
            def forward(self, x):
                return F.helper(x)
        """,
    )


FEEDS = """
class A(nn.Module):
    def forward(self, x):
        y = int(x)
        y = max(y, y)
        return x
"""


def test_a_name_that_only_feeds_itself_goes() -> None:
    check_transformed(DROP, FEEDS, FEEDS.replace("        y = int(x)\n        y = max(y, y)\n", ""))


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("return x", "return x + y"),
        ("y = max(y, y)", "y = self.f(y)"),
        ("y = max(y, y)", "z = max(y, y)\n        self.f(z)"),
    ],
)
def test_what_feeds_anything_else_stays(line: str, instead: str) -> None:
    check_noop(DROP, FEEDS.replace(line, instead))


def test_a_question_about_the_run_that_nothing_reads_goes() -> None:
    check_transformed(
        DROP,
        """
        class A(nn.Module):
            def forward(self, x):
                checkpoint = torch.is_grad_enabled()
                return x
        """,
        """
        class A(nn.Module):
            def forward(self, x):
                return x
        """,
    )
