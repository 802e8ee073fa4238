"""What no rule can know about a transformer class: recipes as data, each with its reason."""

from __future__ import annotations

from omniport.verify.classes.audio import AUDIO
from omniport.verify.classes.cosmos import COSMOS
from omniport.verify.classes.entry import Entry, Variant
from omniport.verify.classes.image import IMAGE
from omniport.verify.classes.video import VIDEO
from omniport.verify.classes.wan import WAN

ENTRIES: dict[str, Entry] = {**AUDIO, **COSMOS, **IMAGE, **VIDEO, **WAN}

__all__ = ["ENTRIES", "Entry", "Variant"]
