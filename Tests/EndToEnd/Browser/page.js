// SPDX-License-Identifier: Apache-2.0
"use strict";

// The browser's half of the data channel tests. It asks the server that it came from what to do (GET /command answers
// {"id", "do", "with": [...]} as soon as there is something), and tells what came of it and what happens (POST /report,
// a list of {"id", "value"}, {"id", "error"} and {"event", ...}), in order.
//
// A channel is named by its connection's name and its label. What it does with messages is its mode:
//   "count"   adds up messages and bytes and checks that binary bytes are i mod 251; what it counted is asked for
//   "echo"    sends every message back
//   "tell"    reports every message

const reports = [];
let isReporting = false;

async function report(entry) {
    reports.push(entry);
    if (isReporting) return;
    isReporting = true;
    while (reports.length > 0) {
        await fetch("/report", { method: "POST", body: JSON.stringify(reports.splice(0)) });
    }
    isReporting = false;
}

const connections = new Map();

class Connection {
    constructor(name, configuration) {
        this.name = name;
        this.channels = new Map();
        this.peer = new RTCPeerConnection(configuration);
        this.peer.onicecandidate = ({ candidate }) => {
            this.tell("candidate", { candidate: candidate ? candidate.toJSON() : null });
        };
        this.peer.onconnectionstatechange = () => this.tell("state", { state: this.peer.connectionState });
        this.peer.oniceconnectionstatechange = () => this.tell("ice", { state: this.peer.iceConnectionState });
        this.peer.ondatachannel = ({ channel }) => {
            this.add(channel);
            this.tell("channel", describe(channel));
        };
    }

    tell(event, members) {
        report({ event, connection: this.name, ...members });
    }

    /// Channels of one label follow each other: the last one counts.
    add(channel) {
        const entry = new Channel(this, channel);
        this.channels.set(channel.label, entry);
        return entry;
    }

    async gathered() {
        if (this.peer.iceGatheringState === "complete") return;
        await new Promise((resolve) => {
            this.peer.addEventListener("icegatheringstatechange", () => {
                if (this.peer.iceGatheringState === "complete") resolve();
            });
        });
    }

    async describe(description, trickles) {
        await this.peer.setLocalDescription(description);
        if (!trickles) await this.gathered();
        return this.peer.localDescription.toJSON();
    }
}

function describe(channel) {
    return {
        label: channel.label, id: channel.id, ordered: channel.ordered, protocol: channel.protocol,
        maxRetransmits: channel.maxRetransmits, maxPacketLifeTime: channel.maxPacketLifeTime,
        negotiated: channel.negotiated, state: channel.readyState,
    };
}

class Channel {
    constructor(connection, channel) {
        this.connection = connection;
        this.channel = channel;
        this.mode = "echo";
        this.count = { messages: 0, texts: 0, bytes: 0, wrong: 0, largest: 0, firstAt: 0, lastAt: 0 };
        channel.binaryType = "arraybuffer";
        channel.onopen = () => this.tell("open", { id: channel.id });
        channel.onclosing = () => this.tell("closing", {});
        channel.onclose = () => this.tell("close", {});
        channel.onerror = ({ error }) => this.tell("error", { message: String(error), detail: error?.errorDetail });
        channel.onmessage = ({ data }) => this.take(data);
    }

    tell(event, members) {
        this.connection.tell(event, { label: this.channel.label, ...members });
    }

    echo(data) {
        // A busy Chromium gives out a message that comes with the channel's ACK before it says that the channel is open.
        if (this.channel.readyState === "connecting") {
            this.channel.addEventListener("open", () => this.echo(data), { once: true });
        } else if (this.channel.readyState === "open") {
            // Else the other side closed the channel after its message.
            this.channel.send(data);
        }
    }

    take(data) {
        const isText = typeof data === "string";
        const length = isText ? new TextEncoder().encode(data).length : data.byteLength;
        const count = this.count;
        const now = performance.now();
        if (count.messages === 0) count.firstAt = now;
        count.lastAt = now;
        count.messages += 1;
        count.bytes += length;
        count.largest = Math.max(count.largest, length);
        if (isText) count.texts += 1;
        else if (this.mode === "count" && !isPattern(new Uint8Array(data), this.thorough)) count.wrong += 1;
        if (this.mode === "echo") this.echo(data);
        if (this.mode === "tell") this.tell("message", { text: isText ? data : null, length });
        if (this.awaited && count.bytes >= this.awaited.bytes) {
            this.awaited.resolve({ ...count, seconds: (count.lastAt - count.firstAt) / 1000 });
            this.awaited = null;
        }
    }
}

function pattern(length) {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = i % 251;
    return bytes;
}

/// Looks at every byte, or at the ends alone where speed is measured.
function isPattern(bytes, thorough) {
    const step = thorough ? 1 : Math.max(1, bytes.length - 1);
    for (let i = 0; i < bytes.length; i += step) if (bytes[i] !== i % 251) return false;
    return true;
}

const connectionOf = (name) => connections.get(name);
const channelOf = (name, label) => connections.get(name).channels.get(label);

const actions = {
    create(name, configuration) {
        connections.set(name, new Connection(name, { iceServers: [], ...configuration }));
    },

    /// An offer; with `trickles` at once, else after gathering.
    async offer(name, trickles, options) {
        const connection = connectionOf(name);
        return connection.describe(await connection.peer.createOffer(options ?? {}), trickles);
    },

    async answer(name, offer, trickles) {
        const connection = connectionOf(name);
        await connection.peer.setRemoteDescription(offer);
        return connection.describe(await connection.peer.createAnswer(), trickles);
    },

    async accept(name, answer) {
        await connectionOf(name).peer.setRemoteDescription(answer);
    },

    async candidate(name, candidate) {
        await connectionOf(name).peer.addIceCandidate(candidate ?? undefined);
    },

    restart(name) {
        connectionOf(name).peer.restartIce();
    },

    addAudio(name) {
        connectionOf(name).peer.addTransceiver("audio");
    },

    open(name, label, options, mode) {
        const connection = connectionOf(name);
        const channel = connection.add(connection.peer.createDataChannel(label, options ?? {}));
        channel.mode = mode ?? "echo";
        return describe(channel.channel);
    },

    mode(name, label, mode, thorough) {
        const channel = channelOf(name, label);
        channel.mode = mode;
        channel.thorough = thorough ?? false;
    },

    describe(name, label) {
        return describe(channelOf(name, label).channel);
    },

    count(name, label) {
        return channelOf(name, label).count;
    },

    /// Waits until so many bytes have come in all.
    received(name, label, bytes) {
        const channel = channelOf(name, label);
        return new Promise((resolve) => {
            channel.awaited = { bytes, resolve };
            if (channel.count.bytes >= bytes) resolve({ ...channel.count });
        });
    },

    text(name, label, text) {
        channelOf(name, label).channel.send(text);
    },

    binary(name, label, length) {
        channelOf(name, label).channel.send(pattern(length));
    },

    /// Sends messages until they make up `total` bytes, never more than `high` of them buffered; waits until the buffer
    /// is empty. Without `high` everything is handed over at once.
    async flood(name, label, total, size, high) {
        const channel = channelOf(name, label).channel;
        const bytes = pattern(size);
        const began = performance.now();
        let [sent, largest, waits] = [0, 0, 0];
        const low = (threshold) => new Promise((resolve) => {
            channel.bufferedAmountLowThreshold = threshold;
            channel.addEventListener("bufferedamountlow", resolve, { once: true });
        });
        while (sent < total) {
            channel.send(bytes);
            sent += size;
            largest = Math.max(largest, channel.bufferedAmount);
            if (high && channel.bufferedAmount > high) {
                waits += 1;
                await low(high / 2);
            }
        }
        const left = channel.bufferedAmount;
        if (channel.bufferedAmount > 0) await low(0);
        return {
            sent, largest, waits, left, buffered: channel.bufferedAmount, seconds: (performance.now() - began) / 1000,
        };
    },

    bufferedAmount(name, label) {
        return channelOf(name, label).channel.bufferedAmount;
    },

    closeChannel(name, label) {
        channelOf(name, label).channel.close();
    },

    state(name) {
        const { connectionState, iceConnectionState, signalingState, sctp } = connectionOf(name).peer;
        return {
            connectionState, iceConnectionState, signalingState, sctp: sctp?.state, dtls: sctp?.transport?.state,
            maxMessageSize: sctp?.maxMessageSize,
        };
    },

    /// What getStats says, as a list.
    async stats(name) {
        return [...(await connectionOf(name).peer.getStats()).values()];
    },

    close(name) {
        connections.get(name)?.peer.close();
        connections.delete(name);
    },
};

async function perform({ id, do: name, with: values }) {
    try {
        report({ id, value: (await actions[name](...values)) ?? null });
    } catch (error) {
        report({ id, error: String(error) });
    }
}

async function main() {
    window.onerror = (message, source, line) => report({ event: "failure", message: `${message} (line ${line})` });
    window.onunhandledrejection = ({ reason }) => report({ event: "failure", message: String(reason) });
    report({ event: "ready", agent: navigator.userAgent });
    for (;;) {
        const response = await fetch("/command");
        // 204: nothing for a while.
        if (response.status === 200) perform(await response.json());
        else if (response.status !== 204) return;
    }
}

main();
