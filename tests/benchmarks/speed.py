"""How fast this commit is against another one: training steps, densities, commands, whole runs.

Both commits are installed in folders of their own, over the same other packages. A process of each
takes turns with the other's, with one thread, in the order A B B A; a turn starts from the same
weights, rows and random numbers. The ratio of a row is that of CPU seconds (of a command: of all
its processes), the present commit's over the other's, in pairs of neighbouring turns.

    python tests/benchmarks/speed.py [--against COMMIT] [--rows PATTERN] [--pairs N] [-o TABLE.md]
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

#: Steps before a turn is timed, and CPU seconds of the other commit that a turn is to take.
WARM_UP, TURN_SECONDS = 2, 1.0

#: Pairs that the same two processes take, as one can be faster by chance for all its life.
PAIRS_TOGETHER = 3

#: The outcome of a turn: CPU seconds a step, and evaluations of fields in all steps.
Outcome = tuple[float, int]
Turn = Callable[[int], Outcome]


class Row(NamedTuple):
    """What is timed: functions that prepare a turn, and the most pairs of turns.

    The turn of a peer is another package's, taken beside it.
    """

    prepare: Callable[[], Turn]
    peer: Callable[[], Turn] | None = None
    pairs: int = 1_000


def timed(
    step: Callable[[], object],
    steps: int,
    clock: Callable[[], float] = time.process_time,
    evaluations: Callable[[], int] = lambda: 0,
) -> Outcome:
    """Take steps; return the seconds of one, and the evaluations of all."""
    before, start = evaluations(), clock()
    for _ in range(steps):
        step()
    return (clock() - start) / steps, evaluations() - before


def training(method: str, d: int, batch_size: int, compiled: bool = False, **config: Any) -> Turn:
    """Prepare training steps of a method on Gaussian rows.

    Compiled, a turn goes on where the last one ended; only the present commit may be able to.
    """
    import numpy as np
    import torch

    from bench.api import Stream
    from bench.api.method import evaluations
    from bench.registry import plugins

    compiler: Any = None
    if compiled:
        with suppress(ImportError):  # the other commit may know nothing of it
            from bench.training.compiling import Compiler

            compiler = Compiler("cpu")
    if compiler:
        from bench.api.method import compiling
    else:
        compiling = nullcontext
    kind = plugins.method(method)
    rows = np.random.default_rng(0).standard_normal((20_000, d), dtype=np.float32)

    def begin() -> tuple[Any, Iterator[Any]]:
        torch.manual_seed(0)
        model = kind(d, kind.Config(**config))
        learning = model.learn(Stream(rows, batch_size, 100_000, seed=0))
        for _ in range(WARM_UP):
            next(learning)
        return model, learning

    with compiling(compiler):
        kept = begin() if compiled else None

    def turn(steps: int) -> Outcome:
        with compiling(compiler):
            model, learning = kept or begin()
            count = partial(evaluations, model)
            return timed(lambda: float(next(learning)["loss"]), steps, evaluations=count)

    return turn


def density(method: str, d: int, n: int, **config: Any) -> Turn:
    """Prepare log-densities of n Gaussian rows by eight RK4 steps in float32."""
    import torch

    from bench.api.method import evaluations
    from bench.evaluation.flow import Flow
    from bench.numerics.ode import Solver
    from bench.registry import plugins

    torch.manual_seed(0)
    kind = plugins.method(method)
    flow = Flow(kind(d, kind.Config(**config)), Solver("rk4", steps=8), torch.float32)
    rows, count = torch.randn(n, d), partial(evaluations, flow.method)
    return lambda steps: timed(lambda: flow.log_prob(rows), steps, evaluations=count)


def torchcfm(d: int, batch_size: int) -> Turn:
    """Prepare training steps of torchcfm's network, three layers of 256, by a loop as it has."""
    import torch
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
    from torchcfm.models.models import MLP

    rows, matcher = torch.randn(20_000, d), ConditionalFlowMatcher(sigma=0.0)

    def turn(steps: int) -> Outcome:
        torch.manual_seed(0)
        network = MLP(d, w=256, time_varying=True)
        optimizer = torch.optim.Adam(network.parameters())

        def step() -> None:
            optimizer.zero_grad()
            x1 = rows[torch.randint(len(rows), (batch_size,))]
            t, x_t, target = matcher.sample_location_and_conditional_flow(torch.randn_like(x1), x1)
            loss = (network(torch.cat([x_t, t[:, None]], dim=-1)) - target).square().mean()
            loss.backward()
            optimizer.step()
            loss.item()

        timed(step, WARM_UP)
        return timed(step, steps)

    return turn


def two_samples() -> Turn:
    """Prepare evaluations of a Gaussian on moons by the usual judge: their two-sample tests."""
    from bench.data import arrays
    from bench.evaluation.evaluate import evaluate
    from bench.records.spec import Judge
    from bench.registry import plugins

    data = arrays.load(plugins.dataset("moons"), Path.cwd())
    kind = plugins.method("gaussian")
    method = kind(2, kind.Config(affine="full"))
    method.affine.fit(data.train)

    def turn(steps: int) -> Outcome:
        stages: list[tuple[str, float]] = []

        def report(event: dict[str, Any]) -> None:
            stages.append((event.get("stage", ""), time.process_time()))

        for _ in range(steps):
            evaluate(method, data, Judge(), report)
            report({"stage": "end"})
        neighbours = itertools.pairwise(stages)
        times = [end - start for (name, start), (_, end) in neighbours if name.startswith("two-")]
        return sum(times) / steps, 0

    return turn


#: A study whose evaluation takes next to nothing.
START = """
methods = ["gaussian"]
datasets = ["moons"]
minibatches = 1
batch_size = 256
[judge]
test_rows = 100
error_rows = 10
mmd_n = 100
aggregated_n = 50
permutations = 19
validations = 1
validation_rows = 10
integral_cells = 64
"""


def copy_records(results: Path, to: Path, copies: int) -> None:
    """Copy a run under other names: of 10 methods on 20 data sets, with as many seeds as needed."""
    from bench.records.model import sealed

    run = next(path for path in results.iterdir() if (path / "record.json").exists())
    content = json.loads((run / "record.json").read_bytes())
    del content["digest"]
    for k in range(copies):
        method, dataset, seed = f"m{k % 10}", f"t{k // 10 % 20}", k // 200
        content |= {"run": f"{method}-{dataset}-s{seed}", "seed": seed}
        content["method"]["name"], content["dataset"]["name"] = method, dataset
        folder = to / content["run"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "record.json").write_bytes(sealed(json.dumps(content)))
        for path in run.glob("samples.npz"):
            (folder / path.name).unlink(missing_ok=True)
            os.link(path, folder / path.name)


def command(*arguments: str, empty_cache: bool = False, first: str = "", copies: int = 0) -> Turn:
    """Prepare a command of `bench`, after the one that it needs, and copies of a record.

    With an empty cache, every turn makes the data sets and what is kept of them anew.
    """

    def bench(*arguments: str) -> None:
        program = [sys.executable, "-P", "-c", "from bench.cli import main; main()"]
        with tempfile.TemporaryDirectory() as cache:
            environment = os.environ | ({"BENCH_CACHE": cache} if empty_cache else {})
            subprocess.run(
                [*program, *arguments], env=environment, check=True, capture_output=True, text=True
            )

    Path("start.toml").write_text(START, encoding="utf-8")
    if first:
        bench(*first.split())
    if copies:
        copy_records(Path("three"), Path("many"), copies)
    return lambda steps: timed(lambda: bench(*arguments), steps, lambda: sum(os.times()[2:4]))


def rows() -> Iterator[tuple[str, Row]]:
    """Yield every row and its name."""
    sizes = ((6, 128, 2_000), (8, 350, 500), (43, 256, 500), (63, 512, 100))
    for d, m, n in (*sizes, (2, 32, 256)):
        work = partial(training, "ot-flow", d, n, width=m, learning_rate=1e-4)
        yield f"OT-Flow step, d{d} m{m} B{n}", Row(work)
        work = partial(work, compiled=True)
        yield f"OT-Flow step, --compile, d{d} m{m} B{n}", Row(work)
    for d, m, n in sizes:
        work = partial(density, "ot-flow", d, n, width=m)
        yield f"OT-Flow log-density, d{d} m{m} of {n} rows", Row(work)
    for d, width, n in ((6, 64, 500), (43, 256, 200)):
        probe = {"divergence": "gaussian", "gradient": "adjoint"}
        work = partial(training, "ffjord", d, n, width=width, **probe)
        yield f"FFJORD step, Gaussian probe, adjoint, d{d} 3 x {width} B{n}", Row(work)
    exact = {"activation": "silu", "divergence": "exact", "gradient": "backprop"}
    for d in (6, 43):
        work = partial(training, "ffjord", d, 500, hidden=2, width=256, rtol=1e-3, **exact)
        yield f"FFJORD step, exact, backpropagation, d{d} 2 x 256 B500", Row(work)
    block = {"hidden": 3, "width": 128, "step_error": 1e9}  # the number of RK4 steps stays
    for d in (6, 43):
        work = partial(training, "jko", d, 500, divergence="exact", **block)
        yield f"JKO-iFlow step, exact, d{d} 3 x 128 B500", Row(work)
    differences = {"divergence": "finite-difference", "gradient": "adjoint"}
    work = partial(training, "jko", 6, 500, **differences, **block)
    yield "JKO-iFlow step, finite differences, adjoint, d6 3 x 128 B500", Row(work)
    for n in (256, 1_024):
        work = partial(training, "flow-matching", 6, n)
        yield f"flow matching step, d6 2 x 256 B{n}", Row(work, partial(torchcfm, 6, n))
    yield "two-sample tests of a run", Row(two_samples, pairs=3)
    start = "run --study start.toml --only all --results"
    yield "start-up: a run of one mini-batch", Row(partial(command, *start.split(), "start"))
    yield "bench list", Row(partial(command, "list"))
    work = partial(command, "table", "--results", "three", first=f"{start} three -s 0,1,2")
    yield "bench table, three records", Row(work)
    work = partial(work.func, "table", "--results", "many", copies=10_000, **work.keywords)
    yield "bench table, 10,000 records", Row(work, pairs=3)
    five = "-m jko -m ot-flow -m ffjord -m flow-matching -m rectified-flow"
    whole = f"run {five} -d moons --minibatches 500 --batch-size 256 --only all --results five"
    work = partial(command, *whole.split(), empty_cache=True)
    yield "bench run, five methods on moons", Row(work, pairs=3)
    work = partial(command, "run", "--only", "all", "--results", "quick", empty_cache=True)
    yield "bench run, the quick study", Row(work, pairs=3)


class Side:
    """A commit, installed in a folder of its own, and the process that takes turns with it."""

    def __init__(self, commit: str, root: Path) -> None:
        source, packages = root / "source", root / "packages"
        source.mkdir(parents=True)
        archive = subprocess.check_output(["git", "archive", commit])
        subprocess.run(["tar", "-x", "-C", str(source)], input=archive, check=True)
        install = ["pip", "install", "--quiet", "--no-deps", "--target", str(packages), str(source)]
        subprocess.run([sys.executable, "-m", *install], check=True)
        own = {"PYTHONPATH": packages, "BENCH_CACHE": root / "cache", "BENCH_DATA": root / "data"}
        own["TORCHINDUCTOR_CACHE_DIR"] = root / "compiled"
        self._start = partial(
            subprocess.Popen,
            [sys.executable, "-P", str(Path(__file__).resolve()), "--take-turns"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={**os.environ, "OMP_NUM_THREADS": "1"} | {k: str(v) for k, v in own.items()},
        )
        self._process: subprocess.Popen[str] | None = None

    def turn(self, row: str, steps: int, peer: bool = False) -> Outcome:
        """Return the outcome of a turn.

        Raises:
            RuntimeError: the row can't be made with this commit.
        """
        self._process = self._process or self._start()
        requests, answers = self._process.stdin, self._process.stdout
        if requests and answers:
            print(json.dumps([row, steps, peer]), file=requests, flush=True)
            answer = json.loads(answers.readline() or '"its process has ended"')
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer[0], answer[1]

    def end(self) -> None:
        """End the process; the next turn starts another."""
        if self._process:
            self._process.communicate()
            self._process = None


def take_turns() -> None:
    """Take the turns that standard input asks for, a line each."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what else is printed is no answer
    prepared: dict[tuple[str, bool], Turn] = {}
    for line in sys.stdin:
        name, steps, peer = json.loads(line)
        try:
            if (name, peer) not in prepared:
                prepared = {key: turn for key, turn in prepared.items() if key[0] == name}
                row = dict(rows())[name]
                prepared[name, peer] = (row.peer if peer and row.peer else row.prepare)()
            answer: Any = prepared[name, peer](steps)
        except subprocess.CalledProcessError as error:
            answer = f"exit status {error.returncode}: {error.stderr.strip()[-200:]}"
        except Exception as error:  # the other commit may lack what a row needs
            answer = f"{type(error).__name__}: {error}"
        channel.write(json.dumps(answer) + "\n")


def summary(ratios: list[float]) -> str:
    """The median and the quartiles of ratios."""
    if len(ratios) < 2:
        return f"{ratios[0]:.2f}"
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def compare(name: str, row: Row, now: Side, before: Side, pairs: int) -> list[str]:
    """Return the cells of a row: milliseconds before and now, their ratio, and that to the peer."""
    turns: dict[Side, list[Outcome]] = {before: [], now: []}
    for pair in range(min(pairs, row.pairs)):
        if pair % PAIRS_TOGETHER == 0:
            for side in turns:
                side.end()
                side.turn(name, 1)
        if pair == 0:
            steps = max(1, min(500, round(TURN_SECONDS / max(before.turn(name, 1)[0], 1e-4))))
        for side in (before, now) if pair % 2 == 0 else (now, before):
            turns[side].append(side.turn(name, steps))
    others, ours = ([seconds for seconds, _ in outcomes] for outcomes in turns.values())
    cells = [name, *(f"{1e3 * statistics.median(each):.3g}" for each in (others, ours))]
    cells.append(summary([a / b for a, b in zip(ours, others, strict=True)]))
    there, here = (outcomes[-1][1] / steps for outcomes in turns.values())
    if here != there:
        cells[-1] += f"; evaluations a step {here:g}, before {there:g}"
    try:
        if row.peer:
            now.turn(name, 1, peer=True)
            both = [(now.turn(name, steps)[0], now.turn(name, steps, True)[0]) for _ in ours]
            return [*cells, summary([a / b for a, b in both])]
    except RuntimeError as error:
        return [*cells, f"not measured: {error}"]
    return [*cells, ""]


def commits(against: str | None) -> tuple[str, str, str]:
    """Return the present commit with what is not committed, its name, and the other commit."""

    def git(*arguments: str) -> str:
        answer = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        return answer.stdout.strip() if answer.returncode == 0 else ""

    other = against or git("describe", "--tags", "--abbrev=0")
    if not other:
        sys.exit("There is no tag to compare with: name a commit with --against COMMIT.")
    found = git("rev-parse", "--verify", "--quiet", "--short", f"{other}^{{commit}}")
    if not found:
        sys.exit(f"There is no commit {other!r} in this repository.")
    changed, head = git("stash", "create"), git("rev-parse", "--short", "HEAD")
    return changed or head, head + (" with changes" if changed else ""), found


def main() -> None:
    """Compare the rows, print each as it is known, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--against", metavar="COMMIT", help="the other commit [default: last tag]")
    parser.add_argument("--rows", metavar="PATTERN", default="", help="rows that match this regex")
    parser.add_argument("--pairs", type=int, default=9, metavar="N", help="pairs of turns a row")
    parser.add_argument("--quick-study", action="store_true", help="the quick study too: minutes")
    parser.add_argument("-o", dest="table", type=Path, metavar="FILE", help="a Markdown table")
    parser.add_argument("--take-turns", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.take_turns:
        return take_turns()
    known = {name: row for name, row in rows() if asked.quick_study or "quick" not in name}
    wanted = [name for name in known if re.search(asked.rows, name, re.IGNORECASE)]
    if not wanted:
        sys.exit(f"No row matches {asked.rows!r}. Rows: {'; '.join(known)}.")
    import torch

    present, label, other = commits(asked.against)
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    lines = [
        f"Commit {label} against {other}, on one thread of {cpu.group(1) if cpu else 'a CPU'}, "
        f"torch {torch.__version__}, {datetime.date.today()}. CPU time; ratios of pairs: median "
        "(quartiles).",
        "",
        "| | before, ms | now, ms | now / before | now / torchcfm |",
        "|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        now, before = Side(present, Path(folder, "now")), Side(other, Path(folder, "before"))
        for name in wanted:
            try:
                cells = compare(name, known[name], now, before, asked.pairs)
            except RuntimeError as error:
                cells = [name, "", "", f"not measured: {error}", ""]
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
        now.end()
        before.end()
    if asked.table:
        asked.table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
