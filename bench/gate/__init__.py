"""The regression gate: what a small fixed study measures now, compared with a known good state.

Records in, a verdict out; nothing here imports torch or knows a method by name. Runs are matched by
method, settings, data set and seed, so a method whose source changed is compared all the same.
A column's `watch` in `bench/records/catalogue.toml` says which rule applies to it:

- *Quality is exact on the same arithmetic.* With the library versions, threads and arithmetic of
  the baseline the same source gives the same bits, so every difference is a change of the program:
  the mean over seeds must not be above the baseline's.
- *Elsewhere* rounding differs, and training amplifies it. At worst only the distribution over seeds
  is shared, and the mean of k seeds differs from the baseline's by a normal with variance
  2 s^2 / k, where s is the baseline's standard deviation over all its seeds. The tolerance is
  Student's quantile, one-sided, at 5 % over all numbers of a check together (Bonferroni), plus the
  numerical error of both. The test rows are the same, so their standard error plays no part.
- *A cost is a ratio.* Evaluations are counted; a step's CPU time is in passes of
  `bench.training.reference_timing`, timed between the steps of the same process; memory is relative
  to that of the process before the method existed. A worse cost is shown, and counts only where it
  is beyond noise: half as much again.
- *The measuring is checked too.* What no method influences, such as a threshold or the number of
  rows, must not change; a number must not be impossible, nor constant over runs where it was not;
  the density must integrate to one. A broken metric may look like an improvement.

A run that failed or is missing, and a number that is gone, are worse. A column that the baseline
lacks is not compared.
"""
