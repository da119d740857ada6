"""The kernel's own shaping: two network namespaces, a virtual cable, and a token bucket whose rate follows the trace.

Needs root, ``ip`` and ``tc`` with tbf. It shapes the rate of any protocol, packet headers included; it adds no delay,
as netem is missing from many kernels: put a `Shaper` without a trace behind it where the round trip matters.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence

from ...errors import InputError
from ...traces import LinkTrace

__all__ = ["NamespaceLink", "why_not"]

_BURST_BYTES, _SMALLEST_BPS = 3_200, 8_000
_QUEUE_BYTES = 1 << 20


def why_not() -> str:
    """Why this machine cannot shape with namespaces; empty if it can."""
    if os.geteuid() != 0:
        return "it needs root"
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"the program {tool} is not installed"
    name = f"ec{secrets.token_hex(3)}"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "add", "e0", "type", "veth", "peer", "name", "e1")
        _tbf(name, "e0", 1e6, "add")
    except InputError as error:
        return str(error)
    finally:
        with contextlib.suppress(InputError):
            _run("ip", "netns", "del", name)
    return ""


class NamespaceLink:
    """A cable between the namespaces `near` and `far`; what near sends passes at the trace's rate.

    Commands run in a namespace with ``ip netns exec``, see `command`. Outages become 8 kbit/s, tbf's practical least.

    Args:
        trace: The link; starts over at its end.
        rate_scale: Factor on its rates.

    Raises:
        InputError: this machine cannot do it; the message says why.
    """

    def __init__(self, trace: LinkTrace, rate_scale: float = 1.0) -> None:
        if reason := why_not():
            remedy = "use the user-space Shaper"
            raise InputError("link", "namespaces", f"must be available ({reason})", remedy=remedy)
        self._trace, self._scale = trace, rate_scale
        tag = secrets.token_hex(3)
        self.near, self.far = f"ecn{tag}", f"ecf{tag}"
        self.near_address, self.far_address = "10.203.0.1", "10.203.0.2"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="namespace-link", daemon=True)
        self._origin_s = 0.0

    def start(self, origin_s: float | None = None) -> None:
        """Make the namespaces and follow the trace; it begins at `origin_s` of `time.monotonic`, or now."""
        self._origin_s = time.monotonic() if origin_s is None else origin_s
        for name in (self.near, self.far):
            _run("ip", "netns", "add", name)
        _run("ip", "-n", self.near, "link", "add", "e0", "type", "veth", "peer", "name", "e0", "netns", self.far)
        for name, address in ((self.near, self.near_address), (self.far, self.far_address)):
            _run("ip", "-n", name, "address", "add", f"{address}/30", "dev", "e0")
            for device in ("lo", "e0"):
                _run("ip", "-n", name, "link", "set", device, "up")
        _tbf(self.near, "e0", self._rate(0), "add")
        self._thread.start()

    def stop(self) -> None:
        """Remove the namespaces. May be called again."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        for name in (self.near, self.far):
            with contextlib.suppress(InputError):
                _run("ip", "netns", "del", name)

    def command(self, namespace: str, arguments: Sequence[str]) -> list[str]:
        """The command line that runs a program inside `near` or `far`."""
        return ["ip", "netns", "exec", namespace, *arguments]

    def __enter__(self) -> NamespaceLink:
        try:
            self.start()
        except InputError:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _rate(self, index: int) -> float:
        return max(_SMALLEST_BPS, self._scale * float(self._trace.rate_bps[index]))

    def _follow(self) -> None:
        """Change the bucket's rate at every edge of the trace where it changes."""
        edges, length_s = self._trace.edges_s, self._trace.duration_s
        set_bps = self._rate(0)
        while not self._stopped.is_set():
            rounds, at_s = divmod(time.monotonic() - self._origin_s, length_s)
            index = max(0, min(int(edges.searchsorted(at_s, side="right")) - 1, len(edges) - 2))
            if self._rate(index) != set_bps:
                set_bps = self._rate(index)
                _tbf(self.near, "e0", set_bps, "change")
            next_s = self._origin_s + rounds * length_s + float(edges[index + 1])
            self._stopped.wait(max(0.0, next_s - time.monotonic()))


def _tbf(namespace: str, device: str, rate_bps: float, verb: str) -> None:
    bucket = ["rate", f"{rate_bps:.0f}bit", "burst", str(max(_BURST_BYTES, int(rate_bps / 8 / 250)))]
    _run("tc", "-n", namespace, "qdisc", verb, "dev", device, "root", "tbf", *bucket, "limit", str(_QUEUE_BYTES))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(" ".join(command[:5]), "", f"must succeed ({done.stderr.strip()})")
