"""`python -m train doctor`: a ladder to climb before any long run, and what to try where a rung breaks.

One step; one batch by heart; a toy scene; then the real configuration for a short while. Each rung takes the training's own
model, loss and stream, and each shows pictures: many mistakes can only be seen.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count, repeat
from pathlib import Path

import numpy as np
import torch

from simgen.config import compose
from simgen.errors import SimgenError
from simgen.geometry import Array, inverse
from simgen.schema import Randomize
from train.blocks.kinds import BlockSet
from train.config import DoctorConfig, StreamConfig
from train.data.batch import Batch, views_of
from train.data.stream import HELD_OUT, Stream
from train.detect.detector import Detector
from train.detect.drawing import draw_detections
from train.draw.overlay import draw_targets
from train.draw.sheets import draw_curves, sheet, write_png
from train.fit.symptoms import UNLIKE, dead_parts, exploded, gradient_norm, unlikeness, unsupported
from train.fit.training import losses_of
from train.nets.detection_net import KeypointNet, make_net
from train.nets.losses import Losses, findable
from train.runs.trainer import device_of, rate

BY_HEART_PX, BY_HEART_HEAT = 1.0, 0.2  # what one batch is learnt to: the keypoints' mean miss, and the heat's loss
TOY_SHARE = 0.8  # of the toy's held-out blocks that must be found within TOY_CM
TOY_CM = 1.0
TOY_SIZE = (128, 96)
# The easiest scene there is: one red cube, anywhere before a camera that stands still.
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
GAIN = 0.8  # times the centre's error: what is not below it has learnt nothing worth the name
SHOWN = 6  # pictures
FEW = 0.1  # share of labels that no pixel may speak for, where colours are random
_CALM = 10  # steps, at each end of the real rung, whose losses are compared


@dataclass(frozen=True)
class Trace:
    """What was noted at each of N steps: loss, heat's loss, the keypoints' mean miss in px, the gradients' norm."""

    loss: Array
    heat: Array
    miss_px: Array
    norm: Array


@dataclass(frozen=True)
class Patient:
    """A network in training, with what it learns by."""

    config: DoctorConfig
    net: KeypointNet
    blocks: BlockSet
    device: torch.device

    @staticmethod
    def of(config: DoctorConfig, blocks: BlockSet) -> "Patient":
        torch.manual_seed(config.seed)
        device = device_of(config.accelerator)
        return Patient(config, make_net(config.model, blocks).to(device), blocks.to(device), device)

    def learn(self, batches: Iterable[Batch], steps: int, enough: Callable[[Losses], bool] = lambda _: False) -> Trace:
        """Up to `steps` steps on `batches`, until `enough` says so. Raises SimgenError for what is not finite."""
        model = self.config.model
        optimizer = torch.optim.AdamW(self.net.parameters(), model.lr, weight_decay=model.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps))
        rows = []
        for step, batch in zip(range(steps), batches, strict=False):
            losses = losses_of(self.net, batch.to(self.device), self.blocks, model)
            if not bool(torch.isfinite(losses.total)):
                raise SimgenError(f"the loss is {float(losses.total.detach())} at step {step}; try a smaller model.lr")
            optimizer.zero_grad()
            losses.total.backward()  # type: ignore[no-untyped-call]
            numbers = (losses.total, losses.heat, losses.miss_px)
            rows.append([*(float(number.detach()) for number in numbers), gradient_norm(self.net)])
            if enough(losses):
                break
            optimizer.step()
            schedule.step()
        return Trace(*np.array(rows).T)

    def detector(self, width: int, height: int) -> Detector:
        return Detector(self.net.eval(), self.blocks.to(torch.device("cpu")), width, height)


def doctor(config: DoctorConfig) -> None:
    """Prints a line for each rung, and warnings; leaves pictures in `config.out`.

    Raises SimgenError, with what to try, at the first rung that breaks.
    """
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    stream = Stream(config.data, config.randomize, config.seed, config.batch_size)
    batch, held_out = stream[0], _held_out_of(config, config.data, config.randomize)
    warnings = [
        *_rung("1 of 4, one step", lambda: _one_step(config, stream, batch, held_out, out)),
        *_rung("2 of 4, one batch by heart", lambda: _by_heart(config, stream, batch, out)),
        *_rung("3 of 4, a toy scene", lambda: _toy(config, out)),
        *_rung("4 of 4, the real thing for a short while", lambda: _real(config, stream, held_out, out)),
    ]
    print(f"doctor: pass, {len(warnings)} warnings; look at the pictures in {out}")


def _rung(name: str, climb: Callable[[], tuple[str, list[str]]]) -> list[str]:
    try:
        found, warnings = climb()
    except SimgenError as error:
        raise SimgenError(f"doctor: rung {name}: fail: {error}") from error
    print(f"rung {name}: pass: {found}", flush=True)
    for warning in warnings:
        print(f"  WARNING: {warning}", flush=True)
    return warnings


def _one_step(config: DoctorConfig, stream: Stream, batch: Batch, held_out: Batch, out: Path) -> tuple[str, list[str]]:
    drawn = [
        draw_targets(batch.images, batch.targets, row, stream.blocks) for row in range(min(SHOWN, len(batch.targets)))
    ]
    write_png(out / "batch.png", sheet(drawn))
    asked = findable(batch.targets)
    if not bool(asked.any()):
        raise SimgenError(f"no block is seen in {len(batch.targets)} pictures; look at {out / 'batch.png'}")
    patient = Patient.of(config, stream.blocks)
    before = [weight.detach().clone() for weight in patient.net.parameters()]
    trace = patient.learn([batch], 1)
    dead = dead_parts(patient.net)
    if dead:
        raise SimgenError(f"no gradient reaches {', '.join(dead)}; the network is cut there, or its units are dead")
    still = sum(bool(torch.equal(old, new)) for old, new in zip(before, patient.net.parameters(), strict=True))
    if still:
        raise SimgenError(f"{still} of {len(before)} weights did not move; is model.lr={config.model.lr:g} right?")
    warnings = []
    blind = unsupported(batch.images, batch.targets, asked)
    if len(blind) > FEW * int(asked.sum()):
        where = ", ".join(f"picture {picture} slot {slot}" for picture, slot in blind[:5])
        warnings.append(f"no pixel supports {len(blind)} of {int(asked.sum())} labels ({where}); look at batch.png")
    if (far := unlikeness(batch.images, held_out.images)) > UNLIKE:
        warnings.append(
            f"pictures of training and of validation differ in brightness or contrast by {far:.1f} standard errors"
        )
    return f"loss {trace.loss[0]:.2f}, gradient {trace.norm[0]:.2f}, all {len(before)} weights move", warnings


def _by_heart(config: DoctorConfig, stream: Stream, batch: Batch, out: Path) -> tuple[str, list[str]]:
    patient = Patient.of(config, stream.blocks)

    def known(losses: Losses) -> bool:
        return float(losses.miss_px) < BY_HEART_PX and float(losses.heat.detach()) < BY_HEART_HEAT

    trace = patient.learn(repeat(batch), config.steps, known)
    write_png(out / "by_heart.png", draw_curves({"loss": trace.loss, "keypoints' miss (px)": trace.miss_px}))
    miss, heat = trace.miss_px[-1], trace.heat[-1]
    if not (miss < BY_HEART_PX and heat < BY_HEART_HEAT):
        raise SimgenError(
            f"after {len(trace.loss)} steps on one batch the keypoints are {miss:.2f} px off (wanted {BY_HEART_PX:g}), the "
            f"heat loss is {heat:.2f} (wanted {BY_HEART_HEAT:g}); do labels and pictures belong together (batch.png)? Then "
            f"try another model.lr than {config.model.lr:g}, a larger model, or more steps"
        )
    return f"{miss:.2f} px after {len(trace.loss)} steps on {len(batch.targets)} pictures", _of_gradients(trace)


def _toy(config: DoctorConfig, out: Path) -> tuple[str, list[str]]:
    data = replace(config.data, scenes=["tabletop"], width=TOY_SIZE[0], height=TOY_SIZE[1])
    toy = compose("doctor", DoctorConfig, TOY).randomize
    stream = Stream(data, toy, config.seed, config.batch_size)
    patient = Patient.of(config, stream.blocks)
    trace = patient.learn(map(stream.__getitem__, count()), config.steps)
    write_png(out / "toy.png", draw_curves({"loss": trace.loss, "keypoints' miss (px)": trace.miss_px}))
    errors, centre = _judge(patient, _held_out_of(config, data, toy), stream.each, out / "toy_finds.png")
    share = float(np.mean(errors < TOY_CM))
    if share < TOY_SHARE:
        raise SimgenError(
            f"after {len(trace.loss)} steps {100 * share:.0f}% of cubes before a still camera are found within {TOY_CM:g} "
            f"cm (wanted {100 * TOY_SHARE:.0f}%; always the mean place would be {centre:.1f} cm off); look at toy.png and "
            "toy_finds.png; try more steps or another model.lr"
        )
    return f"{100 * share:.0f}% of held-out cubes within {TOY_CM:g} cm, after {len(trace.loss)} steps", _of_gradients(
        trace
    )


def _real(config: DoctorConfig, stream: Stream, held_out: Batch, out: Path) -> tuple[str, list[str]]:
    patient = Patient.of(config, stream.blocks)
    trace = patient.learn(map(stream.__getitem__, count()), config.short)
    write_png(out / "real.png", draw_curves({"loss": trace.loss, "keypoints' miss (px)": trace.miss_px}))
    first, last = float(np.mean(trace.loss[:_CALM])), float(np.mean(trace.loss[-_CALM:]))
    if last > 0.9 * first:
        raise SimgenError(
            f"the loss went from {first:.2f} to {last:.2f} in {len(trace.loss)} steps; look at real.png; try another "
            "model.lr, or fewer factors (randomize=none, then one group after another)"
        )
    warnings = _of_gradients(trace)
    errors, centre = _judge(patient, held_out, stream.each, out / "real_finds.png")
    median = float(np.median(errors))
    if median > GAIN * centre:
        warnings.append(
            f"held-out blocks are {median:.1f} cm off in the median, always the mean place {centre:.1f} cm: nothing is "
            "learnt yet"
        )
    return f"loss {first:.2f} to {last:.2f}, held-out {median:.1f} cm (always the mean place {centre:.1f} cm)", warnings


def _of_gradients(trace: Trace) -> list[str]:
    step = exploded(trace.norm)
    if step is None:
        return []
    return [f"the gradient's norm is {trace.norm[step]:.3g} at step {step}, {np.median(trace.norm):.3g} in the median"]


def _held_out_of(config: DoctorConfig, data: StreamConfig, randomize: Randomize) -> Batch:
    return Stream(data, randomize, config.seed + HELD_OUT, config.batch_size)[0]


def _judge(patient: Patient, batch: Batch, each: int, picture: Path) -> tuple[Array, float]:
    """The errors along the table, in cm, of the nearest find to each labelled block of the held-out `batch` (infinite
    without), of which each `each` pictures are of one scene, and the mean error of always saying their scene's mean place.
    Draws the finds into the file `picture`."""
    targets = batch.targets
    detector = patient.detector(batch.images.shape[3], batch.images.shape[2])
    pictures = [np.ascontiguousarray(image) for image in batch.images.permute(0, 2, 3, 1).cpu().numpy()]
    views = views_of(targets, batch.tables)
    all_finds = detector.find(pictures, views)
    shown = [draw_detections(*one) for one in list(zip(pictures, all_finds, views, strict=True))[:SHOWN]]
    write_png(picture, sheet(shown))
    errors, distances = [], []
    places: dict[int, list[Array]] = {}  # by scene: their tables may be elsewhere
    for row, (finds, view) in enumerate(zip(all_finds, views, strict=True)):
        table_from_camera = inverse(view.camera_from_table)  # type: ignore[arg-type]
        said = [(table_from_camera @ found.pose.camera_from_block)[:2, 3] for found in finds]
        for slot in (findable(targets)[row] & targets.labelled[row]).nonzero()[:, 0].tolist():
            true = (table_from_camera @ targets.camera_from_block[row, slot].double().cpu().numpy())[:2, 3]
            places.setdefault(row // each, []).append(true)
            errors.append(100 * min((float(np.linalg.norm(place - true)) for place in said), default=np.inf))
    if not places:
        raise SimgenError(f"no block is to be found in the {len(targets)} held-out pictures; look at {picture}")
    for spots in places.values():
        distances += [100 * float(np.linalg.norm(spot - np.mean(spots, axis=0))) for spot in spots]
    return np.array(errors), float(np.mean(distances))
