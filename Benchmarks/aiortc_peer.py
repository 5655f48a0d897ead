# SPDX-License-Identifier: Apache-2.0
"""An aiortc peer for `dreamer bench channel --peer`. Benchmarks/README.md has the protocol.

    dreamer bench channel --size 64MiB --peer ".venv/bin/python3 Benchmarks/aiortc_peer.py"
"""
import asyncio
import json
import sys
import time

import aioice.ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

PING_BYTES = 64
HIGH_WATER, LOW_WATER = 1 << 20, 512 << 10


def say(event, **members):
    print(json.dumps({"event": event, **members}), flush=True)


class Peer:
    def __init__(self):
        self.connection = None
        self.channel = None
        self.expected = 0
        self.echo = asyncio.Event()
        self.low = asyncio.Event()

    def connect(self):
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connection.on("datachannel", self.use)

    def use(self, channel):
        self.channel = channel
        channel.bufferedAmountLowThreshold = LOW_WATER
        channel.on("message", self.received)
        channel.on("bufferedamountlow", self.low.set)
        if channel.readyState == "open":
            say("opened")
        else:
            channel.on("open", lambda: say("opened"))

    def received(self, message):
        if len(message) > PING_BYTES:
            if self.expected > 0:
                self.expected -= len(message)
                if self.expected <= 0:
                    say("received")
        elif self.connection.localDescription.type == "offer":
            self.echo.set()
        else:
            self.channel.send(message)

    async def describe(self, event, description):
        # aiortc's descriptions are complete when they are set.
        await self.connection.setLocalDescription(description)
        say(event, sdp=self.connection.localDescription.sdp)

    async def ping(self, count):
        times = []
        for _ in range(count):
            begin = time.perf_counter()
            self.echo.clear()
            self.channel.send(bytes(PING_BYTES))
            await self.echo.wait()
            times.append((time.perf_counter() - begin) * 1e6)
        say("pinged", microseconds=times)

    async def send(self, total, size):
        message = bytes(size)
        for _ in range(0, total, size):
            while self.channel.bufferedAmount >= HIGH_WATER:
                self.low.clear()
                await self.low.wait()
            self.channel.send(message)
        say("sent")

    async def do(self, command):
        name = command["command"]
        if name == "start":
            # By itself it leaves loopback out.
            aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [command["address"]]
            say("ready", name="aiortc", maxMessageBytes=262144)
        elif name == "offer":
            self.connect()
            self.use(self.connection.createDataChannel("bench", ordered=command["ordered"]))
            await self.describe("offer", await self.connection.createOffer())
        elif name == "accept":
            self.connect()
            await self.connection.setRemoteDescription(RTCSessionDescription(command["sdp"], "offer"))
            await self.describe("answer", await self.connection.createAnswer())
        elif name == "answer":
            await self.connection.setRemoteDescription(RTCSessionDescription(command["sdp"], "answer"))
        elif name == "ping":
            await self.ping(command["count"])
        elif name == "receive":
            self.expected = command["bytes"]
            say("receiving")
        elif name == "send":
            await self.send(command["bytes"], command["messageBytes"])
        elif name == "close":
            await self.connection.close()
            say("closed")


async def main():
    peer = Peer()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        await peer.do(json.loads(line))


asyncio.run(main())
