#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two libtorrent sessions meet through a WebTorrent tracker and one copies a file from the other over WebRTC alone.

    libtorrent_tracker.py ws://127.0.0.1:8000 [--size BYTES] [--timeout SECONDS] [--fetcher-first]

Prints one line of JSON. Exit status: 0 the copy is complete and equal, 1 it is not, 77 libtorrent (2.1 or later, from PyPI)
is not installed.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import warnings

try:
    import libtorrent as lt
except ImportError:
    print(json.dumps({"skipped": "the Python package libtorrent is not installed"}))
    sys.exit(77)

# The newer names of what is used here differ between releases.
warnings.simplefilter("ignore", DeprecationWarning)


def make_session():
    # Only WebRTC: whatever arrives came through the tracker.
    return lt.session({
        "listen_interfaces": "127.0.0.1:0",
        "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "enable_incoming_tcp": False, "enable_outgoing_tcp": False,
        "enable_incoming_utp": False, "enable_outgoing_utp": False,
        "allow_multiple_connections_per_ip": True,
        "webtorrent_stun_server": "",
        "alert_mask": lt.alert.category_t.all_categories,
    })


def make_torrent(folder, size, tracker):
    path = os.path.join(folder, "payload.bin")
    with open(path, "wb") as file:
        file.write(os.urandom(size))
    storage = lt.file_storage()
    lt.add_files(storage, path)
    torrent = lt.create_torrent(storage, 16384, lt.create_torrent.v1_only)
    torrent.add_tracker(tracker)
    lt.set_piece_hashes(torrent, folder)
    return torrent.generate()


def add(session, torrent, folder):
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(torrent)
    parameters.save_path = folder
    return session.add_torrent(parameters)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tracker")
    parser.add_argument("--size", type=int, default=4 << 20)
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--fetcher-first", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()

    root = tempfile.mkdtemp(prefix="dreamer-interop-")
    try:
        source, target = os.path.join(root, "source"), os.path.join(root, "target")
        os.mkdir(source)
        os.mkdir(target)
        torrent = make_torrent(source, options.size, options.tracker)
        seeder, fetcher = make_session(), make_session()
        began = time.monotonic()
        if options.fetcher_first:
            copy = add(fetcher, torrent, target)
            time.sleep(1)
            began = time.monotonic()
            add(seeder, torrent, source)
        else:
            add(seeder, torrent, source)
            time.sleep(1)
            began = time.monotonic()
            copy = add(fetcher, torrent, target)
        notes = []
        while time.monotonic() - began < options.timeout and not copy.status().is_seeding:
            for name, session in (("seeder", seeder), ("fetcher", fetcher)):
                for alert in session.pop_alerts():
                    text = type(alert).__name__ + ": " + alert.message()
                    if options.verbose:
                        print(name, text, file=sys.stderr)
                    if "tracker" in type(alert).__name__ and "error" in type(alert).__name__:
                        notes.append(f"{name} {text}")
            time.sleep(0.01)
        seconds = time.monotonic() - began
        equal = False
        if copy.status().is_seeding:
            with open(os.path.join(source, "payload.bin"), "rb") as a, open(os.path.join(target, "payload.bin"), "rb") as b:
                equal = a.read() == b.read()
        print(json.dumps({
            "libtorrent": lt.version, "bytes": options.size, "equal": equal, "seconds": round(seconds, 3), "errors": notes,
        }))
        return 0 if equal and not notes else 1
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
