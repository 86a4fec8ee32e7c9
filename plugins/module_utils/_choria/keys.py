# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of Choria's configuration files: those that ``choria tool config --list`` of 0.30.2 lists, and the others.

tests/interop/test_choria_keys.py compares the list with the real program.
"""

from __future__ import annotations

import difflib
import re

from .._options.mask import USUAL

# The names of keys by their prefixes, both in the order of the alphabet
_BY_PREFIX = {
    "": """
        classesfile collectives color default_discovery_method default_discovery_options discovery_timeout identity
        libdir logfile loglevel main_collective registerinterval registration registration_collective
        registration_splay rpcaudit rpcauthorization rpcauthprovider rpclimitmethod soft_shutdown_timeout ttl
    """,
    "plugin.": """
        login.aaasvc.login.url nats.credentials nats.pass nats.user rpcaudit.logfile rpcaudit.logfile.group
        rpcaudit.logfile.mode yaml
    """,
    "plugin.choria.": """
        adapters broker_federation broker_network executor.enabled executor.spool federation.cluster
        federation.collectives federation_middleware_hosts legacy_lifecycle_format machine.http_port
        machine.signing_key machine.store middleware_hosts prometheus_textfile_directory puppetca_host puppetca_port
        puppetdb_host puppetdb_port puppetserver_host puppetserver_port require_client_filter server.provision
        server.provision.allow_update services.registry.cache services.registry.store srv_domain ssldir
        stats_address stats_port status_file_path status_update_interval submission.max_spool_size submission.spool
        use_srv
    """,
    "plugin.choria.agent_provider.mcorpc.": "agent_shim config libdir",
    "plugin.choria.discovery.": "broadcast.windowed_timeout external.command inventory.source",
    "plugin.choria.network.": """
        auth_timeout client_hosts client_port client_signer_cert client_tls_force_required connect_timeout
        deny_server_connections gateway_name gateway_port gateway_remotes leafnode_port leafnode_remotes
        listen_address mapping.names peer_password peer_port peer_user peers pprof_port provisioning.client_password
        provisioning.provisioner_without_token provisioning.signer_cert public_url server_signer_cert
        soft_shutdown_timeout system.password system.user tls_timeout websocket_advertise websocket_port
        write_deadline
    """,
    "plugin.choria.network.stream.": """
        advisory_replicas advisory_retention event_replicas event_retention executor_replicas executor_retention
        leader_election_replicas leader_election_ttl machine_replicas machine_retention manage_streams store
    """,
    "plugin.choria.registration.": """
        file_content.compression file_content.data file_content.target inventory_content.compression
        inventory_content.target size_interval size_trigger
    """,
    "plugin.choria.security.": """
        certname_whitelist privileged_users request_signer.seed_file request_signer.service
        request_signer.token_file request_signer.url server.seed_file server.token_file
    """,
    "plugin.machines.": "bucket check_interval download key poll_interval purge signing_key",
    "plugin.scout.": "agent_disabled goss.denied_local_resources goss.denied_remote_resources overrides tags",
    "plugin.security.": """
        choria.ca choria.certificate choria.key choria.seed_file choria.sign_replies choria.token_file
        choria.trusted_signers cipher_suites client_anon_tls ecc_curves file.ca file.certificate file.key
        issuer.names pkcs11.driver_file pkcs11.slot provider server_anon_tls support_legacy_certificates
    """,
    "plugin.security.certmanager.": "alt_names api_version issuer namespace replace",
}
LISTED = tuple(prefix + name for prefix, names in _BY_PREFIX.items() for name in names.split())

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
