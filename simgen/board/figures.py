"""Pictures of a calibration, and the window in which corners are clicked."""

import io

import numpy as np

from simgen.board.calibrate import Calibration
from simgen.errors import ConfigError
from simgen.geometry import Array
from simgen.pictures import Image

_LONGER = 40  # times: how much larger arrows are than the distances that they stand for
_MARKED = 4  # corners that are clicked


def calibration_figure(found: Calibration) -> bytes:
    """PNG: every corner of all photographs with an arrow along which it is off, and the error of each photograph."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    camera = found.camera
    assert camera.width is not None and camera.height is not None
    figure = Figure(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(figure)
    seen, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    rows, columns = found.covered.shape
    seen.pcolormesh(
        np.linspace(-0.5, camera.width - 0.5, columns + 1), np.linspace(-0.5, camera.height - 0.5, rows + 1),
        ~found.covered, cmap="Oranges", vmin=0, vmax=3,
    )  # fmt: skip
    for view, residuals in zip(found.views, found.residuals, strict=True):
        pixels = np.concatenate([page.pixels for page in view.sightings])
        seen.quiver(
            *pixels.T, *(_LONGER * residuals).T, angles="xy", scale_units="xy", scale=1, width=0.002, color="tab:blue"
        )
        seen.plot(*pixels.T, ".", markersize=2, color="black")
    seen.set(
        xlim=(-0.5, camera.width - 0.5), ylim=(camera.height - 0.5, -0.5), aspect="equal", xlabel="u [px]", ylabel="v [px]",
        title=f"corners, arrows {_LONGER} times as long as they are off;\nin orange parts there are none",
    )  # fmt: skip
    names = [view.name for view in found.views]
    bars.barh(names, found.errors, color="tab:blue")
    bars.axvline(found.error, color="black", linewidth=1)
    bars.invert_yaxis()
    bars.set(
        xlabel="root mean square distance [px]",
        title=f"error of each photograph; the line is that of all, {found.error:.3f} px",
    )
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()


def clicked_corners(picture: Image) -> Array:
    """(4, 2) px: the corners that the user clicks in a window that shows `picture`. Raises ConfigError without a screen."""
    import matplotlib.pyplot as plt

    try:
        figure = plt.figure(figsize=(12, 9))
        if figure.canvas.required_interactive_framework is None:  # a backend without windows, which would wait forever
            raise NotImplementedError
        axes = figure.add_subplot()
        axes.imshow(picture)
        axes.set_title("click the four corners of the table's top, in order around it; a right click takes one back")
        points = plt.ginput(_MARKED, timeout=0, show_clicks=True)
    except NotImplementedError as error:
        raise ConfigError(
            "corners: click needs a screen, and matplotlib a window system (pip install PyQt6); or give corners=[[u,v],...]"
        ) from error
    finally:
        plt.close("all")
    if len(points) != _MARKED:
        raise ConfigError(f"corners: {len(points)} were clicked; expected {_MARKED}")
    return np.array(points, dtype=np.float64)
