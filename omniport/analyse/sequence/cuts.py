"""Token axes that are two streams: the forward cuts them at a place that one of its numbers counts to.

The first frame of a video that is modulated by itself, the history in front of the frames that are made.  Each side is
shared out over the ranks by itself, and the number counts what a rank holds of it.
"""

from __future__ import annotations

from typing import Any

from omniport.analyse.expressions import Env
from omniport.analyse.poly import Poly
from omniport.analyse.sequence.inputs import TokenInputs
from omniport.analyse.sequence.records import Cut, Form, Record
from omniport.analyse.shapes import Num


class CutAxes(TokenInputs):
    """Finds such places, and takes axes for two streams where the forms say so."""

    record: Record
    forms: dict[str, Form]
    carriers: frozenset[str]
    primary: frozenset[str]
    numbers: dict[str, Poly]  # numbers at the boundary that count no tokens

    def numbers_in(self, env: Env) -> dict[str, Poly]:
        return {name: value.poly for name, value in env.items() if isinstance(value, Num) and value.poly.atoms}

    def border(self, stream: str, front: Poly, back: Poly) -> None:
        """Note that ``stream`` is cut behind ``front`` tokens, ``back`` from its end, if a number of the forward is
        one of them: the stream may be two.

        One that is cut where another is, which was taken for two, is those two: it is split at that place, or not at
        all where it has another length.
        """
        for cut in self.record.cuts if self.record.seeds and stream not in self.makeup else ():
            sides = [Poly.of(f"len({name})") for name in cut.streams]
            if stream not in cut.streams and (self.equal(front, sides[0]) or self.equal(back, sides[1])):
                self.makeup[stream] = cut.streams
                return
        if back.constant is not None or front.constant is not None:
            return
        for size, sign in ((front, ""), (back, "-")):
            name = next((name for name, value in self.numbers.items() if self.equal(value, size)), None)
            axis = next((axis for axis in self.whole_axes() if self.made_of((axis,)) == (stream,)), None)
            if name is not None and axis is not None:
                self.record.borders.append((f"cut {axis}", sign + name))

    def whole_axes(self) -> list[str]:
        """The token axes of the values that the blocks change, those that become the result first."""
        seeds = [s for s in self.record.seeds if s.variable in self.carriers and not s.place and not s.optional]
        seeds.sort(key=lambda seed: seed.variable not in self.primary)
        return [f"{seed.label}__1" for seed in seeds if len(seed.tensor.dims or ()) == 3]

    def cut_axes(self, env: dict[str, Any]) -> None:
        """Take the axes that the forms say so of for two streams, and their numbers for the lengths of one of them."""
        for key, number in self.forms.items():
            axis = key.removeprefix("cut ")
            if axis == key or not isinstance(number, str):
                continue
            variable, _, at = axis.rpartition("__")
            streams = (f"{variable}_first__{at}", f"{variable}_rest__{at}")
            name = number.removeprefix("-")
            self.makeup[axis] = streams
            self.record.cuts.append(Cut(variable, int(at), name, name != number, streams))
            env[name] = Num(Poly.of(f"len({streams[name != number]})"))
