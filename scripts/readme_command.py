"""Prints a command of the README: `first` (install, render, preview) or `test` (install, run the tests).

They are the fenced blocks that stand under `<!-- command: NAME -->`.
"""

import re
import sys
from pathlib import Path


def readme_command(name: str) -> str:
    """The text of the README's block `name`. Raises KeyError if there is none."""
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"<!-- command: (\w+) -->\n```bash\n(.*?)\n```", readme, flags=re.DOTALL))
    return blocks[name]


if __name__ == "__main__":
    print(readme_command(sys.argv[1]))
