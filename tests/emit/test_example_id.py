"""The id of a checkpoint is read off the example of the pipeline, and of no other class."""

import pytest

from omniport.emit.example_id import example_id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('>>> pipe = ToyPipeline.from_pretrained("org/toy-1", x)', "org/toy-1"),
        ('>>> pipe = ToyPipeline.from_pretrained(\n        ...     "org/toy.1"\n', "org/toy.1"),
        ('>>> model_id = "org/toy"\n>>> ToyPipeline.from_pretrained(model_id, x)', "org/toy"),
        (">>> ToyPipeline.from_pretrained(model_id)", ""),
        # a component of another repository: the checkpoint alone is no such pipeline's
        ('>>> c = ToyNet.from_pretrained("org/net")\n>>> ToyPipeline.from_pretrained("org/toy", net=c, x=torch.x)', ""),
        ('>>> n = "org/net"\n>>> c = ToyNet.from_pretrained(n)\n>>> ToyPipeline.from_pretrained("org/toy", net=c)', ""),
        (
            '>>> c = ToyNet.from_pretrained("org/toy", "net")\n>>> ToyPipeline.from_pretrained("org/toy", net=c)',
            "org/toy",
        ),
        ('>>> OtherPipeline.from_pretrained("org/other")', ""),
        ('>>> ToyPipeline.from_pretrained("../../etc")', ""),
        ("", ""),
    ],
)
def test_the_id(text: str, expected: str):
    assert example_id(text, "ToyPipeline") == expected
