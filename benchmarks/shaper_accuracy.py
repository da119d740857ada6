"""How faithfully the shaper replays a link: transfers through it against the exact integral of the trace.

    python benchmarks/shaper_accuracy.py [TRACE] [--transfers 60] [--rate-scale 1.0] [--ordinary]

Without a trace: a generated LTE log (car). Each transfer starts at a random instant with a random size. Its time runs
from the first byte that the sender writes to the last one that the receiver reads, in two processes other than the
shaper's; the exact time is the trace's integral plus half the round trip. Round trips are those of empty messages.
Where the system allows it, all three processes run with real-time priority, so that a busy machine is not taken for an
unfaithful link; --ordinary does without.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import threading
import time
from typing import Any

import numpy as np

from edgecloud.runtime.link import RateSchedule, Shaper
from edgecloud.runtime.link.shaper import prefer_this_thread
from edgecloud.traces import LinkTrace, generated_split, load_link_trace

SIZES = (1_000, 10_000, 50_000, 150_528, 400_000, 1_000_000)


def receive(ready: Any, done: Any, ordinary: bool) -> None:
    """Process behind the link: reads a length and as many bytes, notes the instant, answers with one byte."""
    if not ordinary:
        prefer_this_thread()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ready.put(listener.getsockname()[1])
        peer, _ = listener.accept()
        with peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while head := peer.recv(8, socket.MSG_WAITALL):
                left = int.from_bytes(head, "big")
                while left:
                    left -= len(peer.recv(min(left, 1 << 20)))
                done.put(time.monotonic())
                peer.sendall(b"k")


def shape(trace: LinkTrace, port: int, arguments: argparse.Namespace, ready: Any, stop: Any) -> None:
    """Process of the link, as `edgecloud link replay` is one."""
    with Shaper(
        trace,
        f"127.0.0.1:{port}",
        rate_scale=arguments.rate_scale,
        rtt_s=arguments.rtt_ms / 1e3,
        real_time=not arguments.ordinary,
    ) as shaper:
        ready.put((shaper.address, time.monotonic() - shaper.clock_s()))
        stop.wait()


def measure(trace: LinkTrace, arguments: argparse.Namespace) -> tuple[list[tuple[int, float, float]], list[float]]:
    """Size, measured and exact seconds of each transfer; and measured round trips."""
    context = multiprocessing.get_context("spawn")
    ready, done, stop = context.Queue(), context.Queue(), context.Event()
    context.Process(target=receive, args=(ready, done, arguments.ordinary), daemon=True).start()
    port = ready.get()
    context.Process(target=shape, args=(trace, port, arguments, ready, stop), daemon=True).start()
    address, origin_s = ready.get()
    schedule = RateSchedule(trace, arguments.rate_scale, arguments.rtt_ms / 1e3)
    rng = np.random.default_rng(arguments.seed)
    host, _, port = address.rpartition(":")
    transfers, trips = [], []
    with socket.create_connection((host, int(port))) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(arguments.transfers):
            time.sleep(float(rng.uniform(0.05, 0.6)))
            size = int(rng.choice(SIZES))
            message = (size).to_bytes(8, "big") + bytes(size)
            sender = threading.Thread(target=link.sendall, args=(message,))
            begun_s = time.monotonic()
            sender.start()
            link.recv(1)
            sender.join()
            finish_s = schedule.finish_s(begun_s - origin_s, 8.0 * len(message))
            exact_s = finish_s + 0.5 * schedule.rtt_s(finish_s) - (begun_s - origin_s)
            transfers.append((size, done.get() - begun_s, exact_s))
            begun_s = time.monotonic()
            link.sendall(bytes(8))  # an empty message: there and back
            link.recv(1)
            done.get()
            rate_s = schedule.finish_s(begun_s - origin_s, 64.0) - (begun_s - origin_s)
            trips.append(time.monotonic() - begun_s - rate_s - schedule.rtt_s(begun_s - origin_s))
    stop.set()
    return transfers, trips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", nargs="?")
    parser.add_argument("--transfers", type=int, default=60)
    parser.add_argument("--rate-scale", type=float, default=1.0)
    parser.add_argument("--rtt-ms", type=float, default=34.0)
    parser.add_argument("--ordinary", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.trace:
        trace = load_link_trace(arguments.trace)
    else:
        trace = next(t for t in generated_split(0, (1, 1, 1), 300.0).test if t.mode == "car")
    preferred = not arguments.ordinary and prefer_this_thread()
    transfers, trips = measure(trace, arguments)
    priority = "real-time" if preferred else "ordinary"
    print(f"priority: {priority}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(
        f"{trace.name}: {len(transfers)} transfers, mean rate {trace.mean_bps * arguments.rate_scale / 1e6:.1f} Mbit/s"
    )
    print(
        f"{'bytes':>9} {'n':>4} {'exact ms':>9} {'error ms: median':>17} {'p95':>7} {'relative: median':>17} {'p95':>7}"
    )
    for size in (*SIZES, 0):
        rows = np.array([(got, exact) for n, got, exact in transfers if size in (n, 0)])
        if not len(rows):
            continue
        error_s, relative = rows[:, 0] - rows[:, 1], np.abs(rows[:, 0] / rows[:, 1] - 1)
        print(
            f"{size or 'all':>9} {len(rows):4d} {1e3 * np.median(rows[:, 1]):9.1f} {1e3 * np.median(error_s):17.2f}"
            f" {1e3 * np.quantile(error_s, 0.95):7.2f} {np.median(relative):17.2%} {np.quantile(relative, 0.95):7.2%}"
        )
    trip_ms = 1e3 * np.array(trips)
    print(f"round trip: {np.median(trip_ms):+.2f} ms median error, {np.quantile(trip_ms, 0.95):+.2f} ms p95")


if __name__ == "__main__":
    main()
