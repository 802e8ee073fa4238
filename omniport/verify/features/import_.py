"""``import``: vLLM-Omni resolves the architecture to the port, and the port has the outside its contract names."""

from __future__ import annotations

from omniport.verify.forks import Rank
from omniport.verify.lab import Lab
from omniport.verify.results import Finding


def run(lab: Lab) -> Finding:
    """Import the port in a fork, through the registry."""

    def task(rank: Rank) -> object:
        from omniport.verify import probes

        return probes.import_port(lab.port)

    checks, evidence = lab.fork("import", task)[0]
    return Finding(tuple(checks), tuple(evidence))
