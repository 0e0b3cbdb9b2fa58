"""Judging a trained flow: the one place that reads the test split, the same way for all."""

from bench.judging.rows import pick
from bench.judging.solvers import reference_solver
from bench.judging.verdict import Verdict, judge_method

__all__ = ["Verdict", "judge_method", "pick", "reference_solver"]
