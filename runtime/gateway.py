"""The cloud's door: a server that routes requests to VM workers or functions, sizes the pool, and keeps the bill."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from ..envs import Problem
from .cloud import (
    Dispatcher,
    FunctionPool,
    FunctionSettings,
    HandlerSpec,
    Invocation,
    VmPool,
    VmSettings,
    lognormal_boot,
)
from .cloud.backend import BackendError, DeadlineError
from .pacing import pace_arguments
from .serving.certificates import Credentials
from .serving.messages import MessageError, Prepare, Prepared, Reply, Request, Scale, Status, Timings, decode, encode
from .serving.model import SplitModel
from .serving.once import Once
from .serving.transport import Server, serve

__all__ = ["Gateway", "GatewaySettings", "pools_of"]


@dataclass(frozen=True)
class GatewaySettings:
    """How the cloud is emulated on this machine."""

    model: str
    """As `load_split_model` takes it; workers and functions load it themselves."""
    address: str = "127.0.0.1:0"
    vm_slowdown: float = 1.0
    faas_slowdown: float = 1.0
    paced: bool = False
    """Whether both take the scenario's measured times, instead of a multiple of this machine's."""
    real_boot: bool = False
    """Whether a VM is ready as soon as its worker is, without the scenario's boot time."""
    seed: int = 0
    """Of the boot times."""
    workers: int = 128
    """Requests inside at a time."""


def pools_of(problem: Problem, settings: GatewaySettings) -> tuple[VmPool, FunctionPool]:
    """The pools that a scenario describes: prices, sizes, keep-alive and boot times are its; cold starts are real."""
    scenario, rng = problem.scenario, np.random.default_rng(settings.seed)
    environment = {"OMP_NUM_THREADS": "1"}

    def handler(name: str, tier: str, slowdown: float) -> HandlerSpec:
        arguments: dict[str, object] = {"model": settings.model, "name": name, "slowdown": slowdown}
        if settings.paced:
            arguments["pace"] = pace_arguments(problem, tier, settings.seed)
        return HandlerSpec("edgecloud.runtime.serving.worker:make_handler", arguments)

    vm, faas = scenario.vm, scenario.faas
    boot = 0.0 if settings.real_boot else lognormal_boot(vm.boot_median_s, vm.boot_sigma, rng)
    pool = VmPool(
        VmSettings(
            handler("vm", "vm", settings.vm_slowdown),
            problem.prices.vm(vm.type),
            max_vms=max(vm.max_vms, 1),
            boot_s=boot,
            environment=environment,
        )
    )
    functions = FunctionPool(
        FunctionSettings(
            handler("function", "faas", settings.faas_slowdown),
            problem.prices.faas(faas.platform),
            faas.memory_mb,
            max_instances=faas.max_instances,
            keep_alive_s=faas.keep_alive_s,
            environment=environment,
        )
    )
    pool.set_target(vm.initial_vms)
    return pool, functions


class Gateway:
    """A running gateway; use it as a context manager, or call `stop`.

    Args:
        model: The network that is served; requests for another one are refused.
        dispatcher: Routes, and owns the pools: they are closed with the gateway.
        credentials: Own certificate and the authority; None: plain text.
        settings: Address and room.
    """

    def __init__(
        self,
        model: SplitModel,
        dispatcher: Dispatcher,
        credentials: Credentials | None,
        settings: GatewaySettings,
        name: str = "cloud",
    ) -> None:
        self._model, self._dispatcher, self.name = model, dispatcher, name
        self._server: Server = serve(
            self.handle,
            self.status,
            settings.address,
            credentials,
            workers=settings.workers,
            prepare=self.control,
            once=Once(),
            insecure=credentials is None,
        )
        self.address = self._server.address

    def handle(self, data: bytes) -> bytes:
        """The encoded reply to an encoded request.

        Raises:
            MessageError: It is no request, or one for another network.
        """
        request = decode(data)
        if not isinstance(request, Request):
            raise MessageError("kind", "must be request here")
        self._check(request.model)
        try:
            answer = self._dispatcher.answer(data, request.deadline_s, request.plan.route)
        except DeadlineError as error:
            return encode(Reply(request.id, -1, math.nan, -1, "late", str(error)[:500], Timings(), self.name))
        except BackendError as error:
            return encode(Reply(request.id, -1, math.nan, -1, "failed", str(error)[:500], Timings(), self.name))
        reply = decode(answer.data)
        if not isinstance(reply, Reply) or reply.id != request.id:
            raise MessageError("reply", "must be the answer to the request")
        return encode(replace(reply, timings=_with(reply.timings, answer.invocation)))

    def control(self, data: bytes) -> bytes:
        """Size the pool (`Scale`); a `Prepare` is answered, but cloud workers load a part with its first request.

        Raises:
            MessageError: It is something else.
        """
        message = decode(data)
        if isinstance(message, Scale):
            self._dispatcher.set_target(message.vm_target)
        elif isinstance(message, Prepare):
            self._check(message.model)
        else:
            raise MessageError("kind", "must be scale or prepare here")
        return encode(Prepared(True, 0.0, ()))

    def status(self) -> bytes:
        """The encoded `Status`; its gauges are the measured row's, and the bills so far."""
        stats = self._dispatcher.stats()
        vms, functions = stats.vms, stats.functions
        gauges = {
            "vm_running": stats.vm_running,
            "vm_booting": stats.vm_booting,
            "warm_instances": stats.warm,
            "busy_instances": stats.busy,
            "vm_billed_s": vms.billed_s if vms else 0,
            "faas_billed_ms": functions.billed_ms if functions else 0,
            "faas_requests": functions.requests if functions else 0,
            "cold_starts": functions.cold_starts if functions else 0,
            "failovers": stats.failovers,
            "usd": float(stats.usd),
        }
        busy = vms.busy / max(vms.running, 1) if vms else 0.0
        numbers = {name: float(value) for name, value in gauges.items()}
        return encode(Status(self.name, "cloud", self._model.fingerprint, stats.queue, min(busy, 1.0), gauges=numbers))

    def stop(self, grace_s: float = 2.0) -> None:
        """Let what is inside finish for at most `grace_s`, then end workers and functions."""
        self._server.stop(grace_s)
        self._dispatcher.close()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _check(self, fingerprint: str) -> None:
        if fingerprint != self._model.fingerprint:
            remedy = "start all tiers with the same model"
            raise MessageError("model", f"must be {self._model.fingerprint}, which is served here", fingerprint, remedy)


def _with(timings: Timings, took: Invocation) -> Timings:
    """A worker's account completed by the pool's: waiting, cold start, bill."""
    inside_s = float(timings.get("cloud_queue_s", 0.0))
    merged = cast(Timings, dict(timings))
    merged["cloud_queue_s"] = inside_s + took.queue_s
    merged["route_used"], merged["cloud_server"] = took.route, took.server
    merged["cold"], merged["billed_ms"] = took.cold, took.billed_ms
    merged["init_s"] = took.setup_s + took.init_s
    return merged
