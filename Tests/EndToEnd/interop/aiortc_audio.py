# SPDX-License-Identifier: Apache-2.0
"""An aiortc peer that sends a tone and listens to what comes back, driven over standard input and output.

    aiortc_audio.py audio-first|data-first [send]

It offers an audio section and a data channel, in this order, as {"type":"offer","sdp"}, and reads the answer. Then it tells
    {"event": "open"}                             the channel is open
    {"event": "echo", "frames", "hertz", "loud"}  so many frames of audio came back, the last with this pitch
    {"event": "stats", "sent", "received"}        RTP packets, when told {"command": "stats"}
until it is told {"command": "quit"}. With "send" it takes no audio.
"""
import array
import asyncio
import fractions
import json
import math
import sys

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

RATE = 48000
SAMPLES = 960  # 20 ms
PITCH = 1000


def say(**message):
    print(json.dumps(message), flush=True)


async def read_line():
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


class Tone(MediaStreamTrack):
    """A sine, 20 ms at a time."""

    kind = "audio"
    position = 0

    async def recv(self):
        await asyncio.sleep(SAMPLES / RATE)
        turns = (PITCH * (self.position + index) / RATE for index in range(SAMPLES))
        frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        samples = array.array("h", (int(8000 * math.sin(2 * math.pi * turn)) for turn in turns))
        frame.planes[0].update(samples.tobytes())
        frame.sample_rate = RATE
        frame.pts = self.position
        frame.time_base = fractions.Fraction(1, RATE)
        self.position += SAMPLES
        return frame


async def listen(track):
    heard = array.array("h")
    frames = 0
    while True:
        frame = await track.recv()
        frames += 1
        # 16 bits, channels side by side.
        samples = array.array("h", bytes(frame.planes[0])[: frame.samples * len(frame.layout.channels) * 2])
        heard.extend(samples[:: len(frame.layout.channels)])
        # Opus needs a moment to start; then every half second is looked at.
        if frames % 25 == 0:
            if frames >= 50:
                rises = sum(1 for old, new in zip(heard, heard[1:]) if old < 0 <= new)
                loud = math.sqrt(sum(sample * sample for sample in heard) / len(heard))
                hertz = rises * frame.sample_rate / len(heard)
                say(event="echo", frames=frames, hertz=10 * round(hertz / 10), loud=loud > 1000)
            heard = array.array("h")


async def main(order, direction):
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    tasks = []

    @connection.on("track")
    def on_track(track):
        say(event="track", kind=track.kind)
        tasks.append(asyncio.ensure_future(listen(track)))

    @connection.on("connectionstatechange")
    def on_state():
        say(event="state", state=connection.connectionState)

    def open_channel():
        channel = connection.createDataChannel("control")
        channel.on("open", lambda: say(event="open"))
        channel.on("message", lambda message: say(event="message", text=message))

    if order == "data-first":
        open_channel()
    connection.addTransceiver(Tone(), direction=direction)
    if order == "audio-first":
        open_channel()
    await connection.setLocalDescription(await connection.createOffer())
    say(type="offer", sdp=connection.localDescription.sdp)
    await connection.setRemoteDescription(RTCSessionDescription(**json.loads(await read_line())))
    while line := await read_line():
        command = json.loads(line).get("command")
        if command == "stats":
            sent = received = 0
            for report in (await connection.getStats()).values():
                sent += report.packetsSent if report.type == "outbound-rtp" else 0
                received += report.packetsReceived if report.type == "inbound-rtp" else 0
            say(event="stats", sent=sent, received=received)
        elif command == "quit":
            break
    for task in tasks:
        task.cancel()
    await connection.close()


asyncio.run(main(sys.argv[1], "sendonly" if "send" in sys.argv[2:] else "sendrecv"))
