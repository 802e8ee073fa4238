"""The comment at the top of a file keeps its notices; the licence's text becomes the line that names it."""

from __future__ import annotations

from omniport.source.header import header

NOTICE = "# Copyright 2025 The Toy Authors. All rights reserved.\n"
LICENSE = '# Licensed under the Apache License, Version 2.0 (the "License");\n# ...\n# limitations under the License.\n'
SPDX = "# SPDX-License-Identifier: Apache-2.0"


def test_the_licence_is_named_and_the_notice_kept() -> None:
    text = f"{NOTICE}#\n{LICENSE}#\n# Adapted from elsewhere\n\nimport torch\n# not this\n"
    assert header(text) == [SPDX, NOTICE.rstrip(), "#", "# Adapted from elsewhere"]
    assert header(f"{NOTICE}#\n{LICENSE}import torch\n") == [SPDX, NOTICE.rstrip()]


def test_any_other_licence_stays_as_it_is() -> None:
    for text in (
        f"{NOTICE}#\n# Licensed under the Toy License.\n# limitations under the License.\n",
        f"{NOTICE}#\n# Licensed under the Apache License, Version 2.0: a file of our own\n",
        f"{NOTICE}#\n# limitations under the License.\n# Licensed under the Apache License, Version 2.0\n",
    ):
        assert header(f"{text}import torch\n") == text.splitlines()


def test_a_file_without_a_comment_has_none() -> None:
    assert header("import torch\n# not this\n") == []
