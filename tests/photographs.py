"""Stand-ins for photographs of printed pages, as scripts/bench_boards.py makes them."""

from builders import script_module

_script = script_module("bench_boards")
DPI, printed, photograph, sensed, looking = (
    getattr(_script, name) for name in ("DPI", "printed", "photograph", "sensed", "looking")
)
