"""A pool of VMs on this machine: long-lived workers with a boot delay, billed by the second from launch to stop."""

from __future__ import annotations

import heapq
import itertools
import math
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import grpc
import numpy as np

from ...errors import InputError
from ...pricing import VmMeter, VmPrice
from .backend import Answer, BackendError, BusyError, CrashError, DeadlineError, Invocation
from .function import DEFAULT_LIMIT_BYTES
from .handlers import HandlerSpec
from .line import WaitingLine
from .vm import VirtualMachine

__all__ = ["VmPool", "VmSettings", "VmStats", "lognormal_boot"]

_ATTEMPTS = 2
_CHECK_S = 0.1
_RECENT = 0.2
"""Weight of the newest service time in the running mean."""


def lognormal_boot(median_s: float, sigma: float, rng: np.random.Generator) -> Callable[[], float]:
    """Boot delays as the environment draws them: lognormal.

    >>> lognormal_boot(25.0, 0.0, np.random.default_rng(0))()
    25.0
    """
    return lambda: float(median_s * math.exp(sigma * rng.standard_normal()))


@dataclass(frozen=True)
class VmSettings:
    """How VMs are run and billed."""

    handler: HandlerSpec
    price: VmPrice
    max_vms: int = 3
    boot_s: float | Callable[[], float] = 25.0
    """Boot delay of each machine, fixed or drawn."""
    start_timeout_s: float = 60.0
    hang_s: float = 60.0
    """A worker that runs a request for longer is taken for hung, and restarted."""
    limit_bytes: int = DEFAULT_LIMIT_BYTES
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for the workers, such as OMP_NUM_THREADS."""

    def __post_init__(self) -> None:
        for name in ("max_vms", "start_timeout_s", "hang_s", "limit_bytes"):
            if not getattr(self, name) > 0:
                raise InputError("vms", name, "must be positive", getattr(self, name))
        if not callable(self.boot_s) and not self.boot_s >= 0:
            raise InputError("vms", "boot_s", "must not be negative", self.boot_s)

    def draw_boot_s(self) -> float:
        """The boot delay of a new machine."""
        return self.boot_s() if callable(self.boot_s) else self.boot_s


@dataclass(frozen=True)
class VmStats:
    """Counters: `running` VMs are booted and not stopping, `booting` ones launched (or restarting) and not ready."""

    running: int
    booting: int
    draining: int
    busy: int
    waiting: int
    restarts: int
    requests: int
    billed_s: int
    usd: Decimal


class VmPool:
    """A backend of VMs: one request per worker at a time, in order of arrival, on the VM that has been free longest.

    Requests may wait for a booting VM; an empty pool answers nobody. A worker that dies is restarted on its machine and
    its request given to another worker, once. A worker whose caller has gone finishes its request before it takes the
    next. Close the pool, or use it in a ``with``.
    """

    def __init__(self, settings: VmSettings) -> None:
        self.settings = settings
        self._line = WaitingLine()
        self._folder = Path(tempfile.mkdtemp(prefix="edgecloud-vm-"))  # mode 0700: the workers' only lock
        self._vms: list[VirtualMachine] = []
        self._stopped: list[VirtualMachine] = []
        self._numbers = itertools.count(1)
        self._meter = VmMeter(settings.price)
        self._requests = self._restarts = 0
        self._service_s = 0.0
        self._closed = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="vm-keeper", daemon=True)
        self._keeper.start()

    def invoke(self, data: bytes, timeout_s: float) -> bytes:
        """The reply; see `Backend.invoke`."""
        return self.answer(data, timeout_s).data

    def answer(self, data: bytes, timeout_s: float, wait_s: float = math.inf) -> Answer:
        """The reply and what it took.

        Raises:
            BusyError: no VM was free, or seemed likely to be, within `wait_s`.
            DeadlineError: no answer within `timeout_s`.
            BackendError: the pool is empty, the handler refused or failed, or two workers died.
        """
        arrived_s = time.monotonic()
        deadline_s = arrived_s + timeout_s
        if len(data) > self.settings.limit_bytes:
            raise BackendError(
                f"the payload ({len(data)} bytes) exceeds the limit of {self.settings.limit_bytes} bytes"
            )
        for attempt in itertools.count(1):
            if math.isfinite(wait_s) and self.free_in_s() > wait_s:
                raise BusyError("no VM is free soon enough")
            vm = self._line.get(self._take, min(deadline_s, arrived_s + wait_s))
            if vm is None and time.monotonic() < deadline_s:
                raise BusyError("no VM became free soon enough")
            if vm is None:
                raise DeadlineError("no VM became free before the deadline")
            begun_s = time.monotonic()
            try:
                reply = self._run(vm, data, deadline_s)
            except CrashError:
                if attempt == _ATTEMPTS or time.monotonic() >= deadline_s:
                    raise
                continue
            taken = Invocation("vm", vm.name, begun_s - arrived_s, time.monotonic() - begun_s, attempts=attempt)
            return Answer(reply, taken)
        raise AssertionError("unreachable")

    def set_target(self, target: int) -> None:
        """Launch, keep or drain VMs so that `target` of them accept requests.

        Up: VMs that are draining are kept first, then new ones boot. Down: booting ones go first, then those that have
        been free longest, then those at work; a VM stops when the requests that arrived before are served.

        Raises:
            InputError: the target is negative or above `max_vms`.
        """
        if not 0 <= target <= self.settings.max_vms:
            raise InputError("vms", "target", f"must be from 0 to {self.settings.max_vms}", target)
        with self._line.lock:
            accepting = [vm for vm in self._vms if vm.accepting]
            for vm in self._vms:
                if len(accepting) < target and not vm.accepting:
                    vm.drain_from = None
                    accepting.append(vm)
            while len(accepting) < target and not self._closed.is_set():
                accepting.append(self._launch())
            accepting.sort(key=lambda vm: (vm.ready, vm.busy, vm.free_since_s))
            for vm in accepting[: len(accepting) - target]:
                vm.drain_from = self._line.next_number
            self._settle()
            self._line.changed()

    def free_in_s(self) -> float:
        """Expected wait of a new request: from the running mean of service times; infinite if all VMs boot."""
        with self._line.lock:
            now_s = time.monotonic()
            ready = [vm for vm in self._vms if vm.ready and vm.accepting]
            if not ready:
                return math.inf
            free = [max(0.0, vm.busy_since_s + self._service_s - now_s) if vm.busy else 0.0 for vm in ready]
            heapq.heapify(free)
            for _ in self._line.waiting:
                heapq.heapreplace(free, free[0] + self._service_s)
            return free[0]

    def stats(self) -> VmStats:
        """The counters now; the bill includes what running VMs owe so far."""
        with self._line.lock:
            meter = VmMeter(self.settings.price)
            meter.add_billed_s(self._meter.billed_s)
            for vm in self._vms:
                meter.add_billed_s(math.ceil(time.monotonic() - vm.launched_s))
            accepting = [vm for vm in self._vms if vm.accepting]
            return VmStats(
                running=sum(vm.ready for vm in accepting),
                booting=sum(not vm.ready for vm in accepting),
                draining=len(self._vms) - len(accepting),
                busy=sum(vm.busy for vm in self._vms),
                waiting=len(self._line.waiting),
                restarts=self._restarts,
                requests=self._requests,
                billed_s=meter.billed_s,
                usd=meter.usd,
            )

    def machines(self) -> tuple[VirtualMachine, ...]:
        """The VMs that exist."""
        with self._line.lock:
            return tuple(self._vms)

    def close(self) -> None:
        """Stop every VM, and bill it. May be called again."""
        self._closed.set()
        with self._line.lock:
            for vm in list(self._vms):
                self._stop(vm)
            self._line.changed()
        self._keeper.join()
        for vm in self._stopped:
            vm.join()
        self._stopped.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> VmPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _launch(self) -> VirtualMachine:
        vm = VirtualMachine(
            f"vm-{next(self._numbers)}",
            self.settings.handler,
            self.settings.environment,
            self.settings.draw_boot_s(),
            self.settings.start_timeout_s,
            self.settings.limit_bytes,
            self._folder,
            self._became_ready,
        )
        self._vms.append(vm)
        return vm

    def _became_ready(self, vm: VirtualMachine) -> None:
        with self._line.lock:
            if vm in self._vms:
                vm.ready, vm.busy, vm.free_since_s = True, False, time.monotonic()
                self._settle()
                self._line.changed()

    def _take(self, number: int) -> VirtualMachine | None:
        """The VM that serves the head of the line now, or None. Under the lock."""
        mine = [vm for vm in self._vms if vm.drain_from is None or number < vm.drain_from]
        if not mine:
            raise BusyError("the pool has no VM")
        free = [vm for vm in mine if vm.ready and not vm.busy]
        if not free:
            return None
        vm = min(free, key=lambda vm: vm.free_since_s)
        vm.busy, vm.busy_since_s = True, time.monotonic()
        return vm

    def _run(self, vm: VirtualMachine, data: bytes, deadline_s: float) -> bytes:
        """One request on a VM that was taken for it; the VM is free when its worker is, whoever waits."""
        begun_s = vm.busy_since_s
        future = vm.send(data)
        try:
            reply: bytes = future.result(timeout=max(0.0, deadline_s - time.monotonic()))
        except grpc.FutureTimeoutError:
            future.add_done_callback(lambda _: self._release(vm, begun_s))
            raise DeadlineError(f"{vm.name} did not answer before the deadline") from None
        except (grpc.RpcError, grpc.FutureCancelledError, ValueError) as error:
            known = isinstance(error, grpc.RpcError)
            code = future.code() if known else grpc.StatusCode.CANCELLED
            if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL):
                self._release(vm, begun_s)
                raise BackendError(f"{vm.name}: {future.details()}") from error
            self._restart(vm, begun_s)
            raise CrashError(f"the worker of {vm.name} died ({code.name})") from error
        self._release(vm, begun_s)
        return reply

    def _release(self, vm: VirtualMachine, begun_s: float) -> None:
        """The worker has finished; nothing to do where it was restarted in the meantime."""
        with self._line.lock:
            if vm.busy and vm.busy_since_s == begun_s:
                now_s = time.monotonic()
                weight = _RECENT if self._requests else 1.0
                self._service_s += weight * (now_s - begun_s - self._service_s)
                self._requests += 1
                vm.busy, vm.free_since_s = False, now_s
                self._settle()
                self._line.changed()

    def _restart(self, vm: VirtualMachine, begun_s: float) -> None:
        with self._line.lock:
            if vm in self._vms and vm.ready and (vm.busy_since_s == begun_s or not vm.worker_alive):
                self._restarts += 1
                vm.restart()

    def _settle(self) -> None:
        """Stop the draining VMs that no request needs any more. Under the lock."""
        waiting = self._line.waiting
        others = any(vm.accepting for vm in self._vms)
        for vm in list(self._vms):
            if vm.drain_from is None or vm.busy:
                continue
            needed = bool(waiting) and waiting[0] < vm.drain_from and (vm.ready or not others)
            if not needed:
                self._stop(vm)

    def _stop(self, vm: VirtualMachine) -> None:
        self._vms.remove(vm)
        self._meter.add_run(time.monotonic() - vm.launched_s)
        vm.stop()
        self._stopped.append(vm)

    def _keep(self) -> None:
        """Restart workers that died while idle, and those that hang."""
        while not self._closed.wait(_CHECK_S):
            with self._line.lock:
                now_s = time.monotonic()
                for vm in list(self._vms):
                    hung = vm.busy and now_s - vm.busy_since_s > self.settings.hang_s
                    if vm.ready and (hung or not vm.worker_alive):
                        self._restart(vm, vm.busy_since_s)
                self._settle()
                gone, self._stopped = self._stopped, []
            for vm in gone:
                vm.join()
