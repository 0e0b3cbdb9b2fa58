"""The methods that CNF Bench compares: one file each, shared networks beside them."""

if __name__ != "bench_methods":
    raise ImportError(
        "This folder is the package 'bench_methods'; import it by that name, from an installed "
        "cnf-bench (pip install -e .), not from the repository's root."
    )
