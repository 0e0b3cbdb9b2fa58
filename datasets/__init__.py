"""The data sets of CNF Bench, one file each."""

if __name__ != "bench_datasets":
    raise ImportError(
        "This folder is the package 'bench_datasets'; import it by that name, from an installed "
        "cnf-bench (pip install -e .). To import Hugging Face's 'datasets' from here, keep the "
        "repository's root off sys.path (PYTHONSAFEPATH=1)."
    )
