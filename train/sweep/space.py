"""What a sweep searches: the swept keys with their values, all checked by the schema, and the values of the first trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from simgen.command.effects import without_effect
from simgen.command.help import shown
from simgen.command.swept import Choice, Interval, Range, Swept, read_swept
from simgen.config import Composed, compose
from simgen.errors import ConfigError
from train.config import SweepConfig, TrainConfig, check_train

Values = Mapping[str, Any]  # by key: a text of a choice, or a number

# The keys that may be swept. All others leave the result as it is, or change the held-out pictures: then the losses of two
# trials cannot be compared, and the sweep would find the easiest pictures.
SWEPT_KEYS = (
    "model.*",
    "data.epoch",
    "data.passes",
    "trainer.epochs",
    "trainer.batch_size",
    "trainer.jitter",
    "trainer.precision",
)
_OWN = ("trials", "out")  # the keys of the sweep itself, which a training lacks or gets from it


@dataclass(frozen=True)
class Plan:
    """A sweep: `settings`, key=value, are those of all its trainings, and `config` is theirs without any other. `space` has
    the values of each swept key, `first` those of the first trial: the defaults, where the space has them; where it has not,
    `notes` says so."""

    settings: tuple[str, ...]
    config: TrainConfig
    space: Mapping[str, Swept]
    first: Values
    notes: tuple[str, ...]


def plan_of(composed: Composed[SweepConfig]) -> Plan:
    """The sweep of a command line. Raises ConfigError, which begins with the key, for a key that cannot be swept and for a
    value that no training takes."""
    typed = composed.typed
    if typed.sweep:
        raise ConfigError("-m: runs each combination of values, and a sweep draws them: write choice(a,b) for a,b")
    if not typed.swept:
        raise ConfigError("sweep: no key is swept; add one such as 'model.lr=tag(log,interval(1e-4,1e-2))'")
    if "out" not in composed.given:
        raise ConfigError("out: missing; write out=FOLDER, the folder of the study, its trials and its report")
    if composed.value.trials < 1:
        raise ConfigError(f"trials: got {composed.value.trials}; expected at least 1")
    if composed.value.trainer.nodes != 1:
        raise ConfigError(
            f"trainer.nodes: got {composed.value.trainer.nodes}; expected 1: a sweep trains on one machine"
        )
    space: dict[str, Swept] = {}
    for path, text in typed.swept:
        if path in space or path in composed.given:
            raise ConfigError(f"{path}: is given more than once; expected one value or one set of values")
        _check_key(path, composed)
        space[path] = read_swept(path, text)
    settings = tuple(f"{path}={text}" for path, text in typed.settings if path not in _OWN)
    config = _checked(settings)
    first, notes = {}, []
    for path, swept in space.items():
        _check_values(path, swept, settings, composed)
        default = _value(config, path)
        first[path] = _nearest(path, swept, default, settings)
        if _value(_checked([*settings, f"{path}={first[path]}"]), path) != default:
            notes.append(
                f"{path}={swept.text} lacks the default, {shown(default)}: the first trial has {first[path]} instead"
            )
        if isinstance(swept, Interval) and not swept.log and 0 < 30 * swept.low <= swept.high:
            notes.append(
                f"{path}={swept.text} is drawn evenly, so that most values are near {swept.high:g}; "
                f"tag(log,{swept.text}) draws each order of magnitude equally often"
            )
    if "trainer.batch_size" in space:
        notes.append("trainer.batch_size: the held-out pictures fill whole batches, so their number differs a little")
    return Plan(settings, config, space, first, tuple(notes))


def overrides_of(values: Values) -> list[str]:
    """`values` as settings key=value of a training."""
    return [f"{path}={value}" for path, value in values.items()]


def _check_key(path: str, composed: Composed[SweepConfig]) -> None:
    if path == "model.name" or not any(fnmatchcase(path, pattern) for pattern in SWEPT_KEYS):
        raise ConfigError(
            f"{path}: cannot be swept: it changes what the loss is measured on, or not the model; the keys that can are "
            f"{', '.join(SWEPT_KEYS)}"
        )
    for line in without_effect(composed.value, composed.groups, composed.keys, (path,)):
        raise ConfigError(f"{path}: cannot be swept: {line}")


def _check_values(path: str, swept: Swept, settings: Sequence[str], composed: Composed[SweepConfig]) -> None:
    """Raises ConfigError if a training does not take each value of a choice, or the ends of a range or an interval; of a
    range also the second number, as where only every other number is taken."""
    if isinstance(swept, Interval) and composed.keys[path].expects == "a whole number":
        raise ConfigError(f"{path}: got {swept.text}; expected whole numbers: range(start,stop), without stop itself")
    values: list[Any] = list(swept.values) if isinstance(swept, Choice) else [swept.low, swept.high]
    if isinstance(swept, Range) and swept.low < swept.high:
        values.insert(1, on_grid(swept, swept.low + swept.step))
    for value in values:
        try:
            _checked([*settings, f"{path}={value}"])
        except ConfigError as error:
            raise ConfigError(f"{error} (in {path}={swept.text})") from error


def _checked(settings: Sequence[str]) -> TrainConfig:
    config = compose("train", TrainConfig, settings)
    check_train(config)
    return config


def _nearest(path: str, swept: Swept, default: Any, settings: Sequence[str]) -> Any:
    """The value of `swept` that is `default`; else the nearest number, or the first word of a choice."""
    if isinstance(swept, Choice):
        values = [_value(_checked([*settings, f"{path}={text}"]), path) for text in swept.values]
        return swept.values[values.index(default) if default in values else 0]
    nearest = min(max(default, swept.low), swept.high)
    return on_grid(swept, nearest) if isinstance(swept, Range) else float(nearest)


def on_grid(swept: Range, value: float) -> float:
    """The number of the range nearest to `value`; of those that are not whole twelve digits, without the error of sums."""
    number = swept.low + round((value - swept.low) / swept.step) * swept.step
    return int(number) if swept.whole else float(f"{number:.12g}")


def _value(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name)
    return config
