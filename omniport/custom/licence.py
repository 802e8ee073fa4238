"""The licence of a repository, by the words of its licence file or metadata; a guess, for a human to confirm."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from omniport.custom.code import CodeTree
from omniport.plan.model import Why

#: name -> words that only its text has; permissive ones first
_PERMISSIVE = (
    (
        "Apache-2.0",
        r"Apache License,?\s+Version 2\.0|Apache License 2\.0|License:\s*Apache|License-Expression:\s*Apache-2\.0",
    ),
    ("MIT", r"Permission is hereby granted, free of charge|License:\s*MIT|License-Expression:\s*MIT|MIT License"),
    ("BSD", r"Redistribution and use in source and binary forms|License:\s*BSD|BSD License"),
)
_RESTRICTIVE = (
    ("a community licence", r"COMMUNITY LICENSE AGREEMENT|Community License"),
    ("a non-commercial licence", r"non-?commercial|CC[- ]BY[- ]NC"),
    ("GPL", r"GNU (AFFERO |LESSER )?GENERAL PUBLIC LICENSE"),
)  # fmt: skip
_FILES = re.compile(r"(LICEN[CS]E|COPYING|NOTICE)[\w.-]*\Z", re.I)


def find(tree: CodeTree) -> tuple[Why, bool]:
    """The licence with the file that says so, and whether it is known to be permissive."""
    files = [p for p in tree.others if _FILES.match(PurePosixPath(p).name)]
    files += [p for p in tree.others if PurePosixPath(p).name in ("METADATA", "PKG-INFO")]
    for path in sorted(files, key=lambda p: (not _FILES.match(PurePosixPath(p).name), p.count("/"), p)):
        with (tree.root / path).open("rb") as file:
            text = file.read(200_000).decode("utf-8", "replace")
        for table, permissive in ((_RESTRICTIVE, False), (_PERMISSIVE, True)):
            for name, words in table:
                if re.search(words, text[:4000] if not permissive else text):
                    return Why(name, path), permissive
    return Why("no licence file that is understood: its use must be cleared by a human"), False
