# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The governed work: writes its start and its end, by the clock that all processes of a machine share.

    work.py LOG GOVERNOR IDENTITY RUN SECONDS

Ansible runs it on the hosts. It does not use the collection.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time


def main() -> None:
    log, governor, identity, run, seconds = sys.argv[1:]

    def write(event: str, **more: object) -> None:
        record = {"log": "work", "event": event, "governor": governor, "identity": identity, "run": run}
        line = json.dumps({**record, "pid": os.getpid(), "at": time.monotonic(), **more}) + "\n"
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, line.encode())  # one write, so that lines of several processes do not mix
        os.close(file)

    def on_signal(number: int, _frame: object) -> None:
        write("end", signal=number)
        os._exit(1)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    write("start")
    time.sleep(float(seconds))
    write("end")


if __name__ == "__main__":
    main()
