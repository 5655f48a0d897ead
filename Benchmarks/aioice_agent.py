# SPDX-License-Identifier: Apache-2.0
"""One agent of aioice for `dreamer nat lab --agent aioice`: JSON lines on standard input and output."""
import argparse
import asyncio
import json
import sys
import time

import aioice

DATA = bytes([22]) * 1200


def tell(event, **members):
    line = {"event": event, "time": time.monotonic_ns(), **members}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def endpoint(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--role", required=True)
    parser.add_argument("--address")
    parser.add_argument("--stun", type=endpoint)
    parser.add_argument("--turn", action="append", default=[])
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    options = parser.parse_args()

    settings = {}
    if options.turn:
        transport, server = options.turn[0].split(":", 1)
        settings = {
            "turn_server": endpoint(server),
            "turn_username": options.user,
            "turn_password": options.password,
            "turn_transport": "udp" if transport == "udp" else "tcp",
            "turn_ssl": transport == "tls",
        }
    connection = aioice.Connection(
        ice_controlling=options.role == "controlling", stun_server=options.stun, use_ipv6=False, **settings
    )
    began = time.monotonic_ns()
    await connection.gather_candidates()
    tell(
        "description",
        ufrag=connection.local_username,
        pwd=connection.local_password,
        candidates=["candidate:" + candidate.to_sdp() for candidate in connection.local_candidates],
        gathering=time.monotonic_ns() - began,
    )

    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    line = await reader.readline()
    if not line:
        return
    peer = json.loads(line)
    connection.remote_username = peer["ufrag"]
    connection.remote_password = peer["pwd"]
    for candidate in peer["candidates"]:
        await connection.add_remote_candidate(aioice.Candidate.from_sdp(candidate.removeprefix("candidate:")))
    await connection.add_remote_candidate(None)
    tell("accepted")

    async def talk():
        try:
            await connection.connect()
        except ConnectionError:
            tell("failed")
            return
        pair = connection._nominated[1]
        tell("connected", local=pair.local_candidate.type, remote=pair.remote_candidate.type)

        async def send():
            while True:
                await connection.send(DATA)
                await asyncio.sleep(0.01)

        sending = asyncio.create_task(send())
        await connection.recv()
        tell("data")
        while True:
            await connection.recv()
        sending.cancel()

    talking = asyncio.create_task(talk())
    await reader.read()
    talking.cancel()


asyncio.run(main())
