"""The state of randomize=adr: how far each bound has moved, and the rule by which it moves."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from simgen.files import read_json, write_json

STATES = "adr.json"  # in the run's folder: the fractions of each epoch, for the processes that draw
FIRST = 0.1  # fraction of the way to the widest range at the beginning
STEP = 0.2  # by which a bound moves
SUCCESS, FAILURE = 0.7, 0.3  # fractions of right blocks at a bound from which on it moves outward, inward
# Results on which a move is based. OpenAI takes 240; but some 200 bounds share the pictures of a training, and 5 moves take
# a bound to its end. A move that a few lucky results caused may be taken back by the next.
QUEUE = 10
_POINT = 0.01  # added to a width, so that a single value has a finite entropy


class Growth:
    """The fraction of the way from nominal to widest of each bound, by name, in each epoch so far (`states`), and the
    newest results at each bound."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = sorted(names)
        self.states = [dict.fromkeys(self.names, FIRST)]
        self.queues: dict[str, list[bool]] = {name: [] for name in self.names}

    @property
    def fractions(self) -> Mapping[str, float]:
        """Those of the current epoch."""
        return self.states[-1]

    def note(self, number: int, right: bool) -> None:
        """A result at bound `number`: whether a block there was right. The oldest beyond QUEUE are forgotten."""
        queue = self.queues[self.names[number]]
        queue.append(right)
        del queue[:-QUEUE]

    def advance(self) -> tuple[int, int]:
        """Begins the next epoch: moves each bound with enough results, and clears the results of those that move. Returns
        how many moved outward and inward."""
        fractions, moved = dict(self.fractions), [0, 0]
        for name, queue in self.queues.items():
            if len(queue) < QUEUE:
                continue
            share = sum(queue) / len(queue)
            step = STEP if share >= SUCCESS else -STEP if share <= FAILURE else 0.0
            new = round(min(1.0, max(0.0, fractions[name] + step)), 6)
            if new != fractions[name]:
                moved[new < fractions[name]] += 1
                fractions[name] = new
                queue.clear()
        self.states.append(fractions)
        return moved[0], moved[1]

    def entropy(self) -> float:
        """The mean over the dimensions of the logarithm of their widths, in nats a dimension: 0 for the widest ranges and
        -4.6 for single values. (OpenAI 2019, section 5.2: the mean of log(high - low), here in units of the widest range.) A
        dimension is one number of a factor, with one end or two; its width is the mean of their fractions, as if the nominal
        value were in the middle, or the share of the samples in which it varies."""
        ends: dict[str, list[float]] = {}
        for name, fraction in self.fractions.items():
            ends.setdefault(name.rpartition("/")[0], []).append(fraction)
        widths = [sum(fractions) / len(fractions) for fractions in ends.values()]
        return sum(math.log((width + _POINT) / (1 + _POINT)) for width in widths) / len(widths)

    def write_states(self, folder: Path) -> None:
        """Writes the fractions of all epochs so far to the run's `folder`, for States."""
        write_json(folder / STATES, self.states)

    def to_json(self) -> dict[str, Any]:
        return {"names": self.names, "states": self.states, "queues": self.queues}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Growth":
        """The inverse of `to_json`."""
        growth = Growth(data["names"])
        growth.states = [dict(state) for state in data["states"]]
        growth.queues = {name: [bool(one) for one in data["queues"][name]] for name in growth.names}
        return growth


class States:
    """The fractions of an epoch by its number, as the training's process has written them to the run's `folder`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / STATES
        self._known: list[dict[str, float]] = []

    def __call__(self, epoch: int) -> Mapping[str, float]:
        if epoch >= len(self._known):
            self._known = read_json(self.path)
        return self._known[epoch]
