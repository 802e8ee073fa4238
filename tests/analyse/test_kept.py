"""Objects that keep tensors between calls: what their methods store and give back."""

from __future__ import annotations

import ast

import pytest

from omniport.analyse.kept import Access, Kept, access, annotated, kept_by_caller
from omniport.analyse.shapes import Const, Seq

CACHE = '''
class Cache:
    def store(self, key, value):
        """Keep them."""
        self.key = key
        self.value = value

    def get(self):
        if self.key is None:
            raise RuntimeError("empty")
        return self.key, self.value

    def clear(self):
        self.key = None
'''


def cls(text: str = CACHE) -> ast.ClassDef:
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.ClassDef)
    return node


def test_what_methods_do() -> None:
    assert access(cls(), "store") == Access("stores", (("key", "key"), ("value", "value")), ("key", "value"))
    assert access(cls(), "get") == Access("gives", (("key", ""), ("value", "")))
    assert access(cls(CACHE.replace("self.key, self.value", "self.key")), "get") == Access("gives", (("key", ""),))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("clear", "self.key = None", "self.key = None"),
        ("missing", "class", "class"),
        ("store", "self.key = key", "self.key = key.float()"),
        ("store", "self.key = key", "self.key = key\n        self.count()"),
        ("store", "class Cache:", "class Cache(nn.Module):"),
        ("store", "key, value):", "key, *, value):"),
        ("get", "return self.key, self.value", "return self.key * 2, self.value"),
        ("get", 'raise RuntimeError("empty")', "self.key = 0"),
    ],
)
def test_other_methods_are_not_known(name: str, old: str, new: str) -> None:
    assert old in CACHE
    assert access(cls(CACHE.replace(old, new)), name) is None


def call(text: str) -> ast.Call:
    node = ast.parse(text, mode="eval").body
    assert isinstance(node, ast.Call)
    return node


def test_what_is_stored_comes_back_to_modules_of_the_class() -> None:
    kept, node = Kept(lambda a, b: (a, b)), cls()
    assert kept.call("A", node, call("cache.get()"), [], {}) is None  # nothing was stored yet
    assert kept.call("A", node, call("cache.store(k, v)"), ["k", "v"], {}) == Const(None)
    found = kept.call("A", node, call("cache.get()"), [], {})
    assert isinstance(found, Seq) and found.items == ["k", "v"]
    assert kept.call("B", node, call("cache.get()"), [], {}) is None
    kept.call("A", node, call("cache.store(k, v)"), ["l"], {"value": "w"})
    found = kept.call("A", node, call("cache.get()"), [], {})
    assert isinstance(found, Seq) and found.items == [("k", "l"), ("v", "w")]
    assert kept.call("A", node, call("cache.store(k)"), ["k"], {}) is None


def test_annotations_name_the_class() -> None:
    function = ast.parse("def f(self, a: Cache | None, b: 'Cache | None', c: int, d): ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    assert annotated(function, "a") == ["Cache"] and "Cache" in annotated(function, "b")
    assert annotated(function, "d") == annotated(function, "e") == []
    assert kept_by_caller(function) is None
    other = ast.parse("def f(self, x, *, kv_cache=None): ...").body[0]
    assert isinstance(other, ast.FunctionDef)
    found = kept_by_caller(other)
    assert found is not None and found.arg == "kv_cache"
