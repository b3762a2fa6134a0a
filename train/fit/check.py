"""`python -m train doctor` for model=keypoints: pre-flight checks of a training run.

Four checks: one step; overfit one batch; a toy scene; the real configuration for a short time. Each uses the training's own
model, loss and data, and writes pictures to inspect. A failed check suggests what to try.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count, repeat
from pathlib import Path

import numpy as np
import torch

from simgen.config import compose
from simgen.errors import ConfigError, SimgenError
from simgen.geometry import Array, inverse
from train.blocks.kinds import BlockSet
from train.config import DoctorConfig, StreamConfig, TrainConfig, TrainerConfig
from train.data.batch import Batch, pictures_of, views_of
from train.data.sources import Sources, sources_of
from train.data.stream import HELD_OUT, Stream
from train.detect.detector import Detector
from train.detect.drawing import draw_detections
from train.draw.overlay import draw_targets
from train.draw.sheets import draw_curves, is_ours, sheet, write_png
from train.fit.step import Losses, losses_of
from train.fit.symptoms import UNLIKE, dead_parts, exploded, unlikeness, unsupported
from train.fit.training import new_net, numbers_of, optimizer_of
from train.nets.detection_net import KeypointNet
from train.nets.truth import detectable
from train.runs.trainer import device_of, rate

STEPS = 150  # at most, of the overfitted batch and of the toy scene
# To which one batch is learned: the mean keypoint error in sides of the window, and the loss of the heat map.
OVERFIT_MISS, OVERFIT_HEAT = 0.02, 0.2
TOY_SHARE = 0.8  # of the toy's held-out blocks that must be detected within TOY_CM
TOY_CM = 1.0
TOY_SIZE = (160, 120)
# A very easy scene: one red cube at any place in front of a fixed camera.
TOY = [
    "randomize=none",
    "randomize.blocks.slots=1",
    "randomize.blocks.model=cube",
    "randomize.blocks.place=[uniform,[-0.1,-0.1],[0.1,0.1]]",
    "randomize.blocks.yaw_deg=[uniform,-40,40]",
    "randomize.distractors.slots=0",
    "randomize.camera.distance=0.5",
    "randomize.camera.elevation_deg=45",
]
GAIN = 0.8  # a held-out error above this share of the baseline's counts as nothing learned
SHOWN = 6  # pictures
PICTURES = ("batch.png", "overfit.png", "toy.png", "toy_detections.png", "real.png", "real_detections.png")
FEW = 0.1  # share of labels without support in the pixels that is normal where colors are random
_TABLE = "crops.plane."  # the layers that process the table's plane
_ENDS = 10  # steps at each end of the last check whose losses are compared


@dataclass(frozen=True)
class Trace:
    """Values at each of N steps: loss, loss of the heat map, mean keypoint error in sides of the window (0 if no block is
    visible), norm of the gradients."""

    loss: Array
    heat: Array
    miss: Array
    norm: Array


@dataclass(frozen=True)
class Trial:
    """A new network in training on `device`."""

    config: DoctorConfig
    net: KeypointNet
    blocks: BlockSet
    device: torch.device

    @staticmethod
    def of(config: DoctorConfig, blocks: BlockSet, *, sides: bool) -> "Trial":
        torch.manual_seed(config.seed)
        device = device_of(config.accelerator)
        net = new_net(config.model, blocks, sides=sides)
        return Trial(config, net.to(device), blocks.to(device), device)

    def learn(self, batches: Iterable[Batch], steps: int, enough: Callable[[Losses], bool] = lambda _: False) -> Trace:
        """Trains for at most `steps` steps on `batches`, until `enough`. Raises SimgenError for a non-finite loss."""
        optimizer = optimizer_of(self.net, self.config.model)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps))
        rows = []
        for step, batch in zip(range(steps), batches, strict=False):
            losses = losses_of(self.net, batch.to(self.device), self.blocks)
            if not bool(torch.isfinite(losses.total)):
                raise SimgenError(f"the loss is {float(losses.total.detach())} at step {step}; try a smaller model.lr")
            optimizer.zero_grad()
            losses.total.backward()  # type: ignore[no-untyped-call]
            numbers = numbers_of(losses)
            norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.model.clip)
            rows.append([*(float(numbers[name]) for name in ("loss", "heat", "miss")), float(norm)])
            if enough(losses):
                break
            optimizer.step()
            schedule.step()
        return Trace(*np.array(rows).T)

    def detector(self) -> Detector:
        return Detector(self.net.eval(), self.blocks.to(torch.device("cpu")))


def doctor(config: DoctorConfig) -> None:
    """Prints a line for each check, and warnings; writes pictures into `config.out`.

    Raises SimgenError, with what to try, at the first check that fails.
    """
    out = Path(config.out)
    for name in PICTURES:
        if (out / name).exists() and not is_ours(out / name):
            raise ConfigError(
                f"out: {out / name} exists, and is not known to be doctor's; delete it, or name another folder"
            )
    out.mkdir(parents=True, exist_ok=True)
    trainer = TrainerConfig(epochs=1, batch_size=config.batch_size, accelerator=config.accelerator)
    whole = TrainConfig(
        model=config.model,
        data=config.data,
        trainer=trainer,
        seed=config.seed,
        out=config.out,
        randomize=config.randomize,
    )
    try:
        sources = sources_of(whole)
    except SimgenError as error:  # doctor has a key of its own
        raise type(error)(str(error).replace("trainer.batch_size", "batch_size")) from error
    batch = sources.training[0]
    warnings = [
        *_check("1 of 4, one step", lambda: _one_step(config, sources, batch, out)),
        *_check("2 of 4, overfit one batch", lambda: _overfit(config, sources, batch, out)),
        *_check("3 of 4, a toy scene", lambda: _toy(config, out)),
        *_check("4 of 4, the real configuration for a short time", lambda: _real(config, sources, out)),
    ]
    print(f"doctor: pass, {len(warnings)} warnings; look at the pictures in {out}")


def _check(name: str, run: Callable[[], tuple[str, list[str]]]) -> list[str]:
    try:
        result, warnings = run()
    except SimgenError as error:
        raise SimgenError(f"doctor: check {name}: fail: {error}") from error
    print(f"check {name}: pass: {result}", flush=True)
    for warning in warnings:
        print(f"  WARNING: {warning}", flush=True)
    return warnings


def _one_step(config: DoctorConfig, sources: Sources, batch: Batch, out: Path) -> tuple[str, list[str]]:
    images, targets = batch.images, batch.targets
    drawn = [draw_targets(images, targets, row, sources.blocks) for row in range(min(SHOWN, len(targets)))]
    write_png(out / "batch.png", sheet(drawn))
    blocks = detectable(targets)
    if not bool(blocks.any()):
        raise SimgenError(f"no block is visible in {len(targets)} pictures; look at {out / 'batch.png'}")
    trial = Trial.of(config, sources.blocks, sides=sources.sides)
    blind = bool(targets.camera_from_world.isnan().any((1, 2)).all())
    # Where no table is known, its description is 0, and the weights that process it learn nothing.
    used = {
        name: weight
        for name, weight in trial.net.named_parameters()
        if weight.requires_grad and not (blind and name.startswith(_TABLE))
    }
    before = [weight.detach().clone() for weight in used.values()]
    trace = trial.learn([batch], 1)
    dead = [name for name in dead_parts(trial.net) if name in used]
    if dead:
        raise SimgenError(f"no gradient reaches {', '.join(dead)}; the network is cut there, or its units are dead")
    still = sum(bool(torch.equal(old, new)) for old, new in zip(before, used.values(), strict=True))
    if still:
        raise SimgenError(f"{still} of {len(before)} weights did not move; is model.lr={config.model.lr:g} right?")
    warnings = []
    unseen = unsupported(images, targets, blocks)
    if len(unseen) > FEW * int(blocks.sum()):
        where = ", ".join(f"picture {picture} slot {slot}" for picture, slot in unseen[:5])
        labels = f"{len(unseen)} of {int(blocks.sum())} labels ({where})"
        warnings.append(f"no pixel supports {labels}; look at {out / 'batch.png'}")
    held_out = sources.held_out[0].images
    if len(held_out) < 2:
        warnings.append("one held-out picture is too few to compare with those of training; raise data.validation")
    elif (far := unlikeness(images, held_out)) > UNLIKE:
        warnings.append(
            f"pictures of training and of validation differ in brightness or contrast by {far:.1f} standard errors"
        )
    return f"loss {trace.loss[0]:.2f}, gradient {trace.norm[0]:.2f}, all {len(before)} weights move", warnings


def _overfit(config: DoctorConfig, sources: Sources, batch: Batch, out: Path) -> tuple[str, list[str]]:
    def learned(losses: Losses) -> bool:
        return float(losses.crops.miss) < OVERFIT_MISS and float(losses.detection.heat.detach()) < OVERFIT_HEAT

    trace = Trial.of(config, sources.blocks, sides=sources.sides).learn(repeat(batch), config.steps or STEPS, learned)
    _draw(trace, out / "overfit.png")
    miss, heat = 100 * trace.miss[-1], trace.heat[-1]
    if not (miss < 100 * OVERFIT_MISS and heat < OVERFIT_HEAT):
        raise SimgenError(
            f"after {len(trace.loss)} steps on one batch the keypoints are {miss:.2f}% of a window off (limit "
            f"{100 * OVERFIT_MISS:g}%), the heat map's loss is {heat:.2f} (limit {OVERFIT_HEAT:g}); try more steps or "
            f"another model.lr than {config.model.lr:g}; and look at {out / 'batch.png'}: do labels and pictures match?"
        )
    return f"{miss:.2f}% of a window after {len(trace.loss)} steps on {len(batch.targets)} pictures", _of_gradients(
        trace
    )


def _toy(config: DoctorConfig, out: Path) -> tuple[str, list[str]]:
    width, height = TOY_SIZE
    data = StreamConfig(scenes=["tabletop"], width=width, height=height)
    if isinstance(config.data, StreamConfig):
        data = replace(config.data, scenes=data.scenes, width=width, height=height)
    toy = compose("doctor", DoctorConfig, TOY).randomize
    stream = Stream(data, toy, config.seed, config.batch_size)
    trial = Trial.of(config, stream.blocks, sides=True)
    trace = trial.learn(map(stream.__getitem__, count()), config.steps or STEPS)
    _draw(trace, out / "toy.png")
    held_out = Stream(data, toy, config.seed + HELD_OUT, config.batch_size)[0]
    errors, baseline = _errors_on(trial, held_out, stream.each, out / "toy_detections.png")
    share = float(np.mean(errors < TOY_CM))
    if share < TOY_SHARE:
        raise SimgenError(
            f"after {len(trace.loss)} steps {100 * share:.0f}% of cubes in front of a fixed camera are detected within "
            f"{TOY_CM:g} cm (limit {100 * TOY_SHARE:.0f}%; always predicting the mean place is {baseline:.1f} cm off); look "
            "at toy.png and toy_detections.png; try more steps or another model.lr"
        )
    done = f"{100 * share:.0f}% of held-out cubes within {TOY_CM:g} cm, after {len(trace.loss)} steps"
    return done, _of_gradients(trace)


def _real(config: DoctorConfig, sources: Sources, out: Path) -> tuple[str, list[str]]:
    trial = Trial.of(config, sources.blocks, sides=sources.sides)
    trace = trial.learn(map(sources.training.__getitem__, count()), config.short)
    _draw(trace, out / "real.png")
    first, last = float(np.mean(trace.loss[:_ENDS])), float(np.mean(trace.loss[-_ENDS:]))
    if last > 0.9 * first:
        raise SimgenError(
            f"the loss went from {first:.2f} to {last:.2f} in {len(trace.loss)} steps; look at real.png; try another "
            "model.lr, or fewer factors (randomize=none, then one group after another)"
        )
    warnings = _of_gradients(trace)
    errors, baseline = _errors_on(trial, sources.held_out[0], sources.per_scene, out / "real_detections.png")
    median = float(np.median(errors))
    median_shown = f"{median:.1f} cm" if np.isfinite(median) else "infinite (most blocks are not detected)"
    if median > GAIN * baseline:
        warnings.append(
            f"the median error of held-out blocks is {median_shown}; always predicting the mean place gives "
            f"{baseline:.1f} cm: nothing is learned yet"
        )
    return f"loss {first:.2f} to {last:.2f}, held-out error {median_shown} (mean place: {baseline:.1f} cm)", warnings


def _draw(trace: Trace, path: Path) -> None:
    write_png(path, draw_curves({"loss": trace.loss, "keypoint error (% of a window)": 100 * trace.miss}))


def _of_gradients(trace: Trace) -> list[str]:
    step = exploded(trace.norm)
    if step is None:
        return []
    return [f"the gradient's norm is {trace.norm[step]:.3g} at step {step}; its median is {np.median(trace.norm):.3g}"]


def _errors_on(trial: Trial, batch: Batch, per_scene: int, picture: Path) -> tuple[Array, float]:
    """The distance along the table, in cm, from each labeled block of the held-out `batch` to the nearest detection
    (infinite without), and the mean error of always predicting the scene's mean place. Without a known table both are in
    space, in the camera's frame. Each `per_scene` pictures are of one scene. The detections are drawn into `picture`."""
    targets = batch.targets
    detector = trial.detector()
    pictures = pictures_of(batch)
    views = views_of(targets, batch.tables)
    detected = detector.find(pictures, views)
    shown = [draw_detections(*one) for one in list(zip(pictures, detected, views, strict=True))[:SHOWN]]
    write_png(picture, sheet(shown))
    errors, distances = [], []
    places: dict[tuple[int, int], list[Array]] = {}  # by scene: their tables may be elsewhere
    for row, (detections, view) in enumerate(zip(detected, views, strict=True)):
        pose = view.camera_from_table
        frame, axes = (np.eye(4), 3) if pose is None else (inverse(pose), 2)
        predicted = [(frame @ one.pose.camera_from_block)[:axes, 3] for one in detections]
        for slot in (detectable(targets)[row] & targets.labelled[row]).nonzero()[:, 0].tolist():
            true = (frame @ targets.camera_from_block[row, slot].double().cpu().numpy())[:axes, 3]
            places.setdefault((row // per_scene, axes), []).append(true)
            errors.append(100 * min((float(np.linalg.norm(place - true)) for place in predicted), default=np.inf))
    if not places:
        raise SimgenError(f"no labeled block is visible in the {len(targets)} held-out pictures; look at {picture}")
    for spots in places.values():
        distances += [100 * float(np.linalg.norm(spot - np.mean(spots, axis=0))) for spot in spots]
    return np.array(errors), float(np.mean(distances))
