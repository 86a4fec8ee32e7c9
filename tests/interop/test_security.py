# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to the real broker with a Choria configuration file: successes, and the texts of refusals."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._connection.errors import (
    PUBLISH,
    SUBSCRIBE,
    missing_permission,
)
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, PermissionMissing, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._operations.config_facts import config_facts
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import governor as governors
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.campaign import Wait, campaign
from ansible_collections.choria.streams.plugins.module_utils._options.quantities import parse_timestamp
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.entry import ENTRY
from support.choria import ChoriaBroker, ChoriaClient, ChoriaServer
from support.connect import settings
from support.credentials import Operator
from support.manage import Manager
from support.playbook import PlaybookResult, RunningPlaybook, run_playbook
from support.server import NatsServer
from support.tls import Authority
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE, TOKEN = "plugin.security.file", "plugin.security.choria"
PASSWORD = "planted-password"
VALIDITY = 1

Call = tuple[str, dict[str, Any]]
READ: Call = ("choria_stream_info", {})
READ_CFG: Call = ("choria_kv_bucket_info", {"names": ["CFG"]})
MAKE_GOVERNOR: Call = ("choria_governor", {"name": "PUPPET", "capacity": 2, "expire": "20m"})
WRITE: Call = ("choria_stream", {"name": "ORDERS", "subjects": ["orders.>"]})

# The case, the configuration, the module with its options, and parts of the refusal, none for a success
CASES: list[tuple[str, str, Call, list[str]]] = [
    ("certificates of provider file", "file", WRITE, []),
    ("certificates of provider puppet, a user's", "puppet/client.conf", READ, []),
    ("certificates of provider puppet, a node's", "puppet/server.conf", READ, []),
    ("a password for a server that wants one too", "password", READ, []),
    ("a wrong password", "wrong password", READ, ["refused the credentials (check user and password)"]),
    ("credentials of the nats CLI too", "credentials", READ, []),
    ("a key that others can read", "open", READ, []),
    ("a foreign authority", "foreign authority", READ, ["The certificate of nats://localhost", "check that ca_path"]),
    ("an expired certificate", "expired certificate", READ, ["refused our TLS certificate", "which has expired"]),
    ("another's key", "another's key", READ, ["do not belong together", "It comes from choria_config"]),
    ("a broker without TLS", "no TLS", READ, ["offers no TLS", "nothing was sent"]),
    ("another program's file", "other program", READ, ["is not a Choria configuration file"]),
    ("a collective that the file does not have", "file", (READ[0], {"collective": "none"}), ["'none' is not one of"]),
    ("an admin's token", "admin", WRITE, []),
    ("an admin's token makes a governor", "admin", MAKE_GOVERNOR, []),
    ("a user's token reads", "user", READ, []),
    (
        "a user's token may not create",
        "user",
        ("choria_kv_bucket", {"name": "NEW"}),
        ["STREAM.CREATE", "--stream-admin"],
    ),
    ("a token without permissions", "nobody", READ, ["STREAM.LIST", "'choria jwt client … --stream-user'"]),
    (
        "a governor's token may not create",
        "governor",
        ("choria_governor", {**MAKE_GOVERNOR[1], "name": "OTHER"}),
        ["--stream-admin"],
    ),
    ("a governor's token reads seats", "governor", ("choria_governor_info", {"names": ["PUPPET"]}), []),
    ("a server's token reads a bucket", "server", READ_CFG, []),
    ("a server's token may not list", "server", READ, ["no server's token may, so use a client's", "--stream-user"]),
    ("a server's token of another organization", "acme", READ_CFG, ["JetStream API prefix choria.streams"]),
    ("a broker's own file", "broker", READ_CFG, []),
    ("an expired token", "expired token", READ, ["the token in", "expired at 20", "'choria login'"]),
    ("a token of a foreign issuer", "foreign issuer", READ, ["refused the credentials", "its issuer is known there"]),
    ("another's seed", "another's seed", READ, ["refused the credentials", "the seed belongs to the token of admin"]),
    ("a seed of the wrong length", "short seed", READ, ["which has 64 hexadecimal digits"]),
    ("a token with a newline", "broken token", READ, ["does not hold a token"]),
    ("a provisioning token", "provisioning", READ, ["is for 'choria_provisioning'"]),
    ("a collective that the token is not for", "other collective", READ_CFG, ["is for no such collective"]),
]


@dataclass
class Site:
    """The brokers, their users, the configuration files by name, and all secrets."""

    broker: ChoriaBroker
    jwt_broker: ChoriaBroker
    server: ChoriaServer
    plain: NatsServer
    clients: dict[str, ChoriaClient]
    configs: dict[str, Path]
    secrets: dict[str, str]


def edited(config: Path, target: Path, changes: Mapping[str, object]) -> Path:
    """Return a copy of a configuration file with other values, and without those that are None."""
    lines = [line for line in config.read_text().splitlines() if line.split(" = ")[0] not in changes]
    lines += [f"{key} = {value}" for key, value in changes.items() if value is not None]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(lines) + "\n")
    return target


def puppet_folder(client: ChoriaClient, ca: Path, folder: Path, *owners: str) -> None:
    """Create Puppet's folder of certificates, with the client's certificate for each of the owners."""
    for name in ("certs", "private_keys"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ca, folder / "certs" / "ca.pem")
    for owner in owners:
        shutil.copy(client.certificate, folder / "certs" / f"{owner}.pem")
        shutil.copy(client.key, folder / "private_keys" / f"{owner}.pem")


def certificate_files(
    broker: ChoriaBroker, guarded: NatsServer, operated: NatsServer, plain: NatsServer, folder: Path
) -> dict[str, Path]:
    joe, other = broker.client("joe"), broker.client("other")
    foreign = Authority(folder, "foreign")
    expired = broker.authority.issue("expired", days=-1, folder=folder)
    shown = folder / "shown.key"
    shutil.copy(joe.key, shown)
    shown.chmod(0o644)
    puppet_folder(joe, broker.authority.path, folder / "ssl", "joe.mcollective", "node1.example.net")
    puppet = {"plugin.security.provider": "puppet", "plugin.choria.ssldir": folder / "ssl"}
    hosts = "plugin.choria.middleware_hosts"
    guard = {hosts: f"localhost:{guarded.port}", "plugin.nats.user": "joe"}
    changes: dict[str, dict[str, object]] = {
        "file": {},
        "puppet/client.conf": {**puppet, "identity": "nobody.example.net"},
        "puppet/server.conf": {**puppet, "identity": "node1.example.net"},
        "password": {**guard, "plugin.nats.pass": PASSWORD},
        "wrong password": {**guard, "plugin.nats.pass": f"{PASSWORD}-wrong"},
        "credentials": {hosts: f"localhost:{operated.port}", "plugin.nats.credentials": folder / "user.creds"},
        "open": {f"{FILE}.key": shown},
        "foreign authority": {f"{FILE}.ca": foreign.path},
        "expired certificate": {f"{FILE}.certificate": expired.certificate, f"{FILE}.key": expired.key},
        "another's key": {f"{FILE}.key": other.key},
        "no TLS": {hosts: plain.url},
    }
    configs = {name: edited(joe.config, folder / name, change) for name, change in changes.items()}
    configs["other program"] = folder / "nginx.conf"
    configs["other program"].write_text("worker_processes = 4\n")
    return configs


def token_files(
    broker: ChoriaBroker, clients: Mapping[str, ChoriaClient], server: ChoriaServer, folder: Path
) -> dict[str, Path]:
    admin, public = clients["admin"], broker.make_keys(folder / "some.seed")
    broker.make_keys(folder / "foreign.seed")
    sign = ("--public-key", public, "--stream-admin")
    admin.run("jwt", "client", folder / "foreign.jwt", "admin", folder / "foreign.seed", *sign)
    broker.make_token(folder / "expired.jwt", "admin", public, "--validity", f"{VALIDITY}s", user=True)
    admin.run("jwt", "provisioning", folder / "provisioning.jwt", broker.issuer_seed, "--urls", broker.address)
    acme = broker.make_keys(folder / "acme.seed")
    broker.make_token(folder / "acme.jwt", "node2.example.net", acme, "--stream-user", "--org", "acme")
    (folder / "short.seed").write_text("ab" * 31)
    text = admin.token.read_text().strip()
    (folder / "broken.jwt").write_text(f"{text[:99]}\n{text[99:]}\n")

    def with_token(name: str, seed: str = "some") -> dict[str, object]:
        return {f"{TOKEN}.token_file": folder / f"{name}.jwt", f"{TOKEN}.seed_file": folder / f"{seed}.seed"}

    changes: dict[str, dict[str, object]] = {
        "expired token": with_token("expired"),
        "foreign issuer": with_token("foreign"),
        "provisioning": with_token("provisioning"),
        "broken token": with_token("broken"),
        "short seed": {f"{TOKEN}.seed_file": folder / "short.seed"},
        "another's seed": {f"{TOKEN}.seed_file": folder / "some.seed"},
        "acme": with_token("acme", "acme"),
    }
    configs = {name: edited(admin.config, folder / name, change) for name, change in changes.items()}
    configs["other collective"] = edited(server.config, folder / "other" / "server.conf", {"collectives": "elsewhere"})
    return {**configs, "server": server.config, "broker": broker.config}


@pytest.fixture(scope="module")
def jwt_broker() -> Iterator[ChoriaBroker]:
    """A broker that trusts a second organization."""
    with ChoriaBroker("choria") as first:
        config = {"plugin.security.issuer.names": "choria, acme", "plugin.security.issuer.acme.public": first.issuer}
        first.shutdown()
        edited(first.config, first.config, config)
        first.start()
        yield first


@pytest.fixture(scope="module")
def site(
    broker: ChoriaBroker, jwt_broker: ChoriaBroker, jwt_server: ChoriaServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    pair = broker.authority.issue("guarded", folder=folder)
    users = {"authorization": {"users": [{"user": "joe", "password": PASSWORD}]}}
    clients = {
        "admin": jwt_broker.client("admin", "--stream-admin", "--stream-user", "--governor"),
        "user": jwt_broker.client("user", "--stream-user"),
        "governor": jwt_broker.client("governor", "--stream-user", "--governor"),
        "nobody": jwt_broker.client("nobody"),
    }
    clients["admin"].run("kv", "add", "CFG")
    operator, tls = Operator.make(folder), pair.server_config(broker.authority)
    with (
        NatsServer({**users, **tls}) as guarded,
        NatsServer({**operator.server_config, **tls}) as operated,
        NatsServer(trace=True) as plain,
    ):
        configs = {
            **{name: client.config for name, client in clients.items()},
            **certificate_files(broker, guarded, operated, plain, folder),
            **token_files(jwt_broker, clients, jwt_server, folder),
        }
        time.sleep(VALIDITY + 1)
        files = [*folder.rglob("*"), *jwt_broker.folder.rglob("*"), *broker.folder.rglob("*")]
        held = {str(path): path.read_text() for path in files if path.suffix in (".seed", ".jwt", ".key", ".creds")}
        # The first line of a key is only its header
        secrets = {path: max(text.split("\n"), key=len) for path, text in held.items()}
        yield Site(broker, jwt_broker, jwt_server, plain, clients, configs, {**secrets, "password": PASSWORD})


def command_lines() -> str:
    """Return the command lines of all processes of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


@dataclass
class Outcome:
    result: PlaybookResult
    command_lines: str


@pytest.fixture(scope="module")
def outcome(site: Site) -> Outcome:
    """Run all cases once, with full verbosity."""
    tasks = [
        {"name": name, f"choria.streams.{module}": {"choria_config": str(site.configs[config]), **options}}
        for name, config, (module, options), _says in CASES
    ]
    play = {"hosts": "localhost", "gather_facts": False, "ignore_errors": True, "tasks": tasks}
    running, seen = RunningPlaybook([play], args=["-vvv"], env={"USER": "joe"}), set()
    while running.process.poll() is None:
        seen.add(command_lines())
        time.sleep(0.05)
    return Outcome(running.wait().check(), "\n".join(seen))


@pytest.mark.parametrize(("name", "says"), [(case[0], case[3]) for case in CASES], ids=[case[0] for case in CASES])
def test_signing_in(outcome: Outcome, name: str, says: list[str]) -> None:
    task = outcome.result.task(name)
    assert task.status == ("failed" if says else "ok"), task.message
    assert all(part in task.message for part in says), task.message
    assert "\n" not in task.message


def test_no_secret_is_shown(site: Site, outcome: Outcome) -> None:
    assert len(site.secrets) > 20
    shown = outcome.result.output + json.dumps([task.result for task in outcome.result.tasks])
    for path, secret in site.secrets.items():
        assert secret not in shown, path
        assert secret not in outcome.command_lines, path
    assert "ansible-playbook" in outcome.command_lines


def test_nothing_is_sent_to_a_server_without_tls(site: Site, outcome: Outcome) -> None:
    assert "Client connection created" in site.plain.log()
    assert "CONNECT" not in site.plain.log()


def test_only_the_key_that_others_can_read_is_warned_of(outcome: Outcome) -> None:
    warnings = re.findall(r"\[WARNING\]: (\w+): other users can read \S*/(\S+):", outcome.result.output)
    assert set(warnings) == {("client_key", "shown.key")}


# Following the advice of a refusal

SUBJECTS = [
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.INFO.NONE",
    "$JS.API.STREAM.MSG.GET.NONE",
    "$JS.API.STREAM.MSG.DELETE.NONE",
    "$JS.API.DIRECT.GET.NONE.a.b",
    "$JS.API.CONSUMER.CREATE.NONE.NONE.a",
    "$JS.API.CONSUMER.INFO.NONE.NONE",
    "$JS.API.CONSUMER.NAMES.NONE",
    "$JS.API.CONSUMER.DELETE.NONE.NONE",
    "$JS.API.STREAM.CREATE.NONE",
    "$JS.API.STREAM.UPDATE.NONE",
    "$JS.API.STREAM.DELETE.NONE",
    "$JS.API.STREAM.PURGE.NONE",
    "$JS.API.CONSUMER.PAUSE.NONE.NONE",
    "$KV.NONE.a",
    "choria.governor.NONE",
    "choria.submission.in.none",
    "orders.new",
]
HEARD = ["choria.lifecycle.event.>", "choria.machine.transition", "$JS.EVENT.ADVISORY.>", "orders.new"]


class Tokens:
    """Sessions with tokens of a kind and permissions, created when first needed."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.folder = site, folder
        self.sessions: dict[tuple[str, str], Session] = {}

    def session(self, kind: str, flags: str) -> Session:
        if (kind, flags) not in self.sessions:
            config = self.make(kind, f"{kind}{len(self.sessions)}", flags.split())
            self.sessions[kind, flags] = Session(settings(choria_config=str(config), timeout="3s"))
        return self.sessions[kind, flags]

    def make(self, kind: str, name: str, flags: list[str]) -> Path:
        broker = self.site.jwt_broker
        if kind == "client":
            return broker.client(name, *flags).config
        token, seed = self.folder / f"{name}.jwt", self.folder / f"{name}.seed"
        broker.make_token(token, name, broker.make_keys(seed), *flags)
        changes = {f"{TOKEN}.token_file": token, f"{TOKEN}.seed_file": seed}
        return edited(self.site.server.config, self.folder / name / "server.conf", changes)

    def refusal(self, kind: str, flags: str, verb: str, subject: str) -> PermissionMissing | None:
        """Return the broker's refusal of a token, or an empty text."""
        session = self.session(kind, flags)
        if verb == SUBSCRIBE:
            session.subscribe(subject)
            refused = subject in session.refused_subscriptions
            return missing_permission(verb, subject, session.settings.jwt) if refused else None
        try:
            session.request(subject)
        except PermissionMissing as error:
            return error
        except StreamsError:
            pass
        return None


@pytest.fixture(scope="module")
def tokens(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokens]:
    made = Tokens(site, tmp_path_factory.mktemp("tokens"))
    yield made
    for session in made.sessions.values():
        session.close()


@pytest.mark.parametrize("kind", ["client", "server"])
@pytest.mark.parametrize(
    ("verb", "subject"), [(PUBLISH, subject) for subject in SUBJECTS] + [(SUBSCRIBE, subject) for subject in HEARD]
)
def test_a_token_made_as_the_refusal_says_may(tokens: Tokens, kind: str, verb: str, subject: str) -> None:
    refusal = tokens.refusal(kind, "", verb, subject)
    assert refusal is not None
    advice = re.search(r"choria jwt (client|server) … (.+)'", refusal.message)
    assert advice is not None
    assert tokens.refusal(advice[1], advice[2], verb, subject) is None
    if kind != advice[1]:
        assert "no server's token may" in refusal.message
        assert tokens.refusal(kind, "--stream-user --governor --submission", verb, subject) is not None


def test_certificates_where_tokens_are_known(site: Site, tmp_path: Path) -> None:
    """Certificates may do everything except read others' events. Their reply prefix differs from that of tokens."""
    broker = site.jwt_broker
    pair = broker.authority.issue("joe", folder=tmp_path)
    files = {"client_cert": str(pair.certificate), "client_key": str(pair.key), "ca_path": str(broker.authority.path)}
    with Manager(servers=[broker.url], collective="choria", **files) as joe:
        joe.apply(GOVERNOR, name="MIXED", capacity=1, expire="1m")
        joe.apply(ENTRY, bucket="CFG", key="mixed", value="x")
        governor = governors.read(joe.session, "MIXED")
        seat = campaign(joe.session, governor, "joe", Wait(1))
        assert seat is not None
        assert campaign(joe.session, governor, "other", Wait(0.5)) is None
        assert "choria.lifecycle.event.governor.*" in joe.session.refused_subscriptions
        assert governors.leave(joe.session, seat, 1) == ""


# Discovery and output


def test_the_users_own_file_is_found(site: Site) -> None:
    user = site.clients["user"]
    tasks = [
        {"name": "facts", "choria.streams.choria_config_info": {}},
        {"name": "read", "choria.streams.choria_kv_bucket_info": {}},
    ]
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    result = run_playbook([play], env={"HOME": str(user.folder)}).check()
    assert result.task("facts").result["config"]["path"] == str(user.folder / ".choriarc")
    assert "CFG" in [bucket["name"] for bucket in result.task("read").result["buckets"]]


def test_a_context_of_the_nats_cli(site: Site, tmp_path: Path) -> None:
    joe = site.broker.client("context")
    context = {"url": site.broker.url, "ca": str(site.broker.authority.path), "cert": str(joe.certificate)}
    (tmp_path / "nats" / "context").mkdir(parents=True)
    (tmp_path / "nats" / "context" / "site.json").write_text(json.dumps({**context, "key": str(joe.key)}))
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [{"choria.streams.choria_stream_info": {"context": "site"}}],
    }
    run_playbook([play], env={"XDG_CONFIG_HOME": str(tmp_path)}).check()


@pytest.mark.parametrize(
    ("name", "provider", "collective", "caller", "permissions"),
    [
        ("file", "file", "mcollective", None, []),
        ("admin", "choria", "choria", "admin", ["fleet_management", "governor", "streams_admin", "streams_user"]),
        ("server", "choria", "choria", "node1.example.net", ["governor", "streams", "submission"]),
        ("broker", "choria", "choria", "broker.example.net", ["governor", "streams", "submission"]),
    ],
)
def test_facts_of_real_files(
    site: Site, name: str, provider: str, collective: str, caller: str | None, permissions: list[str]
) -> None:
    facts = config_facts({"choria_config": str(site.configs[name])})
    broker = site.broker if provider == "file" else site.jwt_broker
    assert facts["problem"] is None
    assert (facts["provider"], facts["main_collective"]) == (provider, collective)
    assert facts["connection"]["servers"] == [broker.address]
    assert facts["spool"] == (str(site.server.spool) if name == "server" else None)
    assert (facts["token"] and facts["token"]["caller"], facts["token"] and facts["token"]["permissions"]) == (
        caller,
        permissions or None,
    )
    assert not [path for path, secret in site.secrets.items() if secret in json.dumps(facts)]


def test_a_token_that_ends_while_a_seat_is_held(jwt_broker: ChoriaBroker) -> None:
    """The next connection uses the token that its file has by then. A token that has ended is named as the reason."""
    permissions = "--stream-admin", "--stream-user", "--governor"
    short = jwt_broker.client("short", *permissions, "--validity", "6s")
    with Manager(choria_config=str(short.config)) as manager:
        session = manager.session
        manager.apply(GOVERNOR, name="SHORT", capacity=1, expire="20m")
        seat = campaign(session, governors.read(session, "SHORT"), "me", Wait(0))
        assert seat and session.settings.jwt and session.settings.jwt.expires
        end = parse_timestamp(session.settings.jwt.expires).timestamp()
        wait_until(lambda: time.time() > end)
        session.close()
        with pytest.raises(OptionError, match=rf"^jwt: the token in {short.token} expired at"):
            governors.leave(session, seat, 30)
        public = short.seed.with_suffix(".public").read_text().strip()
        jwt_broker.make_token(short.token, "short", public, *permissions, user=True)
        assert governors.leave(session, seat, 0) == ""
