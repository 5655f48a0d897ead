# SPDX-License-Identifier: Apache-2.0
"""One file from one libtorrent process to another over WebRTC, on loopback, as a measure to compare with.

    libtorrent_pair.py --tracker ws://127.0.0.1:8000/announce FILE

Needs libtorrent 2.1 or later, whose wheels speak WebRTC. Other transports are switched off. Prints one JSON object:
bytes, seconds (first announce of the fetcher to the last byte), transferSeconds (connection open to the last byte),
openMilliseconds (announce to open connection), cpuSeconds (both processes).
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import libtorrent as lt

SETTINGS = {
    "enable_incoming_tcp": False,
    "enable_outgoing_tcp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "announce_to_all_trackers": True,
    "allow_multiple_connections_per_ip": True,
    "webtorrent_stun_server": "",
    "listen_interfaces": "127.0.0.1:0",
    "alert_mask": lt.alert.category_t.all_categories,
    "alert_queue_size": 100000,
}


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def run(role, torrent, folder, limit):
    session = lt.session(SETTINGS)
    info = lt.torrent_info(torrent)
    parameters = lt.add_torrent_params()
    parameters.ti = info
    parameters.save_path = folder
    if role == "seed":
        parameters.flags |= lt.torrent_flags.seed_mode
    announced = opened = None
    handle = session.add_torrent(parameters)
    deadline = time.monotonic() + limit
    done = False
    while time.monotonic() < deadline:
        session.wait_for_alert(50)
        for alert in session.pop_alerts():
            now = time.monotonic()
            kind = alert.what()
            if kind == "tracker_announce" and announced is None:
                announced = now
            elif kind in ("peer_connect", "incoming_connection") and opened is None:
                opened = now
            elif kind == "torrent_finished" and role == "fetch":
                done = True
            elif kind in ("tracker_reply", "tracker_error", "peer_error") and os.environ.get("VERBOSE"):
                print(role, alert.message(), file=sys.stderr)
        if role == "seed" and announced and not getattr(run, "told", False):
            run.told = True
            print(json.dumps({"event": "announced"}), flush=True)
        if done:
            end = time.monotonic()
            print(json.dumps({
                "event": "done", "bytes": info.total_size(), "seconds": end - announced,
                "transferSeconds": end - (opened or announced),
                "openMilliseconds": (opened - announced) * 1000 if opened else None, "cpuSeconds": cpu_seconds()}), flush=True)
            return
        if role == "seed" and os.getppid() == 1:
            return
    print(json.dumps({"event": "failed", "message": f"not done after {limit} s"}), flush=True)


def pair(path, tracker, limit):
    with tempfile.TemporaryDirectory() as folder:
        storage = lt.file_storage()
        lt.add_files(storage, path)
        creator = lt.create_torrent(storage, 0, lt.create_torrent.v1_only)
        creator.add_tracker(tracker)
        lt.set_piece_hashes(creator, os.path.dirname(os.path.abspath(path)))
        torrent = os.path.join(folder, "file.torrent")
        with open(torrent, "wb") as file:
            file.write(lt.bencode(creator.generate()))
        def spawn(role, target):
            return subprocess.Popen(
                [sys.executable, os.path.abspath(__file__), "--role", role, "--folder", target, "--limit", str(limit), torrent],
                stdout=subprocess.PIPE, text=True)
        seeder = spawn("seed", os.path.dirname(os.path.abspath(path)))
        try:
            seeder.stdout.readline()
            time.sleep(1)
            target = os.path.join(folder, "copy")
            os.mkdir(target)
            before = proc_cpu(seeder.pid)
            fetcher = spawn("fetch", target)
            result = json.loads(fetcher.stdout.readline() or '{"event":"failed","message":"the fetcher ended"}')
            if "cpuSeconds" in result:
                result["cpuSeconds"] += proc_cpu(seeder.pid) - before
            fetcher.wait()
        finally:
            seeder.terminate()
            seeder.wait()
    result.pop("event")
    result["name"] = f"libtorrent {lt.version} over WebRTC"
    print(json.dumps(result), flush=True)
    return 0 if "bytes" in result else 1


def proc_cpu(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--tracker")
    parser.add_argument("--role")
    parser.add_argument("--folder")
    parser.add_argument("--limit", type=float, default=120)
    arguments = parser.parse_args()
    if arguments.role:
        run(arguments.role, arguments.file, arguments.folder, arguments.limit)
    else:
        sys.exit(pair(arguments.file, arguments.tracker, arguments.limit))
