"""The drill of faults: fifteen are injected, each by its tests, in a process of its own.

A line for each fault says what is injected, what a person sees, whether that held, and how long it
took. Skipped tests prove nothing, so a fault with one has not held.

    python tests/drill/faults.py [NUMBER ...]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]

#: Seconds that the tests of a fault may take.
LIMIT = 1_800


@dataclass(frozen=True)
class Fault:
    """What is injected, what is then seen, and the tests that do and see it."""

    injected: str
    seen: str
    tests: tuple[str, ...]


FAULTS = {
    1: Fault(
        "a bit of every twentieth row of the array cache is flipped",
        "a note; the rows are read from their source again; `bench data verify` finds it",
        (
            "tests/datasets/test_arrays.py::test_damaged_rows_are_read_again_with_a_note",
            "tests/cli/test_output.py::test_a_damaged_array_cache",
            "tests/datasets/test_fetch.py::test_verify_reads_past_the_cache_and_checks_it",
        ),
    ),
    2: Fault(
        "bits of records, models, samples and curves are flipped; an NLL is edited",
        "every command refuses the run and names the file",
        ("tests/harness/test_digests.py",),
    ),
    3: Fault(
        "a CSV names the columns in another order, lacks one, has one too many",
        "the same score; the columns are named",
        (
            "tests/cli/test_sample_score.py::test_columns_are_matched_by_name",
            "tests/cli/test_sample_score.py::test_missing_and_unknown_columns_are_named",
            "tests/cli/test_sample_score.py::test_samples_have_the_tables_columns",
        ),
    ),
    4: Fault(
        "a table has flags, an index, a duplicate column, a header of numbers",
        "all are refused in one message, with the remedies",
        ("tests/datasets/test_own_table_density.py",),
    ),
    5: Fault(
        "the adjoint of a stiff field is solved under PYTHONOPTIMIZE",
        "it ends with an error, not never",
        ("tests/numerics/test_ode.py::test_a_stiff_adjoint_ends_without_assertions_too",),
    ),
    6: Fault(
        "the start of a run takes longer than its time limit",
        "the run ends in time, as `timeout`",
        (
            "tests/harness/test_child.py::test_the_time_limit_counts_from_the_start_of_the_process",
            "tests/harness/test_child.py::test_one_that_is_out_of_time_is_interrupted",
        ),
    ),
    7: Fault(
        "a run is restored while another replaces it; the clock is turned back by an hour",
        "the good record stays",
        (
            "tests/harness/test_record.py::test_a_run_that_is_being_replaced_is_left_alone",
            "tests/harness/test_record.py::test_no_good_run_gives_way_to_a_failed_one",
            "tests/harness/test_child.py::test_a_clock_that_is_turned_back_loses_nothing",
            "tests/harness/test_child.py::test_a_record_that_was_made_meanwhile_is_kept",
        ),
    ),
    8: Fault(
        "a method starts processes of its own, which take memory and do not end",
        "their memory counts; they end with the run",
        (
            "tests/harness/test_child.py::test_what_a_run_has_started_ends_with_it",
            "tests/harness/test_child.py::test_what_a_run_has_started_ends_with_a_kill",
            "tests/harness/test_child.py::test_memory_is_that_of_all_its_processes",
        ),
    ),
    9: Fault(
        "the results folder vanishes; a disk is full; standard output is closed",
        "one line and the exit code",
        (
            "tests/harness/test_grid.py::test_a_results_folder_that_vanishes_ends_the_study",
            "tests/harness/test_child.py::test_a_run_whose_folder_is_removed_says_so",
            "tests/cli/test_output.py",
        ),
    ),
    10: Fault(
        "Dask's scheduler is killed; bench watch meets bad records, bad curves, slow clients",
        "one line, exit code 1; the page shows the others and names the bad ones",
        (
            "tests/cluster/test_command.py::test_the_scheduler_dies",
            "tests/report/test_watch.py::test_a_damaged_record_is_named_and_the_others_are_shown",
            "tests/report/test_watch.py::test_a_damaged_curve_is_named_and_its_run_is_shown",
            "tests/report/test_watch.py::test_a_file_that_has_changed_is_named",
            "tests/report/test_watch.py::test_a_slow_client_is_cut_off_and_keeps_no_thread",
        ),
    ),
    11: Fault(
        "a method, a data set, a run in a record is called ../../x",
        "the name is refused",
        (
            "tests/harness/test_plugins.py::test_a_name_that_would_leave_the_results_folder",
            "tests/harness/test_plugins.py::test_a_data_set_whose_own_name_would_leave_it",
            "tests/cli/test_include.py::test_a_name_that_would_leave_the_results_folder",
            "tests/harness/test_digests.py::test_names_in_a_record",
        ),
    ),
    12: Fault(
        "names, reasons, notes and a plug-in's output hold escapes, NUL, bidi marks, markup",
        "they are spelt as [U+202E], on a terminal and on a pipe",
        ("tests/cli/test_terminal_output.py",),
    ),
    13: Fault(
        "a log has the harness's own keys; junk comes through the channel; a log does not end",
        "that run ends and says why; the log keeps its two ends",
        (
            "tests/harness/test_training.py"
            "::test_a_log_with_a_name_of_the_harness_is_a_broken_contract",
            "tests/harness/test_child.py::test_a_message_that_is_none_ends_the_run",
            "tests/harness/test_child.py::test_messages_that_are_none",
            "tests/harness/test_child.py::test_what_is_taken_from_a_message",
            "tests/harness/test_child.py::test_a_log_keeps_its_beginning_and_its_end",
        ),
    ),
    14: Fault(
        "a pickle of 2^36 labels, a formula in a CSV, an include of a study, links, a frame",
        "little memory; a text; the file is named; no link is followed; the page is in none",
        (
            "tests/datasets/test_old_pickle.py::test_a_small_file_takes_little_memory",
            "tests/stats/test_commands.py::test_no_text_of_a_csv_is_a_formula",
            "tests/cli/test_include.py::test_a_file_is_named_before_a_study_imports_it",
            "tests/cli/test_options.py::test_nothing_is_written_through_a_link",
            "tests/datasets/test_fetch.py::test_a_download_is_not_written_through_a_link",
            "tests/report/test_watch.py::test_the_page_is_renewed_as_records_arrive",
        ),
    ),
    15: Fault(
        "several cores, a container's quota, a busy machine",
        "one thread unless more are asked for; the table says that the machine was busy",
        (
            "tests/harness/test_cores.py",
            "tests/stats/test_terminal.py::test_runs_on_a_busy_machine_are_noted",
            "tests/harness/test_training.py::test_training_seconds_are_the_generators_alone",
        ),
    ),
}


def main() -> None:
    """Run the drill; exit 0 where all held, 1 where something did not."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("numbers", nargs="*", type=int, metavar="NUMBER")
    chosen = parser.parse_args().numbers or list(FAULTS)
    if unknown := set(chosen) - FAULTS.keys():
        parser.error(f"there is no fault {min(unknown)}")
    broken = 0
    for number in chosen:
        fault, began = FAULTS[number], time.monotonic()
        problem = run(fault.tests)
        broken += bool(problem)
        verdict = f"NOT HELD ({problem})" if problem else "held"
        took = time.monotonic() - began
        print(f"{number:2}  {fault.injected}: {fault.seen}: {verdict}, {took:.0f} s", flush=True)
    print(f"{len(chosen)} faults, {broken} not held")
    sys.exit(1 if broken else 0)


def run(tests: tuple[str, ...]) -> str:
    """Run tests in a fresh process; return why they don't prove anything, empty where they do."""
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "not browser", *tests]
        try:
            done = subprocess.run(
                [*command, "-p", "no:cacheprovider", f"--junitxml={report}"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIMIT,
            )
        except subprocess.TimeoutExpired:
            return f"not done after {LIMIT} s"
        if done.returncode:
            failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
            return "; ".join(failed) or f"pytest ended with {done.returncode}"
        (suite,) = ElementTree.parse(report).getroot()
        return "" if suite.get("skipped") == "0" else f"{suite.get('skipped')} skipped"


if __name__ == "__main__":
    main()
