# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sphinx's settings for the documentation site. tests/tools/docsite.py copies this beside the pages."""

from __future__ import annotations

from typing import Any

from pygments.lexers.special import TextLexer

project = "choria.streams"
author = "The choria.streams developers"
copyright = "2026, The choria.streams developers"
extensions = ["myst_parser", "sphinx.ext.intersphinx", "sphinx_antsibull_ext"]
# What the pages refer to in Ansible's own documentation. The inventory is made by docsite.py, since builds are offline.
intersphinx_mapping = {"ansible": ("https://docs.ansible.com/projects/ansible/devel/", "ansible.inv")}
myst_heading_anchors = 4
# Pages of GitHub have their headings' anchors as well
myst_links_external_new_tab = False
nitpicky = True
default_role = "any"
highlight_language = "yaml+jinja"
pygments_style = "friendly"
pygments_dark_style = "monokai"
html_theme = "furo"
html_title = "choria.streams"
html_logo = "logo.svg"
html_favicon = "logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_use_index = False
html_theme_options = {
    "source_repository": "https://github.com/choria-streams/choria.streams/",
    "source_branch": "main",
    "light_css_variables": {"color-brand-primary": "#0b6b5f", "color-brand-content": "#0b6b5f"},
    "dark_css_variables": {"color-brand-primary": "#5ec9b3", "color-brand-content": "#5ec9b3"},
}


def setup(app: Any) -> None:
    """Show diagrams as text: what draws them would be loaded from elsewhere."""
    app.add_lexer("mermaid", TextLexer)
