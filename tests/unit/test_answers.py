# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What answers of the JetStream API are taken for."""

from __future__ import annotations

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import jetstream
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Message
from ansible_collections.choria.streams.plugins.module_utils._errors import ApiError, WrongAnswer


@pytest.mark.parametrize("data", [b"", b"+OK", b"\xff", b"null", b"[]", b"7"])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(WrongAnswer, match=r"^Reading it: the answer is not JetStream's \(it is not "):
        jetstream.decode("Reading it", Message("reply", data))


def test_an_error() -> None:
    answer = Message("reply", b'{"error": {"code": 404, "err_code": 10059, "description": "stream not found"}}')
    with pytest.raises(ApiError) as error:
        jetstream.decode("Reading it", answer)
    assert (error.value.status, error.value.err_code) == (404, 10059)


def test_an_object() -> None:
    assert jetstream.decode("Reading it", Message("reply", b'{"total": 1}')) == {"total": 1}
