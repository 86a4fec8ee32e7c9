# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of ansible-playbook under faults. Processes that a killed run leaves behind are observed too."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import ROOT
from support.playbook import CALLBACKS, RunningPlaybook

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from .log import Log
    from .workloads import Play

# A run that takes longer hangs, even on a very busy machine
_LONGEST = 1500.0
_OURS = Path(__file__).resolve().parent / "callback_plugins"


class Run(RunningPlaybook):
    """A run with its name. ``killed`` is True if a fault ended it, ``hurt`` if a fault killed one of its processes."""

    name = ""
    strategy = ""
    killed = False
    hurt = False
    stood = 0.0

    def forget(self) -> None:
        """Remove the folder of a run that has ended."""
        shutil.rmtree(self._folder, ignore_errors=True)


class Runs:
    """The runs of a campaign. A variable of their environment identifies their processes, even without their
    parents.
    """

    def __init__(self, log: Log, folder: Path) -> None:
        self._log = log
        self._folder = folder
        self._mark = f"FAULTS_CAMPAIGN={folder.name}-{os.getpid()}"
        self._running: list[Run] = []
        self._ended: list[Run] = []
        self._lock = threading.Lock()
        self._count = 0
        self._stopped = False

    def any(self, random: Random) -> Run | None:
        with self._lock:
            return random.choice(self._running) if self._running else None

    def play(self, play: Play, servers: Sequence[str]) -> Run:
        """Run a play until it ends or its process does."""
        with self._lock:
            self._count += 1
            name = f"r{self._count}"
            self._log.write("plan", run=name, tasks=play.plan)
            run = self._start(name, play, servers)
            self._running.append(run)
            if self._stopped:
                run.process.kill()
        self._log.write("run", event="start", run=name)
        hung = False
        try:
            run.process.wait(_LONGEST)
        except subprocess.TimeoutExpired:
            hung = True
            run.process.kill()
            run.process.wait()
        whole = not hung and not run.killed and not run.hurt
        about: dict[str, Any] = {"rc": run.process.returncode, "killed": not whole, "hung": hung, "stood": run.stood}
        self._log.write("run", event="gone", run=name, reported=True, **about)
        (self._folder / f"{name}.out").write_text(run.output())
        with self._lock:
            self._running.remove(run)
            self._ended.append(run)
        return run

    def _start(self, name: str, play: Play, servers: Sequence[str]) -> Run:
        facts = {"faults_run": name, "faults_log": str(self._log.path), "faults_folder": str(self._folder)}
        kept = ROOT / ".build" / "kept" / "archives"
        environment = {
            "ANSIBLE_CALLBACKS_ENABLED": "task_results,moments,choria.streams.choria_results",
            "ANSIBLE_CALLBACK_PLUGINS": f"{CALLBACKS}{os.pathsep}{_OURS}",
            "CHORIA_STREAMS_SERVERS": ",".join(servers),
            "CHORIA_STREAMS_RESULTS_BATCH": name,
            "CHORIA_STREAMS_RESULTS_SPOOL": str(self._folder / "journals"),
            "FAULTS_LOG": str(self._log.path),
            "FAULTS_RUN": name,
            "KEPT_ARCHIVES": str(kept),
            "PYTHONPATH": f"{ROOT / 'tests' / 'support' / 'kept'}{os.pathsep}{ROOT / '.build'}",
        }
        variable, _equals, value = self._mark.partition("=")
        environment[variable] = value
        plays = [
            {
                "hosts": "all",
                "gather_facts": False,
                "strategy": play.strategy,
                "ignore_errors": True,
                "tasks": play.tasks,
            }
        ]
        hosts = [f"h{number}" for number in range(1, play.hosts + 1)]
        run = Run(plays, inventory=hosts, extra_vars=facts, env=environment, args=["--forks", str(play.hosts)])
        run.name, run.strategy = name, play.strategy
        return run

    def stop(self) -> None:
        """End the runs that are left, and start no more."""
        with self._lock:
            self._stopped = True
            for run in self._running:
                run.killed = True
                run.process.kill()

    def left(self) -> list[int]:
        """Return the processes of the campaign that still run."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._mark.encode() in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
        return found

    def wait_for_the_rest(self, patience: float) -> list[str]:
        """Wait until no process of the campaign runs. Return the commands of those that still do."""
        deadline = time.monotonic() + patience
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.2)
        commands = []
        for pid in left:
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                commands.append(b" ".join(words).decode(errors="replace")[:200])
        return commands

    def close(self) -> None:
        """End the remaining processes, and remove the folders."""
        for pid in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGKILL)
        for run in self._running:
            run.close()
        for run in self._ended:
            run.forget()
