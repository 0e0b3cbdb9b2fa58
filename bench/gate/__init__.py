"""The gate: what a small fixed study measures now, against what it measured when it was well.

Records in, a verdict out; nothing here imports torch, nothing here knows a method. Runs are matched
by method, settings, data set and seed; a method whose source changed has new runs and is compared
all the same.

The rules know each figure's noise (`bench.gate.watched` says which figure has which):

- *Quality on the same arithmetic has none.* Where `bench.gate.place` finds the same versions,
  threads and arithmetic as the baseline's, the same source gives the same bits, so that every
  difference is a change of the program: the mean over the seeds must not be above the baseline's.
- *Elsewhere* rounding differs, and training carries it on. At worst nothing but the seed's
  distribution is left of a run, and the mean of k seeds differs from the same seeds' mean in the
  baseline by a normal with variance 2 s^2 / k, s the standard deviation over all seeds of the
  baseline. The tolerance is Student's quantile of that, one-sided, at 5 % over all figures of a
  check together (Bonferroni), plus the numerical error of both. The rows of the test split are the
  same, so their standard error is no part of it.
- *A cost is a ratio.* Evaluations are counted; a step's CPU time is told in passes of
  `bench.training.reference_timing`, measured between the steps of the same process; memory in that
  of the process before the method was there. They vary, and a worse one is shown and not counted,
  unless it is beyond what noise can do: half as much again.
- *Who measures is measured.* What no method has a say in, as the threshold of a test or the number
  of rows, must be as it was; a figure must not be impossible, nor the same in all runs where it was
  not; the density must integrate to one. A metric that breaks may flatter, and "better" would be
  believed.

A run that failed, is missing, or whose figure is gone is worse.
"""
