"""The keys of scripts/bench_transfer.py, and what its scales mean."""

from dataclasses import dataclass

from simgen.command.keys import MISSING, key

STUDIES = ("tobin2017", "presets", "renderers", "seeds")
EXECUTORS = ("local", "ray")


@dataclass(frozen=True)
class Scale:
    """How much is computed: `pictures` of width x height px, of a real camera's aspect ratio, and `epochs` of each training;
    the size `network` that position models resize them to, width and height px; `steps` of a training of the detector, the
    `tests` pictures of each simulated column, the `seeds`, the `models`; the arms with a limited number of `counts` of
    pictures, `materials` and `layouts`; the `workers`, processes that render; and the `gpus` of a training."""

    width: int
    height: int
    network: tuple[int, int]
    pictures: int
    epochs: int
    steps: int
    tests: int
    seeds: tuple[int, ...]
    models: tuple[str, ...]
    counts: tuple[int, ...]
    materials: tuple[int, ...]
    layouts: tuple[int, ...]
    workers: int
    gpus: int = 0


SCALES = {
    "smoke": Scale(64, 48, (64, 48), 96, 2, 2, 24, (0, 1), ("tobin_small",), (48,), (2,), (2,), 1),
    "cpu": Scale(
        224,
        168,
        (224, 168),
        4000,
        12,
        1000,
        300,
        (0, 1, 2),
        ("tobin_small",),
        (500, 1000, 2000),
        (1, 10, 100, 1000),
        (1, 10, 100, 1000),
        2,
    ),
    "gpu": Scale(
        320,
        240,
        (224, 224),
        50_000,
        20,
        2000,
        1000,
        (0, 1, 2),
        ("tobin_vgg", "keypoints"),
        (1000, 5000, 10_000, 25_000),
        (1, 10, 100, 1000, 10_000),
        (1, 10, 100, 1000, 10_000),
        8,
        1,
    ),
}


@dataclass
class TransferConfig:
    study: str = key(
        "what is compared. tobin2017: the paper's ablations, numbers of pictures, materials and layouts, weights of "
        "ImageNet; presets: those of conf/randomize/; renderers: tiny and raycast at equal numbers and times; seeds: one "
        "training, `train`, with several seeds",
        MISSING,
        choices=STUDIES,
    )
    scale: str = key(
        "how much is computed: smoke, minutes, shows that it works and nothing else; cpu, hours; gpu, the paper's numbers",
        "cpu",
        choices=tuple(SCALES),
    )
    models: list[str] | None = key(
        "models that are trained: tobin_small, tobin_vgg, keypoints; null: those of the scale", None
    )
    seeds: list[int] | None = key("seeds of each arm; null: those of the scale", None)
    arms: list[str] | None = key("arms that are trained; null: all of the study", None)
    train: list[str] = key("keys of the training", list, needs="study=seeds")
    kuka_table: str | None = key("dataset of real photographs made by scripts/import_kuka_table.py; null: none", None)
    printed_box: list[str] = key("BOP datasets of photographs of the tea box with its plane as table", list)
    part: str = key("the K-th of N parts of the cells, K/N, for several machines that share `out`", "1/1")
    executor: str = key(
        "local: the cells one after another in this process; ray: each is a task of the Ray cluster, with `out` on a folder "
        "that all nodes share",
        "local",
        choices=EXECUTORS,
    )
    keep: bool = key("whether the rendered training pictures of finished cells of position models are kept", False)
    out: str = key("output folder, for one study at one scale; the same command resumes it", "")
