"""Functions on this machine: instances that start on demand, expire when idle, and are billed by the price list."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from ...errors import InputError
from ...pricing import FaasMeter, FaasPrice
from .backend import Answer, BackendError, CrashError, DeadlineError, Invocation
from .function import DEFAULT_LIMIT_BYTES, LIMIT_VARIABLE
from .handlers import HANDLER_VARIABLE, HandlerSpec
from .instance import FunctionInstance
from .line import WaitingLine

__all__ = ["FunctionPool", "FunctionSettings", "FunctionStats"]

_ATTEMPTS = 2
_CHECK_S = 0.1


@dataclass(frozen=True)
class FunctionSettings:
    """How functions are run and billed."""

    handler: HandlerSpec
    price: FaasPrice
    memory_mb: int
    """Billed size; a size that the provider sells."""
    max_instances: int = 32
    keep_alive_s: float = 360.0
    """An instance that was idle for so long is ended."""
    start_timeout_s: float = 60.0
    execution_limit_s: float = 60.0
    """An instance that runs a request for longer is taken for hung, and killed."""
    payload_limit_bytes: int | None = None
    """None: the price list's limit, or 32 MiB where it has none."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for the instances, such as OMP_NUM_THREADS."""

    def __post_init__(self) -> None:
        self.price.billed_memory_mb(self.memory_mb)
        for name in ("max_instances", "start_timeout_s", "execution_limit_s"):
            if not getattr(self, name) > 0:
                raise InputError("functions", name, "must be positive", getattr(self, name))
        if not self.keep_alive_s >= 0:
            raise InputError("functions", "keep_alive_s", "must not be negative", self.keep_alive_s)

    @property
    def limit_bytes(self) -> int:
        """The largest request."""
        return self.payload_limit_bytes or self.price.payload_limit_bytes or DEFAULT_LIMIT_BYTES


@dataclass(frozen=True)
class FunctionStats:
    """Counters: `warm` instances are idle ones, `busy` ones are at work or starting."""

    warm: int
    busy: int
    waiting: int
    cold_starts: int
    crashes: int
    expired: int
    requests: int
    billed_ms: int
    usd: Decimal


class FunctionPool:
    """A backend of functions: one request per instance at a time, the instance used last first, else a cold start.

    At the limit of instances requests wait in order of arrival; one that cannot begin before its deadline is refused
    and costs nothing. A request that has begun runs, and is billed, to its end, even if nobody waits for it any more.
    Where an instance dies the request is given to another one, once. Close the pool, or use it in a ``with``.
    """

    def __init__(self, settings: FunctionSettings) -> None:
        self.settings = settings
        self._line = WaitingLine()
        self._token = secrets.token_hex(32)
        self._folder = Path(tempfile.mkdtemp(prefix="edgecloud-faas-"))
        self._idle: list[FunctionInstance] = []  # the one used last comes last
        self._busy: set[FunctionInstance] = set()
        self._numbers = itertools.count(1)
        self._meter = FaasMeter(settings.price)
        self._cold_starts = self._crashes = self._expired = 0
        self._closed = threading.Event()
        self._threads = ThreadPoolExecutor(settings.max_instances, thread_name_prefix="function")
        self._keeper = threading.Thread(target=self._keep, name="function-keeper", daemon=True)
        self._keeper.start()

    def invoke(self, data: bytes, timeout_s: float) -> bytes:
        """The reply; see `Backend.invoke`."""
        return self.answer(data, timeout_s).data

    def answer(self, data: bytes, timeout_s: float) -> Answer:
        """The reply and what it took.

        Raises:
            DeadlineError: no answer within `timeout_s`.
            BackendError: the payload is too large, the function failed, or two instances died.
        """
        arrived_s = time.monotonic()
        deadline_s = arrived_s + timeout_s
        if len(data) > self.settings.limit_bytes:
            raise BackendError(
                f"the payload ({len(data)} bytes) exceeds the limit of {self.settings.limit_bytes} bytes"
            )
        for attempt in itertools.count(1):
            instance = self._line.get(self._take, deadline_s)
            if instance is None:
                raise DeadlineError("no function instance became free before the deadline")
            queue_s = time.monotonic() - arrived_s
            try:
                work = self._threads.submit(self._run, instance, data)
            except RuntimeError as error:
                raise BackendError("the function pool is closed") from error
            try:
                answer = work.result(deadline_s - time.monotonic())
            except TimeoutError:
                raise DeadlineError(f"function instance {instance.name} did not answer before the deadline") from None
            except CrashError:
                if attempt == _ATTEMPTS or time.monotonic() >= deadline_s:
                    raise
                continue
            return replace(answer, invocation=replace(answer.invocation, queue_s=queue_s, attempts=attempt))
        raise AssertionError("unreachable")

    def stats(self) -> FunctionStats:
        """The counters now."""
        with self._line.lock:
            return FunctionStats(
                warm=len(self._idle),
                busy=len(self._busy),
                waiting=len(self._line.waiting),
                cold_starts=self._cold_starts,
                crashes=self._crashes,
                expired=self._expired,
                requests=self._meter.requests,
                billed_ms=self._meter.billed_ms,
                usd=self._meter.usd,
            )

    def instances(self) -> tuple[FunctionInstance, ...]:
        """The instances that exist."""
        with self._line.lock:
            return (*self._idle, *self._busy)

    def close(self) -> None:
        """End every instance and fail what still runs. May be called again."""
        self._closed.set()
        for instance in self.instances():
            instance.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for instance in self.instances():
            instance.stop()
        self._keeper.join()
        self._line.changed()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> FunctionPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, _number: int) -> FunctionInstance | None:
        """The warm instance used last, else a new one below the limit, else None. Under the lock."""
        if self._closed.is_set():
            raise BackendError("the function pool is closed")
        now_s = time.monotonic()
        while self._idle:
            instance = self._idle.pop()
            self._busy.add(instance)
            if instance.alive and now_s - instance.idle_since_s < self.settings.keep_alive_s:
                return instance
            self._remove(instance)
        if len(self._busy) >= self.settings.max_instances:
            return None
        environment = {
            **self.settings.environment,
            HANDLER_VARIABLE: self.settings.handler.to_json(),
            LIMIT_VARIABLE: str(self.settings.limit_bytes),
        }
        name = f"faas-{next(self._numbers)}-{secrets.token_hex(4)}"
        instance = FunctionInstance(name, self._token, environment, self._folder)
        self._busy.add(instance)
        return instance

    def _run(self, instance: FunctionInstance, data: bytes) -> Answer:
        """Start the instance if it is new, run the request, bill it, and set the instance free."""
        cold = instance.pid == 0
        begun_s: float | None = None
        try:
            if cold:
                with self._line.lock:
                    self._cold_starts += 1
                instance.start(self.settings.start_timeout_s)
            begun_s = time.monotonic()
            reply = instance.call(data, self.settings.execution_limit_s)
        except BaseException as error:
            with self._line.lock:
                if begun_s is not None:  # it had begun: its time is billed, as far as we saw it
                    self._bill(time.monotonic() - begun_s, instance.init_s if cold else 0.0)
                if isinstance(error, BackendError) and not isinstance(error, CrashError):
                    self._release(instance)
                else:
                    self._crashes += 1
                    self._remove(instance)
            raise
        init_s = instance.init_s if cold else 0.0
        with self._line.lock:
            billed_ms = self._bill(reply.duration_s, init_s)
            self._release(instance)
        setup_s = instance.setup_s if cold else 0.0
        taken = Invocation("faas", instance.name, 0.0, reply.duration_s, cold, setup_s, init_s, billed_ms)
        return Answer(reply.data, taken)

    def _bill(self, duration_s: float, init_s: float) -> int:
        before = self._meter.billed_ms
        self._meter.add_request(self.settings.memory_mb, duration_s, init_s)
        return self._meter.billed_ms - before

    def _release(self, instance: FunctionInstance) -> None:
        self._busy.discard(instance)
        instance.idle_since_s = time.monotonic()
        self._idle.append(instance)
        self._line.changed()

    def _remove(self, instance: FunctionInstance) -> None:
        self._busy.discard(instance)
        with contextlib.suppress(ValueError):
            self._idle.remove(instance)
        instance.stop()
        self._line.changed()

    def _keep(self) -> None:
        """End instances that were idle for too long, and forget those that died idle."""
        while not self._closed.wait(_CHECK_S):
            now_s = time.monotonic()
            with self._line.lock:
                for instance in list(self._idle):
                    if now_s - instance.idle_since_s >= self.settings.keep_alive_s:
                        self._expired += 1
                        self._remove(instance)
                    elif not instance.alive:
                        self._crashes += 1
                        self._remove(instance)
