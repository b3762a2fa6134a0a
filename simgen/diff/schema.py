"""The configuration of `python -m simgen diff`."""

from dataclasses import dataclass

from simgen.command.keys import MISSING, key


@dataclass
class DiffConfig:
    a: str = key(
        "folder of a dataset; a .yaml file of settings of `render`; or such settings: a='randomize=full seed=1'",
        MISSING,
    )
    b: str = key("what `a` is compared with, in any of the same forms", MISSING)
    split: str | None = key("split of the datasets, such as train; null: the only one", None)
    num: int = key(
        "samples of a configuration: scenes, without pictures unless render=true; those of the dataset that it is compared "
        "with, of which at most `num` are compared",
        200,
    )
    render: bool = key("render the samples of configurations, to compare their labels and pixels, too", False)
    significance: float = key(
        "a factor's distribution differs if its p value, times the number of factors, is below this", 0.01
    )
    picture: str = key("file of the pictures that differ most: A, B and the amplified difference, .png", "diff.png")
    show: int = key("number of pairs in it, at most 50", 6)
    out: str | None = key("file of all differences as JSON; null: none", None)
