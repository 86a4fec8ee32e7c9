# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Choria Broker, Choria Servers and users of the choria program, on loopback, with certificates or tokens.

with ChoriaBroker(security="choria") as broker:
    admin = broker.client("admin", "--stream-admin")  # permissions as flags of `choria jwt client`
    admin.run("kv", "add", "CFG")                     # choria kv add CFG
    admin.config                                      # a client.conf, for choria_config
    with ChoriaServer(broker) as server:
        server.spool, server.config                   # the submission spool, and the server.conf
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.ports import free_port
from support.tls import Authority

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import TypeVar

    Self = TypeVar("Self", bound="ChoriaProcess")

START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
COMMAND_TIMEOUT = 60.0
BROKER = "broker.example.net"
SYSTEM_STREAMS = ("event", "machine", "advisory", "executor", "leader_election")
# The permissions of each node of a site, as flags of `choria jwt server`
NODE_PERMISSIONS = ("--submission", "--stream-user", "--governor")


def find_choria() -> Path | None:
    """Return the choria program: $CHORIA_BIN, or the one on PATH. No package registry has it."""
    named = os.environ.get("CHORIA_BIN") or "choria"
    found = shutil.which(named)
    return Path(found).resolve() if found else None


def _program() -> Path:
    program = find_choria()
    if program is None:
        raise RuntimeError("There is no choria program: put it on PATH, or its path into CHORIA_BIN.")
    return program


def _environment(home: Path) -> dict[str, str]:
    """Return an environment without the user's own Choria and NATS settings. With tokens the program needs USER."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CHORIA_", "NATS_"))}
    return {**kept, "HOME": str(home), "USER": kept.get("USER", "root")}


def _write_config(path: Path, *parts: Mapping[str, object]) -> None:
    values = {key: value for part in parts for key, value in part.items()}
    path.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))


class ChoriaProcess:
    """A choria process with its own folder, configuration and log. stop() removes the folder."""

    _ready = ""

    def __init__(self, kind: str, identity: str) -> None:
        self.identity = identity
        self.folder = Path(tempfile.mkdtemp(prefix=f"choria-{kind}-"))
        self.config = self.folder / f"{kind}.conf"
        self._command = [str(_program()), kind, "run", "--config", str(self.config)]
        self._process: subprocess.Popen[bytes] | None = None
        self._final_log = ""

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.identity} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None

    def log(self) -> str:
        """Return the whole log, over restarts, also after stop()."""
        path = self.folder / "choria.log"
        return path.read_text(errors="replace") if path.exists() else self._final_log

    def wait_for(self, text: str, timeout: float = START_TIMEOUT, *, after: int = 0) -> None:
        """Wait until the log has a text, beyond its first `after` characters."""
        deadline = time.monotonic() + timeout
        while text not in self.log()[after:]:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"{self.identity} ended:\n{self.log()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.identity} did not write {text!r} in {timeout:.0f} s:\n{self.log()}")
            time.sleep(0.02)

    def start(self) -> None:
        """Start the program, and wait until it is ready."""
        before = len(self.log())
        with (self.folder / "choria.log").open("ab") as log:
            # In its own process group: Ctrl-C must reach the tasks under test, which then still need it
            self._process = subprocess.Popen(
                self._command, env=_environment(self.folder), stdout=log, stderr=log, start_new_session=True
            )
        self.wait_for(self._ready, after=before)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def shutdown(self) -> None:
        """Stop normally, and keep everything for start()."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the program like a crash, and keep everything for start()."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop the program, and remove its folder."""
        self.shutdown()
        self._final_log = self.log()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@dataclass(frozen=True)
class ChoriaClient:
    """A user of the choria program. `config` is its client.conf, which is also its ~/.choriarc.

    The other attributes are the files of its certificate and key, or of its token and seed, depending on the
    broker's security.
    """

    name: str
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "client.conf"

    @property
    def certificate(self) -> Path:
        return self.folder / f"{self.name}.crt"

    @property
    def key(self) -> Path:
        return self.folder / f"{self.name}.key"

    @property
    def token(self) -> Path:
        return self.folder / f"{self.name}.jwt"

    @property
    def seed(self) -> Path:
        return self.folder / f"{self.name}.seed"

    def run(
        self, *arguments: str | Path, stdin: bytes = b"", check: bool = True, timeout: float = COMMAND_TIMEOUT
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `choria ARGUMENTS`. A status other than 0 fails the test, with the output, unless check=False.

        Where the program takes `-` for its standard input, only `"--", "-"` works.
        """
        result = subprocess.run(
            [_program(), *arguments],
            check=False,
            env=_environment(self.folder),
            input=stdin,
            capture_output=True,
            timeout=timeout,
        )
        if check and result.returncode != 0:
            command, output = " ".join(map(str, arguments)), (result.stdout + result.stderr).decode()
            raise AssertionError(f"choria {command}: status {result.returncode}\n{output}")
        return result

    def output(self, *arguments: str | Path, stdin: bytes = b"") -> str:
        """Return the output of `choria ARGUMENTS`."""
        return self.run(*arguments, stdin=stdin).stdout.decode()

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Run the command in the background. End it with process.terminate() or kill(), and wait()."""
        return subprocess.Popen(
            [_program(), *map(str, arguments)],
            env=_environment(self.folder),
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


class ChoriaBroker(ChoriaProcess):
    """A running broker with Choria Streams.

    `security="file"` is mutual TLS with certificates of `authority`, collective mcollective. `security="choria"`
    is TLS and tokens that `choria jwt` signs with an issuer's key, collective choria. `config` has further keys
    of broker.conf. The broker's own streams, such as CHORIA_EVENTS, exist when it has started.
    """

    _ready = "stream KV_CHORIA_LEADER_ELECTION with"

    def __init__(self, security: str = "file", config: Mapping[str, object] | None = None) -> None:
        super().__init__("broker", BROKER)
        try:
            self.security = security
            self.collective = "choria" if security == "choria" else "mcollective"
            self.port = free_port()
            self.authority = Authority(self.folder)
            self._tools = ChoriaClient("tools", self.folder)
            if security == "choria":
                self.issuer_seed = self.folder / "issuer.seed"
                self.issuer = self.make_keys(self.issuer_seed)
            network = {
                "plugin.choria.broker_network": "true",
                "plugin.choria.network.listen_address": "127.0.0.1",
                "plugin.choria.network.client_port": self.port,
                "plugin.choria.network.stream.store": self.folder / "store",
                "plugin.choria.network.system.user": "system",
                "plugin.choria.network.system.password": "system",
            }
            # If one of these is missing, the broker waits a minute for others before it creates its own streams
            replicas = {f"plugin.choria.network.stream.{kind}_replicas": 1 for kind in SYSTEM_STREAMS}
            site = self.site(BROKER, self.folder, NODE_PERMISSIONS)
            _write_config(self.config, site, network, replicas, config or {})
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        return f"tls://{self.address}"

    def client(self, name: str, *permissions: str) -> ChoriaClient:
        """Return a user with a certificate, or with a token of these permissions, such as --stream-admin and
        --governor.
        """
        folder = self.folder / f"client-{name}"
        folder.mkdir()
        client = ChoriaClient(name, folder)
        _write_config(client.config, self.site(name, folder, permissions, user=True), {"loglevel": "warn"})
        shutil.copy(client.config, folder / ".choriarc")
        return client

    def make_keys(self, seed: Path) -> str:
        """Write a new ed25519 seed, as hex. Return its public key, as hex."""
        public = seed.with_suffix(".public")
        self._tools.run("jwt", "keys", seed, public)
        return public.read_text().strip()

    def make_token(self, token: Path, name: str, public: str, *permissions: str, user: bool = False) -> None:
        """Write a token that the issuer signed. `permissions` are any arguments of `choria jwt client` or `server`."""
        arguments: list[str | Path]
        if user:
            arguments = ["client", token, name, self.issuer_seed, "--public-key", public]
        else:
            arguments = ["server", token, name, public, self.issuer_seed, "--collectives", self.collective]
        self._tools.run("jwt", *arguments, *permissions)

    def site(self, name: str, folder: Path, permissions: tuple[str, ...], *, user: bool = False) -> dict[str, object]:
        """Return the lines of all configuration files of this site, and create the certificate, or keys and token."""
        values: dict[str, object] = {
            "identity": name,
            "plugin.choria.use_srv": "false",
            "plugin.choria.middleware_hosts": self.address,
            "plugin.security.provider": self.security,
        }
        prefix = f"plugin.security.{self.security}"
        if self.security == "file" or name == BROKER:
            pair = self.authority.issue(name, ["localhost", "127.0.0.1", name], folder=folder)
            values.update({f"{prefix}.certificate": pair.certificate, f"{prefix}.key": pair.key})
        values[f"{prefix}.ca"] = self.authority.path
        if self.security == "choria":
            token, seed = folder / f"{name}.jwt", folder / f"{name}.seed"
            self.make_token(token, name, self.make_keys(seed), *permissions, user=user)
            values.update({f"{prefix}.token_file": token, f"{prefix}.seed_file": seed})
            values["plugin.security.issuer.names"] = "choria"
            values["plugin.security.issuer.choria.public"] = self.issuer
        return values


class ChoriaServer(ChoriaProcess):
    """A running Choria Server, the agent of a node, with a submission spool and a folder for autonomous agents.

    `config` has further keys of server.conf. Its `permissions` are flags of `choria jwt server`, if the broker
    has security="choria". Its key is `<identity>.seed` in its folder, with `.jwt` and `.public` beside it.
    `machines` are the definitions of autonomous agents by name. Definitions that are added to the folder later
    are loaded within ten seconds.
    """

    _ready = "Worker 4 starting on"

    def __init__(
        self,
        broker: ChoriaBroker,
        identity: str = "node1.example.net",
        config: Mapping[str, object] | None = None,
        permissions: tuple[str, ...] = NODE_PERMISSIONS,
        machines: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__("server", identity)
        self.spool = self.folder / "spool"
        self.machines = self.folder / "machines"
        try:
            self.machines.mkdir()
            for name, definition in (machines or {}).items():
                (self.machines / name).mkdir()
                # JSON is YAML
                (self.machines / name / "machine.yaml").write_text(json.dumps({"name": name, **definition}))
            own = {
                "plugin.choria.submission.spool": self.spool,
                "plugin.choria.machine.store": self.machines,
                "plugin.choria.status_file_path": self.folder / "status.json",
            }
            _write_config(self.config, broker.site(identity, self.folder, permissions), own, config or {})
            self.start()
        except BaseException:
            self.stop()
            raise
