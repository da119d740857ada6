"""Who serves a request in the cloud: the VM pool, a function, or a function only if no VM is free in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

from .backend import Answer, BackendError, BusyError, CrashError, DeadlineError
from .functions import FunctionPool, FunctionStats
from .vms import VmPool, VmStats

__all__ = ["Dispatcher", "DispatcherStats", "Route"]

Route = Literal["vm", "faas", "spill"]
ROUTES = get_args(Route)


@dataclass(frozen=True)
class DispatcherStats:
    """What telemetry reads: both pools' counters, and requests in the cloud now (`queue`: waiting or in service)."""

    vm_running: int
    vm_booting: int
    warm: int
    busy: int
    queue: int
    failovers: int
    usd: Decimal
    vms: VmStats | None
    functions: FunctionStats | None


class Dispatcher:
    """The cloud's one backend.

    * 'vm': the VM pool; an empty pool fails the request.
    * 'faas': functions.
    * 'spill': a VM that is free within `spill_wait_s`, else a function.

    A request whose servers died, twice in its own pool, goes to the other kind if that exists and time is left.

    Args:
        vms: The pool, or None.
        functions: The pool, or None.
        spill_wait_s: See above.
        route_of: Reads the route from a request, for `invoke`.
        annotate: Puts what the request took into the reply, for `invoke`; the default leaves it as it is.
    """

    def __init__(
        self,
        vms: VmPool | None,
        functions: FunctionPool | None,
        spill_wait_s: float = 0.05,
        route_of: Callable[[bytes], str] = lambda _data: "spill",
        annotate: Callable[[Answer], bytes] = lambda answer: answer.data,
    ) -> None:
        self.vms, self.functions, self._spill_wait_s = vms, functions, spill_wait_s
        self._route_of, self._annotate = route_of, annotate
        self._lock = threading.Lock()
        self._queue = self._failovers = 0

    def invoke(self, data: bytes, timeout_s: float) -> bytes:
        """The reply; the request says the route. See `Backend.invoke`."""
        return self._annotate(self.answer(data, timeout_s, self._route_of(data)))

    def answer(self, data: bytes, timeout_s: float, route: str) -> Answer:
        """The reply and what it took.

        Raises:
            DeadlineError: no answer within `timeout_s`.
            BackendError: there will be none; also for an unknown route.
        """
        if route not in ROUTES:
            raise BackendError(f"the route must be one of {', '.join(ROUTES)}, not {route!r}")
        deadline_s = time.monotonic() + timeout_s
        with self._lock:
            self._queue += 1
        try:
            return self._routed(data, deadline_s, route)
        finally:
            with self._lock:
                self._queue -= 1

    def set_target(self, target: int) -> None:
        """Size of the VM pool to aim at; see `VmPool.set_target`."""
        if self.vms is not None:
            self.vms.set_target(target)

    def stats(self) -> DispatcherStats:
        """The counters now."""
        vms = None if self.vms is None else self.vms.stats()
        functions = None if self.functions is None else self.functions.stats()
        with self._lock:
            queue, failovers = self._queue, self._failovers
        return DispatcherStats(
            vm_running=0 if vms is None else vms.running,
            vm_booting=0 if vms is None else vms.booting,
            warm=0 if functions is None else functions.warm,
            busy=0 if functions is None else functions.busy,
            queue=queue,
            failovers=failovers,
            usd=(vms.usd if vms else Decimal(0)) + (functions.usd if functions else Decimal(0)),
            vms=vms,
            functions=functions,
        )

    def close(self) -> None:
        """Close both pools."""
        for pool in (self.vms, self.functions):
            if pool is not None:
                pool.close()

    def __enter__(self) -> Dispatcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _routed(self, data: bytes, deadline_s: float, route: str) -> Answer:
        if route == "spill":
            try:
                return self._on_vms(data, deadline_s, self._spill_wait_s)
            except DeadlineError:
                raise
            except (BusyError, CrashError):
                return self._on_functions(data, deadline_s)
        serves: list[Callable[[bytes, float], Answer]] = [self._on_vms, self._on_functions]
        first, second = serves if route == "vm" else reversed(serves)
        try:
            return first(data, deadline_s)
        except CrashError as crash:
            if time.monotonic() >= deadline_s:
                raise
            try:
                answer = second(data, deadline_s)
            except BackendError:
                raise crash from None
            with self._lock:
                self._failovers += 1
            return answer

    def _on_vms(self, data: bytes, deadline_s: float, wait_s: float = float("inf")) -> Answer:
        if self.vms is None:
            raise BusyError("there is no VM pool")
        return self.vms.answer(data, deadline_s - time.monotonic(), wait_s)

    def _on_functions(self, data: bytes, deadline_s: float) -> Answer:
        if self.functions is None:
            raise BackendError("there are no functions")
        return self.functions.answer(data, deadline_s - time.monotonic())
