# SPDX-License-Identifier: Apache-2.0
"""An aiortc peer that is driven over standard input and output, one JSON object a line.

    aiortc_peer.py offer    writes {"type":"offer","sdp"}, reads the answer
    aiortc_peer.py answer   reads the offer, writes {"type":"answer","sdp"}

What happens is told as {"event": ...}. On every channel "echo:" text comes back without its prefix, binary messages come
back as they are; "send <n>" makes the peer send n bytes (byte i is i mod 251), "close" makes it close the channel.
As offerer it opens the channels "control" (ordered) and "bulk" (unordered).
"""
import asyncio
import json
import sys

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription


def say(**message):
    print(json.dumps(message), flush=True)


async def read_line():
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def serve(channel):
    @channel.on("message")
    def on_message(message):
        if isinstance(message, bytes):
            say(event="binary", channel=channel.label, length=len(message))
            channel.send(message)
        elif message.startswith("echo:"):
            channel.send(message[5:])
        elif message.startswith("send "):
            channel.send(bytes(i % 251 for i in range(int(message[5:]))))
        elif message == "close":
            channel.close()
        else:
            say(event="text", channel=channel.label, text=message)

    @channel.on("close")
    def on_close():
        say(event="closed", channel=channel.label)


async def main(role):
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))

    @connection.on("connectionstatechange")
    def on_state():
        say(event="state", state=connection.connectionState)

    @connection.on("datachannel")
    def on_channel(channel):
        say(event="channel", channel=channel.label, protocol=channel.protocol, ordered=channel.ordered)
        serve(channel)

    if role == "offer":
        for label, ordered in (("control", True), ("bulk", False)):
            channel = connection.createDataChannel(label, ordered=ordered, protocol="dreamer/1")
            channel.on("open", lambda channel=channel: say(event="open", channel=channel.label))
            serve(channel)
        await connection.setLocalDescription(await connection.createOffer())
        say(type="offer", sdp=connection.localDescription.sdp)
        await connection.setRemoteDescription(RTCSessionDescription(**json.loads(await read_line())))
    else:
        await connection.setRemoteDescription(RTCSessionDescription(**json.loads(await read_line())))
        await connection.setLocalDescription(await connection.createAnswer())
        say(type="answer", sdp=connection.localDescription.sdp)

    while line := await read_line():
        if json.loads(line).get("command") == "quit":
            break
    await connection.close()


asyncio.run(main(sys.argv[1]))
