"""Configuration of Sphinx."""

import re

import medsgd

project = "medsgd"
author = "The medsgd developers"
copyright = author
version = release = medsgd.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
root_doc = "index"

myst_enable_extensions = ["dollarmath", "fieldlist"]
myst_heading_anchors = 3

autosummary_context = {
    # Routing of metadata works as in scikit-learn, whose text refers to its own guide.
    "skipped": [
        "get_metadata_routing",
        "set_callbacks",
        "set_fit_request",
        "set_partial_fit_request",
        "set_score_request",
    ],
}
numpydoc_show_class_members = False
# Docstrings say the types; in signatures they would hide the defaults.
autodoc_typehints = "none"

# Links to other projects need the network: sphinx-build -t intersphinx.
intersphinx_mapping = {
    "matplotlib": ("https://matplotlib.org/stable", None),
    "numpy": ("https://numpy.org/doc/stable", None),
    "python": ("https://docs.python.org/3", None),
    "scipy": ("https://docs.scipy.org/doc/scipy", None),
    "sklearn": ("https://scikit-learn.org/stable", None),
}
if tags.has("intersphinx"):  # noqa: F821
    extensions.append("sphinx.ext.intersphinx")

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"\.py$",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("medsgd",),
    "abort_on_example_error": False,
    "capture_repr": (),
    "show_memory": False,
    "min_reported_time": 10,
    "plot_gallery": True,
    "remove_config_comments": True,
}

html_theme = "pydata_sphinx_theme"
html_title = "medsgd"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_show_sourcelink = False
# Pages without pages below them have nothing to navigate to at the side.
html_sidebars = {
    page: [] for page in ["benchmarks", "changes", "developer", "mathematics"]
}
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
}


def without_foreign_labels(app, what, name, obj, options, lines):
    """Inherited docstrings refer to sections of scikit-learn's user guide."""
    if getattr(obj, "__module__", "").startswith("sklearn."):
        lines[:] = [re.sub(r":ref:`([^<`]*?)\s*<[^`]*`", r"\1", line) for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", without_foreign_labels)
