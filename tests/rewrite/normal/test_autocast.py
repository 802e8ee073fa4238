from __future__ import annotations

import pytest

from omniport.rewrite.normal.autocast import drop_disabled_autocast
from tests.rewrite.normal.helpers import check_noop, check_transformed, each

rewrite = each(lambda node, facts: drop_disabled_autocast(node))


@pytest.mark.parametrize(
    "context", ['torch.amp.autocast("cuda", enabled=False)', "torch.cuda.amp.autocast(enabled=False)"]
)
def test_the_body_of_a_disabled_autocast_takes_its_place(context):
    before = f"""
        class Rope(nn.Module):
            def forward(self, x):
                if x.ndim:
                    with {context}:
                        x = x.float()
                        x = x * 2
                return x
    """
    after = """
        class Rope(nn.Module):
            def forward(self, x):
                if x.ndim:
                    x = x.float()
                    x = x * 2
                return x
    """
    check_transformed(rewrite, before, after)


@pytest.mark.parametrize(
    "context",
    [
        'torch.amp.autocast("cuda")',
        'torch.amp.autocast("cuda", enabled=True)',
        'torch.amp.autocast("cuda", enabled=self.half)',
        'torch.amp.autocast("cuda", enabled=False) as cast',
        "torch.no_grad(), torch.cuda.amp.autocast(enabled=False)",
        "open_scope(enabled=False)",
    ],
)
def test_any_other_context_stays(context):
    check_noop(
        rewrite,
        f"""
        class Rope(nn.Module):
            def forward(self, x):
                with {context}:
                    return x.float()
        """,
    )
