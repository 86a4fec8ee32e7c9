# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs ansible-playbook of the current virtual environment as a user would, and returns the results as data."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import ROOT

from .ending import end_with_us, has_ended
from .server import freeze

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CALLBACKS = Path(__file__).resolve().parent / "callback_plugins"
TIMEOUT = 300.0
# ansible-core listens on $TMPDIR/pymp-xxxxxxxx/listener-xxxxxxxx, and the path of a socket has at most 107 bytes. If
# it is longer, Ansible prints only "Local RPC server did not start."
LONGEST_TMPDIR = 107 - len("/pymp-xxxxxxxx/listener-xxxxxxxx")


@dataclass(frozen=True)
class TaskResult:
    """One task on one host. `status` is ok, failed, skipped or unreachable. The items of a loop are in
    result["results"].
    """

    status: str
    host: str
    name: str
    action: str
    ignored: bool
    result: dict[str, Any]

    @property
    def changed(self) -> bool:
        return bool(self.result.get("changed"))

    @property
    def message(self) -> str:
        return str(self.result.get("msg", ""))


@dataclass(frozen=True)
class PlaybookResult:
    """How a run ended. `stats` has the counts of the recap by host."""

    rc: int
    stdout: str
    stderr: str
    tasks: list[TaskResult] = field(default_factory=list)
    stats: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    def task(self, name: str, host: str | None = None) -> TaskResult:
        """Return the result of the only task of that name."""
        found = [task for task in self.tasks if task.name == name and host in (None, task.host)]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} results of the task {name!r} (host {host}):\n{self.output}")
        return found[0]

    def check(self) -> PlaybookResult:
        """Fail the test, with the output, unless the run succeeded."""
        if self.rc != 0:
            raise AssertionError(f"ansible-playbook ended with status {self.rc}:\n{self.output}")
        return self


def _take_terminal() -> None:
    """Make standard input the terminal of this process's session, which gets SIGHUP when it is closed."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class RunningPlaybook:
    """A run in its own process group and temporary folder, without the user's Ansible settings.

    `playbook` is a path, the text of a playbook, or its plays as data. `inventory` is a path, a list of host
    names (of this machine, without ssh) or a whole inventory as data. `config` is the text of an ansible.cfg.
    `python` is the Python of another virtual environment, whose Ansible is used. `terminal` is the file
    descriptor of a terminal for the run, as in an ssh session, instead of files.
    """

    def __init__(
        self,
        playbook: Path | str | Sequence[Mapping[str, Any]],
        *,
        inventory: Path | Sequence[str] | Mapping[str, Any] = ("localhost",),
        extra_vars: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        config: str = "",
        check: bool = False,
        diff: bool = False,
        args: Sequence[str] = (),
        python: Path = Path(sys.executable),
        terminal: int | None = None,
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="playbook-"))
        self._output = self._folder / "stdout", self._folder / "stderr"
        self._results = self._folder / "results.jsonl"
        (self._folder / "tmp").mkdir()
        command = [str(python.parent / "ansible-playbook"), *args]
        command += ["--inventory", self._inventory(inventory)]
        if extra_vars:
            command += ["--extra-vars", f"@{self._write('extra_vars.json', extra_vars)}"]
        command += ["--check"] * check + ["--diff"] * diff
        command.append(str(playbook) if isinstance(playbook, Path) else self._write("playbook.yml", playbook))
        self._write("ansible.cfg", config)
        with self._output[0].open("wb") as stdout, self._output[1].open("wb") as stderr:
            self.process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._environment(env or {}),
                stdin=subprocess.DEVNULL if terminal is None else terminal,
                stdout=stdout if terminal is None else terminal,
                stderr=stderr if terminal is None else terminal,
                start_new_session=True,
                preexec_fn=None if terminal is None else _take_terminal,
            )
        end_with_us(self, self.close)

    def _write(self, name: str, content: Any) -> str:
        path = self._folder / name
        # JSON is YAML
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def _inventory(self, inventory: Path | Sequence[str] | Mapping[str, Any]) -> str:
        if isinstance(inventory, Path):
            return str(inventory)
        if not isinstance(inventory, dict):
            local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
            inventory = {"all": {"hosts": {host: {} for host in inventory}, "vars": local}}
        return self._write("inventory.yml", inventory)

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        # Unbuffered Python reads a pipelined module byte by byte
        ours = ("ANSIBLE_", "CHORIA_", "NATS_", "XDG_", "PYTHONUNBUFFERED")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        # The programs of the virtual environment come first, for tasks that run some
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
        environment.update(
            HOME=str(self._folder),
            ANSIBLE_CALLBACKS_ENABLED="task_results",
            ANSIBLE_CALLBACK_PLUGINS=str(CALLBACKS),
            ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".build"),
            ANSIBLE_CONFIG=str(self._folder / "ansible.cfg"),
            ANSIBLE_HOME=str(self._folder / ".ansible"),
            ANSIBLE_LOCALHOST_WARNING="false",
            ANSIBLE_NOCOLOR="true",
            ANSIBLE_RETRY_FILES_ENABLED="false",
            TASK_RESULTS=str(self._results),
            TMPDIR=str(self._folder / "tmp"),  # files that a killed run leaves there are removed with the folder
        )
        environment.update(more)
        if len(environment["TMPDIR"]) > LONGEST_TMPDIR:
            raise AssertionError(f"TMPDIR is too long for ansible-core's socket: {environment['TMPDIR']}")
        # Ansible does not treat an empty setting as unset
        return {name: value for name, value in environment.items() if value}

    def interrupt(self) -> None:
        """Send SIGINT to the whole process group, as Ctrl-C does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def crash(self) -> None:
        """Kill the run, its workers and their modules at once, like a power failure of the controller."""
        left = [self.process.pid]
        while left:
            pid = left.pop()
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                freeze(pid)  # otherwise it would go on to start workers, which nobody ends
                for task in Path(f"/proc/{pid}/task").iterdir():
                    left += [int(child) for child in (task / "children").read_text().split()]
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.close()

    def output(self) -> str:
        """Return the output so far."""
        return "".join(path.read_text(errors="replace") for path in self._output)

    def wait(self, timeout: float = TIMEOUT) -> PlaybookResult:
        """Wait for the end of the run, remove its folder and return its results."""
        try:
            self.process.wait(timeout)
            records = self._results.read_text().splitlines() if self._results.exists() else []
            entries = [json.loads(line) for line in records]
            stdout, stderr = (path.read_text(errors="replace") for path in self._output)
            return PlaybookResult(
                rc=self.process.returncode,
                stdout=stdout,
                stderr=stderr,
                tasks=[TaskResult(**entry) for entry in entries if "stats" not in entry],
                stats=next((entry["stats"] for entry in entries if "stats" in entry), {}),
            )
        except subprocess.TimeoutExpired:
            raise AssertionError(f"ansible-playbook still ran after {timeout:.0f} s:\n{self.output()}") from None
        finally:
            self.close()

    def close(self) -> None:
        """End all processes of the run, and remove the folder. Workers have process groups of their own."""
        has_ended(self)
        if self.process.poll() is None:
            self.crash()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def run_playbook(
    playbook: Path | str | Sequence[Mapping[str, Any]], *, timeout: float = TIMEOUT, **options: Any
) -> PlaybookResult:
    """Run a playbook to its end. The options are those of RunningPlaybook."""
    return RunningPlaybook(playbook, **options).wait(timeout)
