# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module that only imports nats-py, connects and reads a key: the least that a module with nats-py takes."""

from __future__ import annotations

import asyncio
import os

import nats
from ansible.module_utils.basic import AnsibleModule


async def read(bucket: str, key: str) -> str:
    client = await nats.connect(os.environ["CHORIA_STREAMS_SERVERS"])
    try:
        message = await client.request(f"$JS.API.DIRECT.GET.KV_{bucket}.$KV.{bucket}.{key}", timeout=5)
    finally:
        await client.close()
    return message.data.decode()


def main() -> None:
    module = AnsibleModule({"bucket": {"type": "str"}, "key": {"type": "str", "no_log": False}})
    module.exit_json(value=asyncio.run(read(**module.params)))


if __name__ == "__main__":
    main()
