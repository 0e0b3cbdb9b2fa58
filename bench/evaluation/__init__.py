"""Judging a trained flow: the one place that reads the test split, the same way for all."""

from bench.evaluation.evaluate import Verdict, judge_method
from bench.evaluation.rows import pick
from bench.evaluation.solvers import reference_solver

__all__ = ["Verdict", "judge_method", "pick", "reference_solver"]
