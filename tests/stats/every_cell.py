"""A study with every kind of cell that a table can have."""

from __future__ import annotations

from .conftest import Write

HOSTILE = r"a_b%$#{}~^\ <script>alert(1)</script>|`*&[x]" + '"'
#: As much of it as the name of a data set may have.
NAMED = HOSTILE.replace("/", "").replace("\\", "")
LONG = "a-method-whose-name-nobody-shortened_" * 3


def every_cell(write: Write) -> None:
    """Best, tied, second, failed, partial, below the floor, subset, hostile, published."""
    power = {"dataset__d": 6, "dataset__subset": True, "dataset__kind": "subset"}
    scores = {"flow-matching": 0.10, "jko": 0.11, "ot-flow": 0.60, "gaussian": 2.8, "ffjord": 3.9}
    for method, nll in scores.items():
        for seed in range(3):
            write(
                *(method, "power", seed),
                nll=nll + 0.02 * (seed - 1),
                mmd_m=1.73e-4 * 2 ** len(method) * (1 + 0.07 * seed),
                mmd_1=2.0e-4 + 3e-5 * seed,
                p_m=0.2 if method == "jko" else 0.001,
                cost__train_seconds=12345.6 / (1 + len(method)),
                cost__peak_rss_bytes=(1 + len(method)) * 2**28,
                **power,
            )
    write("score-sde", "power", 0, status="oom", reason="9 GiB of 8", **power)
    for seed in range(3):
        status = "diverged" if seed == 1 else "ok"
        write("rectified-flow", "power", seed, status=status, nll=0.3, reason="not finite", **power)
    bsds = {"dataset__d": 63, "dataset__kind": "redrawn"}
    for method, nll in {"jko": -147.2, "gaussian": -97.14, "ffjord": -16.1}.items():
        write(method, "bsds300", nll=nll, nll_se=0.9, nll_solver_error=0.02, mmd_m=0.31, **bsds)
    write("score-sde", "bsds300", status="error", reason=HOSTILE * 5, **bsds)
    for nll, config in ((2.4, {HOSTILE: HOSTILE}), (2.5, {HOSTILE: "données 数据"})):
        write("hostile", NAMED, nll=nll, run=f"hostile{nll}", method__config=config)
    write(LONG, "moons", nll=2.5, dataset__entropy=2.39, round_trip_median=5.0, row_scale=1.0)
    write("jko", "moons", nll=2.40, density_integral=1.2, density_integral_error=0.001)
    write("ffjord", "moons", nll=2.41, environment__threads=2)
    write("gaussian", "moons", nll=3.3, nll_native=3.7)
