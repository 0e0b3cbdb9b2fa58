"""Write the present versions of all methods into `bench/registry/moved.toml`.

Run it as `python tests/harness/refresh_moved.py` after a change of the methods' sources that leaves
every number as it is, bit for bit: moved modules, docstrings, names. Never after another change.
"""

from __future__ import annotations

import re
from pathlib import Path

from bench.registry import plugins


def refreshed(text: str) -> str:
    """Return the file's text with the present version on every right-hand side."""
    method = ""
    lines = []
    for line in text.splitlines():
        if found := re.fullmatch(r"\[(.+)\]", line):
            method = found[1]
        if method and re.match(r"\w+ = ", line):
            former = line.partition(" = ")[0]
            line = f'{former} = "{plugins.version(plugins.methods()[method])}"'
        lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    path = Path(plugins.__file__).parent / "moved.toml"
    path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")
