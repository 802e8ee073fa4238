"""``ring2``: ring attention over two ranks gives what one rank gives; keys and values go round, tokens stay."""

from __future__ import annotations

from omniport.verify.features.sp2 import split_in_two
from omniport.verify.lab import Lab
from omniport.verify.results import Finding

PARALLEL = {"ring_degree": 2}


def run(lab: Lab) -> Finding:
    """As for ``sp2``, with another exchange: each rank sends its keys and values on."""
    return split_in_two(lab, PARALLEL, ("send", "recv"), "keys and values go round")
