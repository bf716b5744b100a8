"""Configuration of Sphinx."""

import re
from pathlib import Path

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

import medsgd

HERE = Path(__file__).parent

project = "medsgd"
author = "The medsgd developers"
copyright = author
version = release = medsgd.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
root_doc = "index"
# As in scikit-learn: single backticks of docstrings are code.
default_role = "literal"

myst_enable_extensions = ["colon_fence", "dollarmath", "fieldlist"]
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
toc_object_entries_show_parents = "hide"
# Docstrings say the types; in signatures they would hide the defaults.
autodoc_typehints = "none"

# Where the inventory of another project cannot be fetched, the committed one has the
# names that the pages use. It is plain text: version 1 of Sphinx's format.
SITES = {
    "matplotlib": "https://matplotlib.org/stable",
    "numpy": "https://numpy.org/doc/stable",
    "pandas": "https://pandas.pydata.org/docs",
    "python": "https://docs.python.org/3",
    "scipy": "https://docs.scipy.org/doc/scipy",
    "sklearn": "https://scikit-learn.org/stable",
}
intersphinx_mapping = {
    name: (site, (None, str(HERE / "inventories" / f"{name}.txt")))
    for name, site in SITES.items()
}
intersphinx_timeout = 5

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "subsection_order": [
        f"../examples/{group}"
        for group in ("outliers", "classification", "large_data", "paper")
    ],
    "filename_pattern": r"\.py$",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("medsgd",),
    "abort_on_example_error": False,
    "capture_repr": (),
    "show_memory": False,
    "write_computation_times": False,
    "min_reported_time": 10,
    "plot_gallery": True,
    "remove_config_comments": True,
}

html_theme = "pydata_sphinx_theme"
html_title = f"medsgd {release}"
html_favicon = "_static/logo.svg"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_show_sourcelink = False
# Pages without pages below them have nothing to navigate to at the side.
html_sidebars = {
    page: [] for page in ["benchmarks", "changes", "developer", "mathematics"]
}
html_theme_options = {
    "logo": {
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo.svg",
        "text": f"medsgd {release}",
    },
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_align": "left",
    "header_links_before_dropdown": 4,
    # A symbol: the field beside it would break the links into lines.
    "navbar_persistent": ["search-button"],
}


def without_foreign_labels(app, what, name, obj, options, lines):
    """Inherited docstrings refer to sections of scikit-learn's user guide."""
    if getattr(obj, "__module__", "").startswith("sklearn."):
        lines[:] = [re.sub(r":ref:`([^<`]*?)\s*<[^`]*`", r"\1", line) for line in lines]


def mathml(node, display=False):
    """Return a formula as MathML, which browsers draw without a script."""
    tex = node.astext()
    # Docutils wants to know the sides of delimiters, fractions with braces, and no
    # space between lines.
    tex = tex.replace("[1ex]", "")
    tex = re.sub(r"\\([Bb]ig)(?=[(\[])", r"\\\1l", tex)
    tex = re.sub(r"\\([Bb]ig)(?=[)\]])", r"\\\1r", tex)
    tex = re.sub(r"\\(t?)frac(\w)(\w)", r"\\\1frac{\2}{\3}", tex)
    return tex2mathml(tex, as_block=display)


def visit_math(self, node):
    self.body.append(mathml(node))
    raise SkipNode


def visit_math_block(self, node):
    self.body.append(self.starttag(node, "div", CLASS="formula"))
    self.body.append(mathml(node, display=True))
    self.body.append("</div>\n")
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("autodoc-process-docstring", without_foreign_labels)
