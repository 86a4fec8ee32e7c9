# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of Choria's configuration files: those that ``choria tool config --list`` of 0.30.2 lists, and the others.

tests/interop/test_choria_keys.py compares the list with the real program.
"""

from __future__ import annotations

import difflib
import re

from .._options.mask import USUAL

LISTED = (
    "classesfile",
    "collectives",
    "color",
    "default_discovery_method",
    "default_discovery_options",
    "discovery_timeout",
    "identity",
    "libdir",
    "logfile",
    "loglevel",
    "main_collective",
    "plugin.choria.adapters",
    "plugin.choria.agent_provider.mcorpc.agent_shim",
    "plugin.choria.agent_provider.mcorpc.config",
    "plugin.choria.agent_provider.mcorpc.libdir",
    "plugin.choria.broker_federation",
    "plugin.choria.broker_network",
    "plugin.choria.discovery.broadcast.windowed_timeout",
    "plugin.choria.discovery.external.command",
    "plugin.choria.discovery.inventory.source",
    "plugin.choria.executor.enabled",
    "plugin.choria.executor.spool",
    "plugin.choria.federation.cluster",
    "plugin.choria.federation.collectives",
    "plugin.choria.federation_middleware_hosts",
    "plugin.choria.legacy_lifecycle_format",
    "plugin.choria.machine.http_port",
    "plugin.choria.machine.signing_key",
    "plugin.choria.machine.store",
    "plugin.choria.middleware_hosts",
    "plugin.choria.network.auth_timeout",
    "plugin.choria.network.client_hosts",
    "plugin.choria.network.client_port",
    "plugin.choria.network.client_signer_cert",
    "plugin.choria.network.client_tls_force_required",
    "plugin.choria.network.connect_timeout",
    "plugin.choria.network.deny_server_connections",
    "plugin.choria.network.gateway_name",
    "plugin.choria.network.gateway_port",
    "plugin.choria.network.gateway_remotes",
    "plugin.choria.network.leafnode_port",
    "plugin.choria.network.leafnode_remotes",
    "plugin.choria.network.listen_address",
    "plugin.choria.network.mapping.names",
    "plugin.choria.network.peer_password",
    "plugin.choria.network.peer_port",
    "plugin.choria.network.peer_user",
    "plugin.choria.network.peers",
    "plugin.choria.network.pprof_port",
    "plugin.choria.network.provisioning.client_password",
    "plugin.choria.network.provisioning.provisioner_without_token",
    "plugin.choria.network.provisioning.signer_cert",
    "plugin.choria.network.public_url",
    "plugin.choria.network.server_signer_cert",
    "plugin.choria.network.soft_shutdown_timeout",
    "plugin.choria.network.stream.advisory_replicas",
    "plugin.choria.network.stream.advisory_retention",
    "plugin.choria.network.stream.event_replicas",
    "plugin.choria.network.stream.event_retention",
    "plugin.choria.network.stream.executor_replicas",
    "plugin.choria.network.stream.executor_retention",
    "plugin.choria.network.stream.leader_election_replicas",
    "plugin.choria.network.stream.leader_election_ttl",
    "plugin.choria.network.stream.machine_replicas",
    "plugin.choria.network.stream.machine_retention",
    "plugin.choria.network.stream.manage_streams",
    "plugin.choria.network.stream.store",
    "plugin.choria.network.system.password",
    "plugin.choria.network.system.user",
    "plugin.choria.network.tls_timeout",
    "plugin.choria.network.websocket_advertise",
    "plugin.choria.network.websocket_port",
    "plugin.choria.network.write_deadline",
    "plugin.choria.prometheus_textfile_directory",
    "plugin.choria.puppetca_host",
    "plugin.choria.puppetca_port",
    "plugin.choria.puppetdb_host",
    "plugin.choria.puppetdb_port",
    "plugin.choria.puppetserver_host",
    "plugin.choria.puppetserver_port",
    "plugin.choria.registration.file_content.compression",
    "plugin.choria.registration.file_content.data",
    "plugin.choria.registration.file_content.target",
    "plugin.choria.registration.inventory_content.compression",
    "plugin.choria.registration.inventory_content.target",
    "plugin.choria.registration.size_interval",
    "plugin.choria.registration.size_trigger",
    "plugin.choria.require_client_filter",
    "plugin.choria.security.certname_whitelist",
    "plugin.choria.security.privileged_users",
    "plugin.choria.security.request_signer.seed_file",
    "plugin.choria.security.request_signer.service",
    "plugin.choria.security.request_signer.token_file",
    "plugin.choria.security.request_signer.url",
    "plugin.choria.security.server.seed_file",
    "plugin.choria.security.server.token_file",
    "plugin.choria.server.provision",
    "plugin.choria.server.provision.allow_update",
    "plugin.choria.services.registry.cache",
    "plugin.choria.services.registry.store",
    "plugin.choria.srv_domain",
    "plugin.choria.ssldir",
    "plugin.choria.stats_address",
    "plugin.choria.stats_port",
    "plugin.choria.status_file_path",
    "plugin.choria.status_update_interval",
    "plugin.choria.submission.max_spool_size",
    "plugin.choria.submission.spool",
    "plugin.choria.use_srv",
    "plugin.login.aaasvc.login.url",
    "plugin.machines.bucket",
    "plugin.machines.check_interval",
    "plugin.machines.download",
    "plugin.machines.key",
    "plugin.machines.poll_interval",
    "plugin.machines.purge",
    "plugin.machines.signing_key",
    "plugin.nats.credentials",
    "plugin.nats.pass",
    "plugin.nats.user",
    "plugin.rpcaudit.logfile",
    "plugin.rpcaudit.logfile.group",
    "plugin.rpcaudit.logfile.mode",
    "plugin.scout.agent_disabled",
    "plugin.scout.goss.denied_local_resources",
    "plugin.scout.goss.denied_remote_resources",
    "plugin.scout.overrides",
    "plugin.scout.tags",
    "plugin.security.certmanager.alt_names",
    "plugin.security.certmanager.api_version",
    "plugin.security.certmanager.issuer",
    "plugin.security.certmanager.namespace",
    "plugin.security.certmanager.replace",
    "plugin.security.choria.ca",
    "plugin.security.choria.certificate",
    "plugin.security.choria.key",
    "plugin.security.choria.seed_file",
    "plugin.security.choria.sign_replies",
    "plugin.security.choria.token_file",
    "plugin.security.choria.trusted_signers",
    "plugin.security.cipher_suites",
    "plugin.security.client_anon_tls",
    "plugin.security.ecc_curves",
    "plugin.security.file.ca",
    "plugin.security.file.certificate",
    "plugin.security.file.key",
    "plugin.security.issuer.names",
    "plugin.security.pkcs11.driver_file",
    "plugin.security.pkcs11.slot",
    "plugin.security.provider",
    "plugin.security.server_anon_tls",
    "plugin.security.support_legacy_certificates",
    "plugin.yaml",
    "registerinterval",
    "registration",
    "registration_collective",
    "registration_splay",
    "rpcaudit",
    "rpcauthorization",
    "rpcauthprovider",
    "rpclimitmethod",
    "soft_shutdown_timeout",
    "ttl",
)

# Read by name where they are used, so that the program does not list them
UNLISTED = (
    "plugin.actionpolicy.allow_unconfigured",
    "plugin.actionpolicy.default_name",
    "plugin.actionpolicy.enable_default",
    "plugin.choria.federation.instance",
    "plugin.regopolicy.tracing",
)

_TLS = r"tls\.(cert|key|ca|verify|disable)"
# Keys with the name of something that another key lists, such as an adapter
_NAMED = tuple(
    re.compile(pattern)
    for pattern in (
        r"plugin\.choria\.adapter\.[^.]+\.(type|queue_len)",
        r"plugin\.choria\.adapter\.[^.]+\.stream\.(servers|topic|workers)",
        r"plugin\.choria\.adapter\.[^.]+\.ingest\.(topic|protocol|workers)",
        rf"plugin\.choria\.network\.gateway_remote\.[^.]+\.(urls|{_TLS})",
        rf"plugin\.choria\.network\.leafnode_remote\.[^.]+\.(url|account|credentials|{_TLS})",
        r"plugin\.choria\.network\.mapping\.[^.]+\.(source|destination)",
        r"plugin\.security\.issuer\.[^.]+\.public",
    )
)

SECRET = (
    "plugin.choria.network.peer_password",
    "plugin.choria.network.provisioning.client_password",
    "plugin.choria.network.system.password",
    "plugin.nats.pass",
)


def is_known(key: str) -> bool:
    """Return True if Choria knows this key."""
    return key in LISTED or key in UNLISTED or any(pattern.fullmatch(key) for pattern in _NAMED)


def is_secret(key: str) -> bool:
    """Return True if the value of a key must not be shown. The usual patterns decide for unknown keys."""
    return key in SECRET or (not is_known(key) and USUAL.hides(key))


def nearest(key: str) -> str:
    """Return the known key that is most similar, or an empty text if none is."""
    return next(iter(difflib.get_close_matches(key, (*LISTED, *UNLISTED), 1, 0.8)), "")
