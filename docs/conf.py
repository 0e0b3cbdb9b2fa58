"""How the documentation is built: `tox -e docs`."""

import importlib.metadata
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "_ext"))

project = "CNF Bench"
author = "The CNF Bench authors"
copyright = f"2026, {author}"
release = importlib.metadata.version("cnf-bench")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "docstrings",
    "generated",
    "mathml",
]
exclude_patterns = ["_build", "_ext", "_data"]

myst_enable_extensions = ["deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

# The notebook is executed when the documentation is built, once for all builders.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 240
nb_execution_show_tb = True
nb_execution_in_temp = True
# Progress, which differs each time; a failing cell stops the build.
nb_output_stderr = "remove"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "Rows": "Rows"}
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# tests/docs/test_examples.py runs the examples in docstrings, in their modules' namespaces.
doctest_test_doctest_blocks = ""

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "CNF Bench"
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
# Copy what is typed, without prompts and output.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
