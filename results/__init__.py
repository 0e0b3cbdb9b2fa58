"""What was published, as data: `published.csv`, read by `bench.tables.published`."""

if __name__ != "bench_results":
    raise ImportError(
        "This folder is the package 'bench_results'; import it by that name, from an installed "
        "cnf-bench (pip install -e .)."
    )
