# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that Ansible's main process does once for the processes that it forks for each task on each host.

Only ``Notice`` is needed in runs that use nothing of this collection, so the rest is imported where it is used.
"""

from __future__ import annotations

import mmap
from contextlib import suppress


class Notice:
    """One byte that all processes of a run share. A forked one sets it when it uses a lookup."""

    _byte: mmap.mmap | None = None

    @classmethod
    def share(cls) -> None:
        """Share the byte with the processes that are forked later."""
        cls._byte = mmap.mmap(-1, 1)

    @classmethod
    def set(cls) -> None:
        """Report that this process uses a lookup, if any process expects that."""
        if cls._byte:
            cls._byte[0] = 1

    @classmethod
    def is_set(cls) -> bool:
        """Return True if a process has used a lookup."""
        return cls._byte is not None and cls._byte[0] == 1


def prepare() -> None:
    """Import what connections need, and compute what each process would compute again.

    That is how answers are checked, and what Ansible itself keeps for templates and results once it has used it. A
    missing library is reported later.
    """
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar, trust_as_template

    from ..module_utils import _errors
    from ..module_utils._api import answers
    from ..module_utils._connection import wire
    from ..module_utils._connection.client import preload
    from ..module_utils._connection.settings import Settings
    from ..module_utils._options import names, shapes
    from ._ansible_compat import prepare_results

    with suppress(_errors.StreamsError):
        preload(Settings.from_options({"servers": ["nats://127.0.0.1"]}.get))
    for name in (names.BUCKET_NAME, names.EXISTING_KEY):
        name.to_wire("A")  # which keeps the compiled pattern
    calls = (answers.StreamInfo, answers.StoredMessage, answers.Done)
    for shape in (*calls, answers.Failure, answers.MessageNeeds, answers.PubAck, wire.Greeting):
        shapes.problem({}, shape)  # which keeps the check of the shape
    Templar(DataLoader()).template(trust_as_template("{{ 1 }}"))  # which keeps the patterns of templates
    prepare_results()
