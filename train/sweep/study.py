"""The study: which values were tried with which loss, in one file, and which are tried next. The only module with Optuna.

The file has only finished trials, each a single line, and the values that were asked for last. The state of an Optuna
sampler is not in its storage: each trial has a new sampler, seeded by f(seed, number of the trial). So an interrupted sweep
asks for the same values as one without interruption.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from simgen.command.swept import Choice, Range, Swept
from simgen.draws import Draws
from simgen.errors import ConfigError, FileError
from simgen.files import differences, locked
from train.sweep.space import Values, on_grid

JOURNAL = "study.journal"
_NAME = "sweep"
_PLAN, _ASKED, _VERSION = "plan", "asked", "optuna"  # attributes of the study
_BEGINNING = b'{"op_code":'  # of each line of the file


@dataclass(frozen=True)
class Trial:
    """A finished trial: its `values`, and its `loss`, the least of its epochs, or the `reason` for which it failed."""

    number: int
    values: Values
    loss: float | None
    epoch: int | None
    reason: str | None


@contextmanager
def claimed(folder: Path) -> Iterator[int]:
    """The file descriptor of the study's file in `folder`, which no other process can claim until the block ends, and until
    all processes have ended that inherited the descriptor. Raises ConfigError if another has, or if the folder holds
    anything but a sweep."""
    journal = folder / JOURNAL
    if folder.exists() and not journal.is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"out: {folder} exists and is not a sweep; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            claim = stack.enter_context(locked(journal, wait=False))
        except BlockingIOError as error:
            raise ConfigError(
                f"out: a sweep in {folder}, or a training that it started, is still running; wait for it or end it"
            ) from error
        yield claim


class Study:
    """The study in `folder`, which is claimed, of a sweep over `space` that is described by `plan`, a JSON value.

    Raises ConfigError if the folder holds the study of another plan, and FileError for a damaged file.
    """

    def __init__(self, folder: Path, space: Mapping[str, Swept], plan: Mapping[str, Any]) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space = space
        self.distributions = {path: _distribution(swept) for path, swept in space.items()}
        journal = folder.resolve() / JOURNAL
        _mend(journal)
        try:
            storage = JournalStorage(JournalFileBackend(str(journal)))
            names = set(optuna.get_all_study_names(storage))
            if names - {_NAME}:
                raise ConfigError(f"out: {folder / JOURNAL} holds another study, {min(names)}; name another folder")
            # Not load_if_exists, which writes that it wanted to create one.
            begin = optuna.load_study if names else optuna.create_study
            self._study = begin(study_name=_NAME, storage=storage)
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise FileError(f"{folder / JOURNAL}: damaged ({error}); restore it, or name another folder") from error
        plan = json.loads(json.dumps(plan))  # as read back: lists for tuples
        before = self._study.user_attrs.get(_PLAN)
        if before is None:
            self._study.set_user_attr(_VERSION, optuna.__version__)
            self._study.set_user_attr(_PLAN, plan)
            return
        before = {**{key: plan[key] for key in plan if key not in before}, **before}  # of versions that knew fewer keys
        changed = [f"{key} was {old!r} and is {new!r}" for key, old, new in differences(before, plan)]
        if changed:
            raise ConfigError(
                f"out: {folder} holds another sweep ({'; '.join(changed)}); name another folder, or repeat that command"
            )

    @property
    def notes(self) -> Iterator[str]:
        """A line if another version of Optuna began the study."""
        before = self._study.user_attrs[_VERSION]
        if before != optuna.__version__:
            yield f"optuna {before} began this study and {optuna.__version__} continues it: it may ask for other values"

    def ask(self, seed: int, first: Values) -> Values:
        """The values of the next trial, the same until `tell`; those of the very first are `first`."""
        number = len(self._study.trials)
        asked = self._study.user_attrs.get(_ASKED, {})
        if asked.get("number") == number:
            return dict(asked["values"])
        if number == 0:
            values = dict(first)
        else:
            copy = optuna.create_study(sampler=_sampler(seed, number))
            copy.add_trials(self._study.trials)
            values = {path: self._tidy(path, value) for path, value in copy.ask(self.distributions).params.items()}
        self._study.set_user_attr(_ASKED, {"number": number, "values": values})
        return values

    def tell(self, values: Values, result: tuple[float, int] | str) -> Trial:
        """Records the trial of the asked `values`: its loss and the epoch of that, or the reason for which it failed."""
        about = {"reason": result} if isinstance(result, str) else {"epoch": result[1]}
        self._study.add_trial(
            create_trial(
                state=TrialState.FAIL if isinstance(result, str) else TrialState.COMPLETE,
                value=None if isinstance(result, str) else result[0],
                params=dict(values),
                distributions=self.distributions,
                user_attrs=about,
            )
        )
        return self.trials[-1]

    @property
    def trials(self) -> Sequence[Trial]:
        """The finished trials in order."""
        return [
            Trial(
                trial.number, trial.params, trial.value, trial.user_attrs.get("epoch"), trial.user_attrs.get("reason")
            )
            for trial in self._study.trials
        ]

    def importances(self) -> Mapping[str, float] | None:
        """The share of each key in the variance of the loss over the space, the greatest first; they add up to 1. None
        with fewer than two different losses or values.

        Hutter et al. 2014, "An efficient approach for assessing hyperparameter importance" (fANOVA).
        """
        done = [trial for trial in self.trials if trial.loss is not None]
        if len({trial.loss for trial in done}) < 2 or all(trial.values == done[0].values for trial in done):
            return None
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {path: float(share) for path, share in shares.items()}

    def _tidy(self, path: str, value: Any) -> Any:
        swept = self.space[path]
        return on_grid(swept, value) if isinstance(swept, Range) else value


def _distribution(swept: Swept) -> BaseDistribution:
    if isinstance(swept, Choice):
        return CategoricalDistribution(swept.values)
    if isinstance(swept, Range) and swept.whole:
        return IntDistribution(int(swept.low), int(swept.high), log=swept.log, step=int(swept.step))
    return FloatDistribution(
        swept.low, swept.high, log=swept.log, step=swept.step if isinstance(swept, Range) else None
    )


def _sampler(seed: int, number: int) -> optuna.samplers.TPESampler:
    """Bergstra et al. 2011, "Algorithms for hyper-parameter optimization" (TPE), of all keys together."""
    word = int((Draws(seed, np.array([number])) / "sweep").words(1)[0, 0])
    with warnings.catch_warnings():  # Optuna 4 calls `multivariate` experimental; it is the default of 5
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=word, multivariate=True)


def _mend(journal: Path) -> None:
    """Removes what a process left that was killed while it wrote: half a line, and Optuna's lock, for which Optuna waits."""
    data = journal.read_bytes()
    if data[: len(_BEGINNING)] != _BEGINNING[: len(data)]:
        raise FileError(f"{journal}: is no study of Optuna; restore it, or name another folder with out=")
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(journal, whole)
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
