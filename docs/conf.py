"""Sphinx builds the documentation: `make docs`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the extension beside this file, and the packages that it documents

import codenas  # noqa: E402

project = "CodeNAS"
author = "CodeNAS authors"
project_copyright = "CodeNAS authors. MIT licence"
version = release = codenas.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["README.md"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
smartquotes = False  # "--run" is an option
default_role = "code"  # docstrings mark code with single backticks

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
maximum_signature_line_length = 88

html_theme = "pydata_sphinx_theme"
html_title = "CodeNAS"
html_theme_options = {"show_prev_next": False, "show_toc_level": 2}
html_show_sourcelink = False
