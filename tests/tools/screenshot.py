# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes the picture of a report for the documentation, of runs that are made for it: screenshot.py FILE.png"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import deployments
from support.browser import chromium, find_chromium
from support.server import NatsServer

WIDTH, HEIGHT = 1180, 1900


def main() -> int:
    program = find_chromium()
    if not program or len(sys.argv) != 2:
        print(__doc__ if program else "There is no Chromium: install the package chromium.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as temp, NatsServer() as server:
        folder = Path(temp)
        deployments.declare(server)
        deployments.deploy(server, folder, "1.4.0").check()
        deployments.deploy(server, folder, "1.5.0", troubles=True)
        page = folder / "report.html"
        deployments.report(server, page).check()
        with chromium(program) as browser:
            opened = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            opened.goto(page.as_uri())
            opened.screenshot(path=sys.argv[1])
    print(f"{sys.argv[1]}: {Path(sys.argv[1]).stat().st_size >> 10} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
