# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/from-terraform-and-nack.md names only existing options of ours, and all fields of the other tools.

The lists are those of terraform-provider-jetstream 738b31d (jetstream/*.go) and NACK f6dad09 (deploy/crds.yml).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from ansible_collections.choria.streams.plugins.module_utils._options.connection import CONNECTION
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.entry import ENTRY
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ansible_collections.choria.streams.plugins.module_utils._options.fields import Field

pytestmark = pytest.mark.once

PAGE = (ROOT / "docs" / "from-terraform-and-nack.md").read_text()
SECTIONS = {
    "choria_stream": (STREAM.spec, STREAM.states),
    "choria_consumer": (CONSUMER.spec, CONSUMER.states),
    "choria_kv_bucket": (BUCKET.spec, BUCKET.states),
    "choria_kv": (ENTRY.spec, ENTRY.states),
    "every module": (CONNECTION, {}),
}
ORIGIN = """name start_seq start_time filter_subject external.api external.deliver subject_transform.source
    subject_transform.destination consumer.name consumer.deliver_subject optStartSeq optStartTime filterSubject
    externalApiPrefix externalDeliverPrefix subjectTransforms.source subjectTransforms.dest"""
THEIRS = {
    "choria_stream": f"""
        name description metadata subjects discard discard_new_per_subject max_msgs max_msgs_per_subject
        max_bytes max_age duplicate_window max_msg_size storage ack retention compression max_consumers
        replicas deny_delete deny_purge allow_rollup_hdrs allow_direct mirror_direct placement_cluster
        placement_tags placement_preferred subject_transform.source subject_transform.destination mirror
        source republish_source republish_destination republish_headers_only max_ack_pending
        inactive_threshold allow_msg_ttl subject_delete_marker_ttl allow_msg_counter allow_atomic
        allow_msg_schedules first_seq persist_mode allow_batched maxConsumers maxMsgs maxBytes
        discardPerSubject maxAge maxMsgsPerSubject maxMsgSize noAck duplicateWindow placement.cluster
        placement.tags sources sealed denyDelete denyPurge allowRollup firstSequence subjectTransform.source
        subjectTransform.dest republish.destination republish.source allowDirect mirrorDirect allowMsgTtl
        subjectDeleteMarkerTtl allowMsgCounter allowAtomicPublish allowMsgSchedules persistMode
        consumerLimits.inactiveThreshold consumerLimits.maxAckPending preventDelete preventUpdate {ORIGIN}
    """,
    "choria_consumer": """
        stream_id description metadata durable_name delivery_subject stream_sequence start_time deliver_all
        deliver_last_per_subject deliver_last deliver_new delivery_group ack_policy ack_wait max_delivery
        filter_subject filter_subjects replay_policy sample_freq ratelimit max_ack_pending heartbeat
        flow_control max_waiting headers_only max_batch max_expires max_bytes inactive_threshold replicas
        memory backoff priority_policy priority_groups priority_timeout durableName streamName deliverPolicy
        optStartSeq optStartTime deliverSubject ackPolicy ackWait maxDeliver filterSubject filterSubjects
        replayPolicy sampleFreq maxWaiting rateLimitBps maxAckPending deliverGroup flowControl headersOnly
        heartbeatInterval maxRequestBatch maxRequestExpires maxRequestMaxBytes inactiveThreshold pauseUntil
        priorityPolicy pinnedTtl priorityGroups memStorage preventDelete preventUpdate
    """,
    "choria_kv_bucket": """
        name description storage history ttl max_value_size max_bucket_size placement_cluster placement_tags
        replicas limit_marker_ttl bucket maxValueSize limitMarkerTtl maxBytes placement.cluster placement.tags
        republish.destination republish.source mirror compression sources preventDelete preventUpdate
    """,
    "choria_kv": "bucket key value revision",
    "every module": """
        servers credentials credential_data user password nkey tls.ca_file tls.ca_file_data tls.cert_file
        tls.cert_file_data tls.key_file tls.key_file_data creds tls.clientCert tls.clientKey tls.rootCas
        tlsFirst jsDomain account Account.token Account.user
    """,
}


def rows(section: str) -> list[list[str]]:
    """Return the cells of a section's tables, without their heads."""
    heading = next(
        line for line in PAGE.splitlines() if line.startswith("## ") and re.search(rf": `?{section}`?$", line)
    )
    text = PAGE.partition(f"{heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [cells for cells in lines if cells[2].strip() != "here" and "---" not in cells[0]]


def exists(path: str, fields: Iterable[Field]) -> bool:
    name, _dot, rest = path.partition(".")
    row = next((row for row in fields if row.option == name), None)
    if row is None or not rest:
        return row is not None
    return exists(rest, row.codec.inner)


@pytest.mark.parametrize("section", SECTIONS)
def test_our_options_exist(section: str) -> None:
    spec, states = SECTIONS[section]
    ours = [
        name
        for cells in rows(section)
        if not cells[2].strip().startswith("none")
        for name in re.findall("`(.+?)`", cells[2])
    ]
    assert len(ours) > 2
    assert [name for name in ours if not exists(name, spec) and name not in states] == []


@pytest.mark.parametrize("section", SECTIONS)
def test_their_fields_are_there(section: str) -> None:
    named = {name for cells in rows(section) for cell in cells[:2] for name in re.findall("`(.+?)`", cell)}
    assert sorted(set(THEIRS[section].split()) - named) == []
    # The page names no field that the tools do not have
    assert sorted(named - set(THEIRS[section].split())) == []


def test_missing_options_are_found() -> None:
    assert exists("mirror.external.api", STREAM.spec)
    assert not exists("mirror.external.nothing", STREAM.spec)
    assert not exists("nothing", STREAM.spec)
