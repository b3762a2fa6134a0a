"""The course of randomize=adr as a picture."""

import io
from pathlib import Path

import numpy as np

from simgen.files import write_file
from train.adr.growth import Growth


def draw_growth(path: Path, growth: Growth) -> None:
    """Writes a picture of how far each bound had moved in each epoch, in parts of the way to its widest range: a row for
    each bound, and on top the mean."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    fractions = np.array([[state[name] for state in growth.states] for name in growth.names])
    height = 2.5 + 0.13 * len(growth.names)
    figure, (top, rows) = pyplot.subplots(
        2, 1, figsize=(9, height), height_ratios=[1.6, height - 2.2], sharex=True, layout="constrained"
    )
    epochs = np.arange(fractions.shape[1])
    top.plot(epochs, fractions.mean(0), marker="o")
    top.set_ylim(0, 1)
    top.set_ylabel("mean")
    top.grid(alpha=0.3)
    image = rows.imshow(fractions, aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    rows.set_yticks(np.arange(len(growth.names)), growth.names, fontsize=5)
    rows.set_xlabel("epochs")
    figure.colorbar(image, ax=rows, label="fraction of the way from nominal to the widest range")
    image = io.BytesIO()
    figure.savefig(image, dpi=110)
    write_file(path, image.getvalue())
    pyplot.close(figure)
