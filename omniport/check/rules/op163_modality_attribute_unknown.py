"""OP163: a pipeline declares an input or output by an attribute that nothing reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import class_attributes

#: what vllm-omni 0.30.0 reads from the pipeline class (``models/interface.py``)
_READ = frozenset({"support_image_input", "support_audio_input", "support_audio_output"})
_DECLARES = re.compile(r"supports?_\w*(image|audio|video)_(in|out)puts?\Z")
_PROTOCOLS = re.compile(r"Supports?(Video(Input|Output)|ImageOutput)\Z")


class ModalityAttributeUnknown(Rule):
    """A pipeline declares an input or output by an attribute that nothing reads.

    A class attribute such as ``support_video_input``, or a base such as ``SupportVideoOutput``: the names that are
    read are ``support_image_input``, ``support_audio_input`` and ``support_audio_output``.

    Why: vllm-omni 0.30.0 reads these three by name from the class, whatever its bases are (measured); any other is
    silently nothing.  There is no protocol for video: its output is a row in ``model_metadata.py``, as are several
    images as input.

    Fix: the right name; for video ``DiffusionModelMetadata(final_output_type="video")``.
    """

    code = "OP163"
    name = "modality-attribute-unknown"
    VALID = (
        """
        class Pipeline(nn.Module):
            support_image_input = True
            color_format = "RGB"
        """,
        """
        class Recipe:
            supports_video_input = True
        """,
    )
    INVALID = (
        """
        class Pipeline(nn.Module):
            support_video_input = True
        """,
        """
        class ExamplePipeline(nn.Module):
            supports_image_input: ClassVar[bool] = True
        """,
        """
        class ExamplePipeline(nn.Module, SupportVideoOutput):
            pass
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not (file.mentions("support") or file.mentions("Support")):
                continue
            for cls in file.nodes(ast.ClassDef):
                if not cls.name.endswith("Pipeline"):
                    continue
                for name, value in class_attributes(cls).items():
                    if _DECLARES.match(name) and name not in _READ:
                        yield self.at(file, value or cls, f"vLLM-Omni reads no {name}")
                for base in cls.bases:
                    if isinstance(base, ast.Name) and _PROTOCOLS.match(base.id) and base.id not in file.classes:
                        yield self.at(file, base, f"vLLM-Omni has no protocol {base.id}")
