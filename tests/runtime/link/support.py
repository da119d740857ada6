"""A receiver behind the link that tells when it had everything, and a sender."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from edgecloud.runtime.link import Shaper
from edgecloud.traces import LinkTrace


def trace(*rates_bps: float, rtt_s: float | None = None) -> LinkTrace:
    rtt = None if rtt_s is None else [rtt_s] * len(rates_bps)
    return LinkTrace("t", "static", np.arange(len(rates_bps) + 1.0), rates_bps, rtt)


@dataclass
class Receiver:
    """Reads a length of 8 bytes and as many bytes, notes the instant, answers with one byte."""

    address: str = ""
    done_s: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(peer,), daemon=True).start()

    def _one(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            while head := peer.recv(8, socket.MSG_WAITALL):
                body = peer.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
                self.done_s.append(time.monotonic())
                self.bodies.append(body)
                peer.sendall(b"k")


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Receiver(f"127.0.0.1:{listener.getsockname()[1]}")
        threading.Thread(target=made.serve, args=(listener,), daemon=True).start()
        yield made
        listener.shutdown(socket.SHUT_RDWR)


def connect(shaper: Shaper) -> socket.socket:
    host, _, port = shaper.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20.0)


def send(connection: socket.socket, body: bytes) -> None:
    connection.sendall(len(body).to_bytes(8, "big") + body)
