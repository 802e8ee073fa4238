"""OP703: a request's seed is set for the whole process."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, dotted

_SEEDS = frozenset({"np.random.seed", "numpy.random.seed", "random.seed", "torch.manual_seed"})


class GlobalSeed(Rule):
    """A request's seed is set for the whole process.

    ``torch.manual_seed``, ``np.random.seed`` or ``random.seed`` is called in a port, and not within
    ``with torch.random.fork_rng(...)``, which gives torch's generators back as they were.

    Why: the generators of the process are shared by all requests of the worker, and by whatever draws in between; the
    image depends on what else runs, and so do the images of others.  #3949 took such a call out of a merged port, and
    #6273 forbids those of torch.cuda; Lance, BAGEL, MAGI-2, NextStep and AuK of vllm-omni 0.30.0 have it.

    Fix: draw from the request's own generator: ``randn_tensor(shape, generator=sampling.generator, ...)``; around a
    library's call that takes none, ``with torch.random.fork_rng(devices=[device]):``.
    """

    code = "OP703"
    name = "global-seed"
    VALID = (
        """
        def noise(shape, seed, device):
            generator = torch.Generator(device=device).manual_seed(seed)
            return torch.randn(shape, generator=generator, device=device)
        """,
        """
        def noise(shape, sampling, device):
            return randn_tensor(shape, generator=sampling.generator, device=device)
        """,
        """
        def answer(self, tokens, generator, device):
            with torch.random.fork_rng(devices=[device]):
                torch.manual_seed(generator.initial_seed())
                return self.language_model.generate(tokens, do_sample=True)
        """,
    )
    INVALID = (
        """
        def noise(shape, seed):
            torch.manual_seed(seed)
            return torch.randn(shape)
        """,
        """
        def seed_all(seed):
            random.seed(seed)
            np.random.seed(seed)
        """,
        """
        def shuffle(words, seed):
            with torch.random.fork_rng(devices=[]):
                random.seed(seed)
                random.shuffle(words)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("seed("):
                continue
            for call in file.nodes(ast.Call):
                name = dotted(call.func)
                if name in _SEEDS and not (name == "torch.manual_seed" and _forked(file, call)):
                    yield self.at(file, call, f"{name} seeds all requests of the process; use the request's generator")


def _forked(file: SourceFile, call: ast.Call) -> bool:
    """Whether torch's generators are put back behind a call."""
    items = (item for parent in file.parents(call) if isinstance(parent, ast.With) for item in parent.items)
    return any(
        isinstance(item.context_expr, ast.Call) and dotted(item.context_expr.func).endswith("fork_rng")
        for item in items
    )
