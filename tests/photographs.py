"""Stand-ins for photographs of printed pages, as scripts/bench_boards.py makes them."""

import importlib.util

from builders import ROOT

_spec = importlib.util.spec_from_file_location("bench_boards", ROOT / "scripts" / "bench_boards.py")
assert _spec is not None and _spec.loader is not None
_script = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_script)
DPI, printed, photograph, sensed = _script.DPI, _script.printed, _script.photograph, _script.sensed
