# SPDX-License-Identifier: Apache-2.0
"""A file from one libtorrent process to another over WebRTC alone, on this machine: a measure to compare with.

    libtorrent_pair.py --tracker ws://127.0.0.1:8000/announce [--opens N] FILE
    libtorrent_pair.py --check        exit status 0 where it can run

Needs libtorrent 2.1 or later from PyPI, whose wheels speak WebRTC. Prints one JSON object: name and

    bytes, seconds (from adding the torrent to the last piece verified), transferSeconds (first block received to last
    piece), cpuSeconds (both processes, the interpreter's start taken off), seederPeakBytes, fetcherPeakBytes

or, with --opens, openMilliseconds: for N fresh sessions the time from the announce to the open connection, those left out
that had none after 15 s. `dreamer bench swarm` runs it.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings

try:
    import libtorrent as lt
except ImportError:
    lt = None

# The newer names of what is used here differ between releases.
warnings.simplefilter("ignore", DeprecationWarning)

SETTINGS = {
    # WebRTC alone.
    "enable_incoming_tcp": False, "enable_outgoing_tcp": False, "enable_incoming_utp": False, "enable_outgoing_utp": False,
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "webtorrent_stun_server": "", "listen_interfaces": "127.0.0.1:0", "allow_multiple_connections_per_ip": True,
    # As large as they help.
    "send_buffer_watermark": 4 << 20, "max_out_request_queue": 1500,
    "alert_queue_size": 100_000,
}


def alert_mask(with_blocks):
    category = lt.alert.category_t
    mask = category.tracker_notification | category.connect_notification | category.error_notification
    mask |= category.status_notification
    # Blocks are many: only the first one is waited for.
    return mask | category.block_progress_notification if with_blocks else mask


def cpu_seconds(pid=None):
    """Processor time of a process; Linux numbers the clock of another one so."""
    return time.clock_gettime(((~pid) << 3) | 2 if pid else time.CLOCK_PROCESS_CPUTIME_ID)


def peak_bytes(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def say(**message):
    print(json.dumps(message), flush=True)


def add(session, torrent, folder, is_seed):
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(torrent)
    parameters.save_path = folder
    # Without these it would begin half a second later.
    parameters.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    if is_seed:
        parameters.flags |= lt.torrent_flags.seed_mode
    return session.add_torrent(parameters)


def alerts(session, limit):
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        session.wait_for_alert(50)
        for alert in session.pop_alerts():
            if os.environ.get("VERBOSE"):
                print(os.getpid(), alert.what(), alert.message(), file=sys.stderr)
            yield time.monotonic(), alert.what()
        yield time.monotonic(), None


def seed(torrent, folder):
    session = lt.session({**SETTINGS, "alert_mask": alert_mask(False)})
    handle = add(session, torrent, folder, True)
    for _, what in alerts(session, 86_400):
        if what == "tracker_reply":
            say(event="announced")
        if os.getppid() == 1:
            break
    del handle


def fetch(torrent, folder, limit, until):
    """Times of what happened, until what is waited for has."""
    session = lt.session({**SETTINGS, "alert_mask": alert_mask(until == "torrent_finished")})
    began = time.monotonic()
    handle = add(session, torrent, folder, False)
    times = {"began": began}
    for now, what in alerts(session, limit):
        if what == "incoming_connection":
            what = "peer_connect"
        if what in ("tracker_announce", "peer_connect", "block_finished", "torrent_finished") and what not in times:
            times[what] = now
            if what == "block_finished":
                session.apply_settings({"alert_mask": alert_mask(False)})
        if until in times:
            del handle
            return times
    sys.exit(f"libtorrent: no {until} within {limit} s")


def transfer(arguments):
    before = cpu_seconds()
    times = fetch(arguments.file, arguments.folder, arguments.limit, "torrent_finished")
    end = times["torrent_finished"]
    size = lt.torrent_info(arguments.file).total_size()
    say(bytes=size, seconds=end - times["began"], transferSeconds=end - times["block_finished"],
        cpuSeconds=cpu_seconds() - before, fetcherPeakBytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def openings(arguments):
    found = []
    for number in range(arguments.opens):
        folder = os.path.join(arguments.folder, str(number))
        os.mkdir(folder)
        try:
            times = fetch(arguments.file, folder, 15, "peer_connect")
        except SystemExit:
            # Some of its attempts fail, and the next comes with the next announce, after two minutes.
            continue
        found.append((times["peer_connect"] - times["tracker_announce"]) * 1000)
    say(openMilliseconds=found)


def pair(arguments):
    path = os.path.abspath(arguments.file)
    with tempfile.TemporaryDirectory() as folder:
        storage = lt.file_storage()
        lt.add_files(storage, path)
        creator = lt.create_torrent(storage, 0, lt.create_torrent.v1_only)
        creator.add_tracker(arguments.tracker)
        lt.set_piece_hashes(creator, os.path.dirname(path))
        torrent = os.path.join(folder, "file.torrent")
        with open(torrent, "wb") as file:
            file.write(lt.bencode(creator.generate()))

        def spawn(role, target):
            command = [sys.executable, os.path.abspath(__file__), "--role", role, "--folder", target, "--limit",
                       str(arguments.limit), "--opens", str(arguments.opens), torrent]
            return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        seeder = spawn("seed", os.path.dirname(path))
        try:
            if not seeder.stdout.readline():
                sys.exit("libtorrent: the seeder could not announce")
            target = os.path.join(folder, "copy")
            os.mkdir(target)
            before = cpu_seconds(seeder.pid)
            fetcher = spawn("fetch", target)
            line = fetcher.stdout.readline()
            served = cpu_seconds(seeder.pid) - before
            fetcher.wait()
            if not line:
                return 1
            result = {"name": f"libtorrent {lt.version}", **json.loads(line)}
            if not arguments.opens:
                result["cpuSeconds"] += served
                result["seederPeakBytes"] = peak_bytes(seeder.pid)
        finally:
            seeder.terminate()
            seeder.wait()
    say(**result)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?")
    parser.add_argument("--tracker")
    parser.add_argument("--opens", type=int, default=0)
    parser.add_argument("--limit", type=float, default=300)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.check:
        return 0 if lt and "webtorrent_stun_server" in lt.default_settings() else 77
    if arguments.role == "seed":
        return seed(arguments.file, arguments.folder)
    if arguments.role == "fetch":
        return openings(arguments) if arguments.opens else transfer(arguments)
    if not (arguments.file and arguments.tracker):
        parser.error("give --tracker URL and FILE")
    return pair(arguments)


if __name__ == "__main__":
    sys.exit(main())
