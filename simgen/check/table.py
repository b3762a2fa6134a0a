"""The values of the factors of many pictures, in little memory."""

import math
from array import array
from collections.abc import Iterator, Mapping

from simgen.dataset.values import Value


class Table:
    """A row for each picture, `names` being their names, and a column for each factor."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._columns: dict[str, array[float]] = {}
        self._words: dict[str, dict[str, int]] = {}  # of each column of words, the number of each word

    def add(self, name: str, values: Mapping[str, Value]) -> None:
        """Adds a picture; factors that it lacks have no value."""
        for factor, value in values.items():
            column = self._columns.setdefault(factor, array("d"))
            column.extend([math.nan] * (len(self.names) - len(column)))
            if isinstance(value, str):
                words = self._words.setdefault(factor, {})
                value = words.setdefault(value, len(words))
            column.append(value)
        self.names.append(name)

    def columns(self) -> Iterator[tuple[str, list[Value | None]]]:
        """The name of each factor, and its value in each picture, None where it has none."""
        for factor, column in self._columns.items():
            words = list(self._words.get(factor, {}))
            values: list[Value | None] = [
                None if math.isnan(value) else words[int(value)] if words else value for value in column
            ]
            yield factor, values + [None] * (len(self.names) - len(values))
