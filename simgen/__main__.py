"""`python -m simgen COMMAND key=value ...`: the command table."""

import sys
from typing import Any

from simgen.config import Command, main
from simgen.schema import Preview, Render


def _render(config: Any) -> None:
    from simgen.workers import render

    render(config)


def _preview(config: Any) -> None:
    from simgen.preview import preview

    preview(config)


COMMANDS = {
    "render": Command("write a dataset of labeled images", Render, _render, resumes=True),
    "preview": Command("draw a contact sheet of samples with their labels", Preview, _preview),
}

if __name__ == "__main__":
    sys.exit(main("simgen", COMMANDS))
