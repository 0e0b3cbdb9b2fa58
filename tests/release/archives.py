"""Build the archives of a release, install each in an empty environment, and run the tests there.

    python tests/release/archives.py [--only wheel|sdist] [PYTEST ARGUMENTS]

The tests are those that the source distribution holds, unpacked away from the checkout, so that
what an archive lacks is missed. Needs build and twine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    print("$", *command, flush=True)
    subprocess.run([str(word) for word in command], cwd=cwd, env=environment(), check=True)


def environment() -> dict[str, str]:
    """This process's, with the constraints, and without a folder that shadows what is installed."""
    constraints = str(ROOT / "constraints.txt")
    return os.environ | {"PIP_CONSTRAINT": constraints, "PYTHONSAFEPATH": "1"}


def built(folder: Path) -> tuple[Path, Path]:
    """The wheel, which is built from the source distribution, and that."""
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    return wheel, sdist


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["wheel", "sdist"])
    options, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wheel, sdist = built(folder / "dist")
        with tarfile.open(sdist) as file:
            file.extractall(folder, filter="data")
        unpacked = folder / sdist.name.removesuffix(".tar.gz")
        for name, archive in {"wheel": wheel, "sdist": sdist}.items():
            if options.only in (None, name):
                print(f"== {archive.name}", flush=True)
                venv.create(folder / name, with_pip=True)
                python = folder / name / "bin" / "python"
                run(python, "-m", "pip", "install", "--quiet", f"{archive}[tests]")
                run(python, "-m", "pytest", *arguments, cwd=unpacked)
    print("Both hold." if options.only is None else f"The {options.only} holds.")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} failed: exit status {error.returncode}")
