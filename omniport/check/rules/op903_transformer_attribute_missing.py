"""OP903: a pipeline reads an attribute that its transformer does not have."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import attributes, built_class
from omniport.check.port import TRANSFORMER_SLOTS, Port
from omniport.check.source import SourceFile, dotted

#: what ``nn.Module`` and the tools that wrap one bring along
_MODULE = frozenset(
    [
        "T_destination",
        "add_module",
        "apply",
        "bfloat16",
        "buffers",
        "call_super_init",
        "children",
        "compile",
        "cpu",
        "cuda",
        "double",
        "dump_patches",
        "eval",
        "extra_repr",
        "float",
        "forward",
        "get_buffer",
        "get_extra_state",
        "get_parameter",
        "get_submodule",
        "half",
        "ipu",
        "load_state_dict",
        "modules",
        "mtia",
        "named_buffers",
        "named_children",
        "named_modules",
        "named_parameters",
        "parameters",
        "register_backward_hook",
        "register_buffer",
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
        "register_load_state_dict_post_hook",
        "register_load_state_dict_pre_hook",
        "register_module",
        "register_parameter",
        "register_state_dict_post_hook",
        "register_state_dict_pre_hook",
        "requires_grad_",
        "set_extra_state",
        "set_submodule",
        "share_memory",
        "state_dict",
        "to",
        "to_empty",
        "train",
        "training",
        "type",
        "xpu",
        "zero_grad",
    ]
)


class TransformerAttributeMissing(Rule):
    """A pipeline reads an attribute that its transformer does not have.

    ``self.transformer.x`` is read, the transformer is a class of the port, and neither it nor its bases set ``x``.

    Why: diffusers' pipelines read ``self.transformer.config.in_channels`` and ``.dtype`` because every diffusers model
    has them; a port is a plain ``nn.Module`` and raises an AttributeError on the first request, or on the first that
    takes that branch.  Config values of merged ports were corrected in #1485 and #1711.

    Fix: assign the value in the transformer's ``__init__`` (``self.in_channels = in_channels``) and read that.
    """

    code = "OP903"
    name = "transformer-attribute-missing"
    VALID = (
        """
        class Transformer(nn.Module):
            def __init__(self, in_channels=64):
                self.in_channels = in_channels
        class Pipeline:
            def __init__(self, *, od_config):
                self.transformer = Transformer()
            def forward(self, req):
                return self.transformer.in_channels // 4
        """,
        """
        class Transformer(ModelMixin):
            pass
        class Pipeline:
            def __init__(self, *, od_config):
                self.transformer = Transformer()
            def forward(self, req):
                return self.transformer.config.in_channels
        """,
        """
        class Transformer(nn.Module):
            pass
        class Pipeline:
            def __init__(self, *, od_config):
                self.transformer = Transformer()
            def forward(self, req):
                if hasattr(self.transformer, "config"):
                    return self.transformer.config.in_channels
        """,
        """
        class Transformer(nn.Module):
            pass
        class Pipeline:
            def __init__(self, *, od_config):
                self.transformer = Transformer()
            def forward(self, req):
                self.transformer.do_true_cfg = req.guidance > 1
                return self.transformer.do_true_cfg
        """,
    )
    INVALID = (
        """
        class Transformer(nn.Module):
            def __init__(self, in_channels=64):
                self.in_channels = in_channels
        class Pipeline:
            def __init__(self, *, od_config):
                self.transformer = Transformer()
            def forward(self, req):
                return self.transformer.config.in_channels // 4
        """,
        """
        class Transformer(CachedTransformer):
            pass
        class Pipeline:
            def __init__(self, *, od_config):
                self.transformer = Transformer()
            def forward(self, req):
                return latents.to(self.transformer.dtype)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("self.transformer"):
                continue
            for cls in file.nodes(ast.ClassDef):
                for slot in sorted(TRANSFORMER_SLOTS):
                    found = built_class(port, file, cls, slot)
                    known = attributes(port, *found) if found is not None else None
                    if found is not None and known is not None:
                        known |= _MODULE | _given(port, slot)
                        yield from self._reads(file, cls, slot, found[1].name, known)

    def _reads(self, file: SourceFile, cls: ast.ClassDef, slot: str, name: str, known: set[str]) -> Iterator[Finding]:
        for node in file.nodes(ast.Attribute, within=cls):
            if dotted(node.value) != f"self.{slot}" or node.attr in known or not isinstance(node.ctx, ast.Load):
                continue
            if not _guarded(file, node):
                yield self.at(file, node, f"{name} has no attribute {node.attr!r}")


def _given(port: Port, slot: str) -> set[str]:
    """What the port's pipelines put on their transformer, as in ``self.transformer.do_true_cfg = True``."""
    return {
        node.attr
        for file in port.files
        for node in file.nodes(ast.Attribute)
        if isinstance(node.ctx, ast.Store) and dotted(node.value) == f"self.{slot}"
    }


def _guarded(file: SourceFile, node: ast.Attribute) -> bool:
    """Whether the function asks with ``hasattr`` or ``getattr`` whether the attribute is there."""
    function = file.enclosing_function(node)
    calls = file.calls("hasattr", "getattr", within=function) if function is not None else ()
    return any(isinstance(a, ast.Constant) and a.value == node.attr for call in calls for a in call.args)
