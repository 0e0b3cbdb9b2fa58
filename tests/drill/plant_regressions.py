"""Planted regressions: `bench check` must pass a clean tree twice, and name each culprit.

Each regression is planted in a copy of the sources, never in the tree itself, and checked on the
cells that it touches against the baseline under results/ (or, with --own-baseline, against one that
the clean copy makes first, on the cells that the drill touches).

    python tests/drill/plant_regressions.py [--own-baseline] [--rule seeds] [--jobs N] [NAME]...
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: folder of the tree -> the package that it is installed as
PACKAGES = {
    "bench": "bench",
    "methods": "bench_methods",
    "datasets": "bench_datasets",
    "results": "bench_results",
}


@dataclass(frozen=True)
class Plant:
    """A regression: what is replaced in a file, by what, and what the check must say of it.

    Attributes:
        file: from the tree's root.
        old: occurs in it once.
        new: is put in its place.
        cells: the options of `bench check` that name the cells to check.
        says: what has to stand in its output.
    """

    file: str
    old: str
    new: str
    cells: tuple[str, ...]
    says: tuple[str, ...]


_TOY = ("-m", "flow-matching", "-d", "moons")

PLANTS = {
    # The closed form alone: the judge holds it against differentiation.
    "divergence": Plant(
        "bench/numerics/divergence.py",
        "    return (slope2 @ (w2 * (w1 @ w3).T) * slope1).sum(-1)\n",
        "    return -(slope2 @ (w2 * (w1 @ w3).T) * slope1).sum(-1)\n",
        _TOY,
        ("worse", "flow-matching on moons", "divergence"),
    ),
    # The judge's own, which nothing contradicts but the integral of the density.
    "judges-divergence": Plant(
        "bench/evaluation/flow.py",
        "f.with_divergence(t, state[0]),",
        "(lambda v, div: (v, -div))(*f.with_divergence(t, state[0])),",
        _TOY,
        ("worse", "flow-matching on moons", "integral error"),
    ),
    "learning-rate": Plant(
        "methods/flow_matching.toml",
        "scale = 3.0\nlearning_rate = 5e-3\n",
        "scale = 3.0\nlearning_rate = 5e-2\n",
        _TOY,
        ("worse", "flow-matching on moons", "NLL", "learning_rate 0.05, not 0.005"),
    ),
    "half-the-minibatches": Plant(
        "methods/flow_matching.py",
        "            update(self.optimizer, loss, rate, self.config.clip)\n",
        "            self.seen = getattr(self, 'seen', 0) + 1\n"
        "            if self.seen % 2:\n"
        "                update(self.optimizer, loss, rate, self.config.clip)\n",
        _TOY,
        ("worse", "flow-matching on moons", "NLL"),
    ),
    "half-the-study": Plant(
        "bench/study/studies/check.toml",
        "minibatches = 100\n",
        "minibatches = 50\n",
        ("-m", "gaussian", "-d", "moons"),
        ("worse", "gaussian on moons", "mini-batches: 50 x 128, not 100 x 128"),
    ),
    "metric-zero": Plant(
        "bench/metrics/flow_measures.py",
        'found = {"nll": -mean, ',
        'found = {"nll": 0.0, ',
        ("-m", "gaussian", "-d", "moons"),
        ("worse", "NLL", "it measures nothing"),
    ),
    # The same numbers by four times the work in the network: the step is twice as slow and more.
    # On another machine than the baseline's it takes several methods to know what is the machine's.
    "slow": Plant(
        "methods/flow_matching.py",
        "        return self.d * F.mse_loss(self.field(t, x_t), velocity)\n",
        "        again = [self.field.forward(t, x_t) for _ in range(3)]\n"
        "        twice = sum(F.mse_loss(v, velocity) for v in again)\n"
        "        return self.d * F.mse_loss(self.field(t, x_t), velocity) + 0.0 * twice\n",
        ("-d", "moons"),
        ("worse", "flow-matching on moons", "step cost"),
    ),
}

#: The cells that the plants touch.
TOUCHED = ("-m", "gaussian", "-m", "flow-matching", "-d", "moons")


def main() -> None:
    """Run the drill; exit 0 where every check said what it had to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    known = ["clean", *PLANTS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--own-baseline", action="store_true", help="made by the clean copy")
    parser.add_argument("--seeds", type=int, default=8, help="of one's own baseline")
    parser.add_argument("--rule", choices=("auto", "exact", "seeds"), default="auto")
    parser.add_argument("--timeout", type=float, default=300.0, help="of a run, in seconds")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    names = asked.names or known
    if unknown := set(names) - set(known):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    baseline = ROOT / "results" / "baseline" / "check.json"
    making = ["-j", str(asked.jobs), "--timeout", str(asked.timeout)]
    options = [*making, "--rule", asked.rule]
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="plants-") as name:
        folder = Path(name)
        copy(folder / "clean")
        part: Sequence[str] = ()
        if asked.own_baseline:
            baseline, part = folder / "check.json", TOUCHED
            made = ["--update", "--seeds", str(asked.seeds), *making, *part]
            code, output = check(folder / "clean", baseline, made)
            if code:
                sys.exit(f"the baseline can't be made:\n{output}")
        if "clean" in names:
            for attempt in ("clean", "clean again"):
                code, output = check(folder / "clean", baseline, [*options, *part])
                problems += told(attempt, output, [] if code == 0 else [f"exit {code}, not 0"])
        for each in (n for n in names if n != "clean"):
            plant = PLANTS[each]
            copy(folder / each)
            put(folder / each, plant)
            code, output = check(folder / each, baseline, [*options, *plant.cells])
            problems += told(each, output, list(_missed(plant, code, output)))
            shutil.rmtree(folder / each)
    print(f"{len(problems)} problems")
    for problem in problems:
        print(f"NOT HELD: {problem}")
    sys.exit(1 if problems else 0)


def copy(to: Path) -> None:
    """The sources, under the names that they are installed by."""
    for folder, package in PACKAGES.items():
        ignored = shutil.ignore_patterns("__pycache__", "runs")
        shutil.copytree(ROOT / folder, to / package, ignore=ignored)


def put(sources: Path, plant: Plant) -> None:
    """Plant the regression in a copy."""
    folder, _, rest = plant.file.partition("/")
    path = sources / PACKAGES[folder] / rest
    text = path.read_text(encoding="utf-8")
    if text.count(plant.old) != 1:
        sys.exit(f"{plant.file} holds what the plant replaces {text.count(plant.old)} times, not 1")
    path.write_text(text.replace(plant.old, plant.new), encoding="utf-8")


def check(sources: Path, baseline: Path, options: Sequence[str]) -> tuple[int, str]:
    """`bench check` with these sources; its exit code and its output."""
    paths = [str(sources), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "120"}
    command = [sys.executable, "-P", "-c", "from bench.cli import main; main()", "check"]
    done = subprocess.run(
        [*command, "--baseline", str(baseline), *options],
        env=environment,
        cwd=sources,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + (done.stderr if done.returncode not in (0, 1) else "")


def _missed(plant: Plant, code: int, output: str) -> Iterator[str]:
    if code != 1:
        yield f"exit {code}, not 1"
    for words in plant.says:
        if words not in output:
            yield f"{words!r} is not said"


def told(name: str, output: str, missed: list[str]) -> list[str]:
    """Print what a check said; what it missed, by the name of the plant."""
    print(f"[{time.strftime('%H:%M:%S')}] {name}: {'; '.join(missed) or 'as it should be'}")
    print("".join(f"    {line}\n" for line in output.splitlines()), flush=True)
    return [f"{name}: {problem}" for problem in missed]


if __name__ == "__main__":
    main()
