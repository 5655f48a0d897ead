# SPDX-License-Identifier: Apache-2.0
"""A libtorrent session that seeds a file over WebRTC alone, for a test that speaks the protocol itself.

    libtorrent_seeder.py ws://127.0.0.1:8000/announce [--size BYTES]

Makes a file of random bytes, tells {"event": "ready", "infoHash", "pieceLength", "size", "pieces": [SHA-1 in hex]} and
announces itself once a line comes on standard input. {"event": "announced"} and {"event": "peer"} follow; it ends with
standard input. VERBOSE in the environment shows every alert.
"""
import argparse
import json
import os
import select
import sys
import tempfile
import warnings

import libtorrent as lt

# The newer names of what is used here differ between releases.
warnings.simplefilter("ignore", DeprecationWarning)


def say(**message):
    print(json.dumps(message), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tracker")
    parser.add_argument("--size", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dreamer-interop-") as folder:
        path = os.path.join(folder, "payload.bin")
        with open(path, "wb") as file:
            file.write(os.urandom(arguments.size))
        storage = lt.file_storage()
        lt.add_files(storage, path)
        creator = lt.create_torrent(storage, 65_536, lt.create_torrent.v1_only)
        creator.add_tracker(arguments.tracker)
        lt.set_piece_hashes(creator, folder)
        info = lt.torrent_info(creator.generate())
        say(event="ready", infoHash=str(info.info_hashes().v1), pieceLength=info.piece_length(), size=info.total_size(),
            pieces=[info.hash_for_piece(index).hex() for index in range(info.num_pieces())])
        sys.stdin.readline()
        session = lt.session({
            "listen_interfaces": "127.0.0.1:0",
            "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
            "enable_incoming_tcp": False, "enable_outgoing_tcp": False,
            "enable_incoming_utp": False, "enable_outgoing_utp": False,
            "allow_multiple_connections_per_ip": True,
            "webtorrent_stun_server": "",
            "alert_mask": lt.alert.category_t.all_categories,
        })
        parameters = lt.add_torrent_params()
        parameters.ti = info
        parameters.save_path = folder
        session.add_torrent(parameters)
        told = set()
        while not select.select([sys.stdin], [], [], 0)[0]:
            session.wait_for_alert(50)
            for alert in session.pop_alerts():
                if os.environ.get("VERBOSE"):
                    print(alert.what(), alert.message(), file=sys.stderr, flush=True)
                event = {"tracker_reply": "announced", "peer_connect": "peer", "incoming_connection": "peer"}.get(alert.what())
                if event and event not in told:
                    told.add(event)
                    say(event=event)


main()
