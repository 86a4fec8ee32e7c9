# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sphinx's settings for the documentation site, which the session `site` builds from a copy of the checkout."""

from __future__ import annotations

import re
import tempfile
import zlib
from typing import Any

from pygments.lexers.special import TextLexer

project = "choria.streams"
author = "The choria.streams developers"
copyright = "2026, The choria.streams developers"
extensions = ["myst_parser", "sphinx.ext.intersphinx", "sphinx_antsibull_ext"]
exclude_patterns = [".*", "LICENSES", "extensions", "tests"]
# What the pages refer to in Ansible's own documentation, and where it is there. Builds can't read its inventory: they
# are offline
ANSIBLE = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "callback_plugins": "plugins/callback.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}
with tempfile.NamedTemporaryFile(suffix=".inv", delete=False) as inventory:
    inventory.write(b"# Sphinx inventory version 2\n# Project: Ansible\n# Version: devel\n# compressed using zlib\n")
    inventory.write(
        zlib.compress("".join(f"{name} std:label -1 {page} {name}\n" for name, page in ANSIBLE.items()).encode())
    )
intersphinx_mapping = {"ansible": ("https://docs.ansible.com/projects/ansible/devel/", inventory.name)}
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
html_static_path = ["site.css"]
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


def without_contents(_app: Any, _page: str, source: list[str]) -> None:
    """The theme has the contents of each page at its side."""
    source[0] = re.sub(r"(?m)^\.\. contents::.*\n(?:   .*\n)*", "", source[0])


def setup(app: Any) -> None:
    """Show diagrams as text: what draws them would be loaded from elsewhere."""
    app.add_lexer("mermaid", TextLexer)
    app.connect("source-read", without_contents)
