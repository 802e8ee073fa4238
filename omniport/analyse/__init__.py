"""Room: from reference source to decisions."""

import omniport.source.cst  # noqa: F401  libcst is imported there first
