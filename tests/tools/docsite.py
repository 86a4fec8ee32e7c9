# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build the documentation site in .build/site: the guides, and a page for each plugin from its documentation.

The pages are laid as in the checkout, so that the links between them hold. A warning, such as a dangling link, fails
the build. Nothing is read from the network once the environment is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

from dev import BUILD, ROOT, Environment, MissingError, prepare

SITE = Environment("site", ("3.13", "3.12", "3.14"), ("-r", "docs/docsite/requirements.txt"))
SOURCE = BUILD / "site-source"
DESTINATION = BUILD / "site"
DOCSITE = ROOT / "docs" / "docsite"
# What the pages are made of, and what they link to
COPIED = ("*.md", "LICENSE", "CHANGELOG.rst", "docs/**/*", "playbooks/**/*", "roles/choria/README.md")
# What the pages refer to in Ansible's documentation, and where it is there
ANSIBLE = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "callback_plugins": "plugins/callback.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}
CONTENTS = re.compile(r"^\.\. contents::.*\n(?:   .*\n)*", re.MULTILINE)


def lay() -> None:
    """Copy the pages, and put the settings and the start page where Sphinx looks for them."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    for pattern in COPIED:
        for path in ROOT.glob(pattern):
            target = SOURCE / path.relative_to(ROOT)
            if path.is_file() and DOCSITE not in path.parents:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
    for name in ("conf.py", "index.md", "logo.svg"):
        shutil.copy2(DOCSITE / name, SOURCE / name)
    (SOURCE / "_static").mkdir()
    shutil.copy2(DOCSITE / "site.css", SOURCE / "_static")


def reference(environment: dict[str, str]) -> None:
    """Write a page for each plugin."""
    pages = SOURCE / "reference"
    pages.mkdir()
    command = ["antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error"]
    subprocess.run([*command, "--dest-dir", str(pages), "choria.streams"], env=environment, check=True)
    # The theme has the contents of each page at its side
    for path in (*pages.glob("*.rst"), SOURCE / "CHANGELOG.rst"):
        path.write_text(CONTENTS.sub("", path.read_text()))


def inventory() -> None:
    """Write Sphinx's inventory of Ansible's documentation: without a network the real one can't be read."""
    head = "# Sphinx inventory version 2\n# Project: Ansible\n# Version: devel\n"
    head += "# The remainder of this file is compressed using zlib.\n"
    lines = "".join(f"{label} std:label -1 {page} {label}\n" for label, page in sorted(ANSIBLE.items()))
    (SOURCE / "ansible.inv").write_bytes(head.encode() + zlib.compress(lines.encode()))


def main() -> int:
    try:
        prepare([SITE])
    except MissingError as error:
        print(error, file=sys.stderr)
        return 1
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment.update(
        PATH=f"{SITE.bin}{os.pathsep}{environment['PATH']}",
        ANSIBLE_COLLECTIONS_PATH=str(BUILD),
        ANSIBLE_CONFIG=str(BUILD / "ansible.cfg"),
    )
    lay()
    reference(environment)
    inventory()
    shutil.rmtree(DESTINATION, ignore_errors=True)
    command = ["sphinx-build", "--builder", "html", "--fail-on-warning", "--keep-going", "--quiet"]
    status = subprocess.run([*command, str(SOURCE), str(DESTINATION)], env=environment, check=False).returncode
    if not status:
        print(f"The site is in {Path(DESTINATION, 'index.html').relative_to(ROOT)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
