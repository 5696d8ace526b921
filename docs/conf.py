"""The documentation as a site: `make docs` builds it with Sphinx into `docs/_build`.

The source folder is the whole repository, so that a relative link leads to the same file on the site, in a
clone and where the repository is shown: pages are the Markdown files of `include_patterns`; what else is
linked (cfg files, tables, programs) is copied beside them.
"""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")

project = SETUP["metadata"]["name"]
author = "The yolor-cfg authors"
version = release = SETUP["metadata"]["version"]

root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/*.md",
    "docs/experiments/*.md",
    "editors/vscode/README.md",
    "examples/README.md",
    "weights/*.md",
]
# Folders that hold no page; .venv alone has tens of thousands of files.
exclude_patterns = [
    ".*",
    "build",
    "dist",
    "docs/_build",
    "**/node_modules",
    "runs",
    "tests",
    "tools",
    "yolor_cfg",
]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["deflist"]
# Links name headings as they are named where the repository is shown.
myst_heading_anchors = 4
default_role = "code"  # of the single backticks in docstrings
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# Types in signatures belong to other libraries, or to rooms inside that have no page.
nitpick_ignore_regex = [("py:class", ".*")]
# A quotation mark or two hyphens are what they are: much of it is to be typed.
smartquotes = False

html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
templates_path = ["_templates"]
# The root of the site, which has no page of its own, leads to the first one.
html_additional_pages = {"index": "root.html"}
html_show_sphinx = False
html_copy_source = False
