"""Sphinx: `make docs` builds docs/_build/html/docs/index.html from every page of the repository.

The source folder is the repository's root, so that links between pages are those of the files.
"""

import gain_lightning

project = "gain_lightning"
author = "the gain_lightning authors"
release = gain_lightning.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "docs/*.ipynb"),
    *("data/README.md", "experiments/README.md", "experiments/results.md", "experiments/boat/README.md"),
]
exclude_patterns = ["docs/_build", ".venv", "runs"]
html_theme = "furo"
html_title = "gain_lightning"
html_copy_source = False
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "off"  # tests/test_docs.py executes the notebook; its outputs are kept in it
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say them
napoleon_use_ivar = True
napoleon_custom_sections = [("Returns of ``compute``", "returns_style")]
