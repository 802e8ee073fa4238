"""Room: one rewrite per file; each reads the plan and changes the tree, and decides nothing."""

import omniport.source.cst  # noqa: F401  libcst is imported there first
