"""What split serving adds on one machine: mutual TLS on loopback, no shaping, the server a process of its own.

    python benchmarks/serving_overhead.py

1. Latency of a ~100 kB activation through codec, TLS and server, against calling the two halves directly. Both are
   alternated, and the median of the differences is given beside the medians. The floor, in the same alternation: the
   same bytes to a bare gRPC server with mutual TLS, in a process of its own too, that only gives back a short reply.
2. The same server under load (closed loop with several callers) against the whole network behind plain gRPC: the raw
   image sent without TLS, replay protection or queue.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import grpc
import torch

from edgecloud.profiles.networks.network import NetworkShape
from edgecloud.runtime.arenas import limit_arenas
from edgecloud.runtime.serving.certificates import Credentials, make_certificates, read_credentials
from edgecloud.runtime.serving.messages import Request, decode, encode
from edgecloud.runtime.serving.model import Activation, SplitModel
from edgecloud.runtime.serving.payloads import pack
from edgecloud.runtime.serving.plan import Plan
from edgecloud.runtime.serving.server import TierSettings, start_tier
from edgecloud.runtime.serving.transport import Client, serve

SHAPE = NetworkShape(
    widths=(25, 32, 64, 128), depths=(1, 1, 1, 1), pooled=(False, True, True, True), exits=(2, 4), branch_width=32
)
"""The tensor at cut 1 has 25 x 32 x 32 floats: 102,400 bytes."""
CUT = 1
REPLY_BYTES = 300
"""About what a reply has."""


def network() -> SplitModel:
    from edgecloud.profiles.networks.checkpoints import build_network

    torch.manual_seed(0)
    state = build_network(SHAPE).state_dict()
    return SplitModel(SHAPE, lambda: state, resident=16)


def run_floor(folder: str, pipe: Connection) -> None:
    """A server as the manual of gRPC has it: nothing is decoded, checked or computed."""
    server = grpc.server(ThreadPoolExecutor(4))
    echo = grpc.unary_unary_rpc_method_handler(lambda data, _: data[:REPLY_BYTES])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("floor", {"Echo": echo}),))
    port = server.add_secure_port("127.0.0.1:0", read_credentials(folder, "edge").server())
    server.start()
    pipe.send(f"127.0.0.1:{port}")
    pipe.recv()
    server.stop(None)


def run_server(kind: str, folder: str, pipe: Connection) -> None:
    limit_arenas()  # as the command line's servers do
    torch.set_num_threads(1)
    if kind == "floor":
        return run_floor(folder, pipe)
    model = network()
    if kind == "split":
        server = start_tier(model, TierSettings("edge"), read_credentials(folder, "edge"))
    else:
        whole, lock = model.whole(), threading.Lock()

        def handler(data: bytes) -> bytes:
            image = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(model.shapes[0])
            with lock, torch.inference_mode():
                value = whole.prepare(image)
                for stage in whole.stages:
                    value = stage(value)
                return bytes(whole.heads[-1](value).numpy().tobytes())

        server = serve(handler, lambda: b"", insecure=True)  # type: ignore[assignment]
    pipe.send(server.address)
    pipe.recv()
    server.stop()


def request(model: SplitModel, image: torch.Tensor) -> bytes:
    head = model.run(image, 0, CUT)
    assert isinstance(head, Activation)
    plan = Plan(CUT, model.stages)
    return encode(Request(os.urandom(16), model.fingerprint, plan, CUT, 60.0, pack(head.tensor), time.time()))


def direct(model: SplitModel, image: torch.Tensor) -> None:
    head = model.run(image, 0, CUT)
    assert isinstance(head, Activation)
    model.run(head.tensor, CUT, model.stages)


def latency(model: SplitModel, client: Client, echo: Callable[[bytes], bytes], image: torch.Tensor, runs: int) -> None:
    rows: list[tuple[float, float, float, float]] = []
    for index in range(runs + 20):
        marks = [time.perf_counter()]
        direct(model, image)
        marks.append(time.perf_counter())
        reply = decode(client.infer(request(model, image), 60.0))
        marks.append(time.perf_counter())
        service_s = reply.timings["edge_service_s"]  # type: ignore[union-attr]
        same = request(model, image)
        marks.append(time.perf_counter())
        echo(same)
        marks.append(time.perf_counter())
        if index >= 20:
            spans = (marks[1] - marks[0], marks[2] - marks[1], service_s, marks[4] - marks[3])
            rows.append(tuple(1e3 * span for span in spans))  # type: ignore[arg-type]
    added = sorted(row[1] - row[0] for row in rows)
    plain, split, service, floor = (statistics.median(column) for column in zip(*rows, strict=True))
    print(
        f"{runs} alternated runs: direct {plain:.2f} ms, split {split:.2f} ms (service at the server {service:.2f} ms)"
    )
    quarter = added[len(added) // 4]
    print(f"added: median {statistics.median(added):.2f} ms, lower quartile {quarter:.2f} ms, least {added[0]:.2f} ms")
    print(f"of which the floor, the same bytes through bare gRPC with mutual TLS: median {floor:.2f} ms")


def load(name: str, call: object, callers: int, seconds: float) -> None:
    taken: list[float] = []
    stop = time.perf_counter() + seconds

    def run() -> None:
        while time.perf_counter() < stop:
            started = time.perf_counter()
            call()  # type: ignore[operator]
            taken.append(1e3 * (time.perf_counter() - started))

    threads = [threading.Thread(target=run) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken.sort()
    middle, tail = taken[len(taken) // 2], taken[int(len(taken) * 0.95)]
    print(f"{name:<24}{callers:>8}{len(taken) / seconds:>12.0f}{middle:>12.2f}{tail:>12.2f}", flush=True)


def started(kind: str, folder: str) -> tuple[multiprocessing.process.BaseProcess, Connection, str]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run_server, args=(kind, folder, theirs))
    process.start()
    return process, ours, ours.recv()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load test")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make_certificates(Path(folder))
        credentials: Credentials = read_credentials(folder, "device")
        servers = [started(kind, folder) for kind in ("split", "whole", "floor")]
        model, image = network(), torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
        print(f"activation {4 * torch.Size(model.shapes[CUT]).numel():,} bytes; load average {os.getloadavg()[0]:.1f}")
        with Client(servers[0][2], credentials) as split, Client(servers[1][2], None) as whole:
            with grpc.secure_channel(servers[2][2], credentials.channel()) as channel:
                latency(model, split, channel.unary_unary("/floor/Echo"), image, arguments.runs)
            raw = image.numpy().tobytes()
            print(f"{'under load':<24}{'callers':>8}{'requests/s':>12}{'median ms':>12}{'p95 ms':>12}")
            for callers in (1, 4):
                load("split, mutual TLS", lambda: split.infer(request(model, image), 60.0), callers, arguments.seconds)
                load("whole, plain gRPC", lambda: whole.infer(raw, 60.0), callers, arguments.seconds)
        for process, pipe, _ in servers:
            pipe.send(None)
            process.join()


if __name__ == "__main__":
    main()
