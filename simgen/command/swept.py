"""Hydra's syntax for several values of a key, range(...), choice(...) and interval(...), read as sets of values."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simgen.errors import ConfigError

_FORM = re.compile(r"(tag\((?:\s*\w+\s*,)*\s*)?(choice|range|interval)\([^()]*(\([^()]*\)[^()]*)*\)\s*\)?")
_EXPECTED = (
    "expected choice(a,b), range(start,stop,step), interval(low,high), tag(log,range(...)) or tag(log,interval(...))"
)
_GREATEST = 100_000  # values of a range


@dataclass(frozen=True)
class Choice:
    """`values` in Hydra's grammar, of which none is nearer to another."""

    text: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """The numbers low, low + step, ..., high. With `log` their logarithms are drawn evenly."""

    text: str
    low: float
    high: float
    step: float
    log: bool

    @property
    def whole(self) -> bool:
        """Whether they are whole numbers."""
        return isinstance(self.step, int)


@dataclass(frozen=True)
class Interval:
    """All numbers from `low` to `high`. With `log` their logarithms are drawn evenly."""

    text: str
    low: float
    high: float
    log: bool


Swept = Choice | Range | Interval


def read_swept(path: str, text: str) -> Swept:
    """The values that `text`, in Hydra's grammar, states for the key `path`. Raises ConfigError, which begins with the key,
    for any other text, and for fewer than two values."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep
    from hydra.errors import HydraException

    if text.startswith(("shuffle(", "sort(")):
        raise ConfigError(f"{path}: got {text}; the values are drawn and have no order: leave out {text.split('(')[0]}")
    if not _FORM.fullmatch(text) or "${" in text:
        raise ConfigError(f"{path}: got {text}; {_EXPECTED}")
    try:
        (override,) = OverridesParser.create().parse_overrides([f"{path}={text}"])
    except HydraException as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(f"{path}: cannot read {text} ({reason}); {_EXPECTED}") from error
    sweep: Any = override.value()
    if sweep.tags - {"log"}:
        raise ConfigError(f"{path}: got {text}; expected no tag but log")
    log = bool(sweep.tags)
    if isinstance(sweep, RangeSweep):
        return _range(path, text, sweep, log)
    if isinstance(sweep, IntervalSweep):
        return _interval(path, text, sweep, log)
    if log:
        raise ConfigError(f"{path}: got {text}; the words of a choice have no logarithm: leave out tag(log, ...)")
    values = tuple(override.sweep_string_iterator())
    if len(set(values)) < len(values) or len(values) < 2:
        raise ConfigError(f"{path}: got {text}; expected at least two values, each once")
    return Choice(text, values)


def _interval(path: str, text: str, sweep: Any, log: bool) -> Interval:
    low, high = _numbers(path, text, sweep.start, sweep.end)
    if not low < high:
        raise ConfigError(f"{path}: got {text}; expected two numbers, the least first")
    _check_log(path, text, low, log)
    return Interval(text, low, high, log)


def _range(path: str, text: str, sweep: Any, log: bool) -> Range:
    start, stop, step = _numbers(path, text, sweep.start, sweep.stop, sweep.step)
    count = math.ceil((stop - start) / step) if step else 0
    if step and count > _GREATEST:
        raise ConfigError(f"{path}: got {text}; expected at most {_GREATEST} values; use interval({start},{stop})")
    values = sorted(sweep.range()) if count > 0 else []
    if len(values) < 2:
        raise ConfigError(f"{path}: got {text}; expected at least two values, start before stop, which is left out")
    whole = all(isinstance(value, int) for value in values)
    # Hydra adds decimal numbers up; twelve digits are those of the sum without its error.
    low, high = (values[0], values[-1]) if whole else (_rounded(values[0]), _rounded(values[-1]))
    if log and not (whole and abs(step) == 1):
        raise ConfigError(
            f"{path}: got {text}; expected whole numbers and the step 1 with log, or tag(log,interval(...))"
        )
    _check_log(path, text, low, log)
    return Range(text, low, high, abs(int(step)) if whole else abs(float(step)), log)


def _check_log(path: str, text: str, low: float, log: bool) -> None:
    if log and low <= 0:
        raise ConfigError(f"{path}: got {text}; expected numbers above 0, which have a logarithm")


def _numbers(path: str, text: str, *numbers: Any) -> Sequence[Any]:
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise ConfigError(f"{path}: got {text}; expected finite numbers")
    return numbers


def _rounded(value: float) -> float:
    return float(f"{value:.12g}")
