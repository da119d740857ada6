"""A whole system on one machine: device, shaped link, edge server, cloud with VMs and functions, and who decides."""

from __future__ import annotations

import math
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch

from ..envs import Action, Problem
from ..errors import InputError
from ..traces import LinkTrace
from .link import Shaper
from .pacing import pace_arguments
from .processes import ServerProcess
from .serving.certificates import Credentials, make_certificates, read_credentials
from .serving.device import Device, DeviceSettings
from .serving.messages import MessageError, Scale, Status, decode, encode
from .serving.model import SplitModel, load_split_model
from .serving.observer import Observer
from .serving.pace import MachinePace, Pace, Stretched
from .serving.plan import Plan
from .serving.transport import Client
from .serving.transport_errors import TransportError
from .telemetry import METERS, Telemetry

__all__ = ["Slowdowns", "System", "SystemSettings"]

_NAMES = ("device", "edge", "cloud")
_PATIENCE = 5.0
_LEVELS = ("vm_running", "vm_booting", "warm_instances", "busy_instances")


@dataclass(frozen=True)
class Slowdowns:
    """Factors, at least 1, by which each tier's service is stretched, so that one machine stands for four."""

    device: float = 1.0
    edge: float = 1.0
    vm: float = 1.0
    faas: float = 1.0

    def __post_init__(self) -> None:
        for name in ("device", "edge", "vm", "faas"):
            if not 1.0 <= getattr(self, name) < math.inf:
                raise InputError("slowdowns", name, "must be at least 1", getattr(self, name))


@dataclass(frozen=True)
class SystemSettings:
    """How a system is put together."""

    model: str
    """Run folder of `edgecloud profiles train`, or `random:small`."""
    scenario: str
    """Shipped name or .toml file: prices, limits, keep-alive, boot times."""
    slowdowns: Slowdowns = field(default_factory=Slowdowns)
    paced: bool = False
    """Whether tiers take the scenario's measured times instead; what takes longer on this machine is not shortened."""
    encoding: str = "int8"
    """Of activations; one byte per element is what the shipped profiles send."""
    fallback: bool = True
    """Whether the device finishes a request itself where a server did not."""
    real_boot: bool = False
    """VMs are ready as soon as their workers are, without the scenario's boot time."""
    seed: int = 0
    """Of boot times."""


class System:
    """Starts everything, and applies decisions; use it as a context manager, or call `close`.

    Args:
        problem: The compiled scenario.
        settings: Model and speeds.
        trace: Uplink between device and edge; None: the loopback interface as it is.
        observer: Told what happens, besides telemetry.
        telemetry: Told what happens; None: nobody measures.
    """

    def __init__(
        self,
        problem: Problem,
        settings: SystemSettings,
        trace: LinkTrace | None = None,
        telemetry: Telemetry | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.problem, self.settings, self.telemetry = problem, settings, telemetry
        self.folder = Path(tempfile.mkdtemp(prefix="edgecloud-system-"))
        """Certificates and logs; removed at the end."""
        self._opened: list[Callable[[], None]] = [lambda: shutil.rmtree(self.folder, ignore_errors=True)]
        try:
            self._open(trace, observer)
        except BaseException:
            self.close()
            raise

    def _open(self, trace: LinkTrace | None, observer: Observer | None) -> None:
        torch.set_num_threads(1)
        settings, control = self.settings, self.problem.scenario.control
        self.model: SplitModel = load_split_model(settings.model, control.resident_placements)
        _check_fit(self.problem, self.model)
        make_certificates(self.folder, (), _NAMES)
        self.gateway = self._start("cloud", _gateway_arguments(settings))
        self.edge = self._start("edge", _edge_arguments(self.problem, settings, self.gateway.address))
        self.shaper: Shaper | None = None
        if trace is not None:
            scale = self.problem.scenario.uplink.rate_scale
            self.shaper = Shaper(trace, self.edge.address, rate_scale=scale, rtt_s=self.problem.link_rtt_s)
            self.shaper.start()
            self._opened.append(self.shaper.stop)
        credentials = read_credentials(self.folder, "device")
        self._control = _Control(self.gateway.address, credentials, self.telemetry)
        self._opened.append(self._control.close)
        self.device = Device(
            self.model,
            self.plan_of(self.problem.start_action.tolist()),
            self.shaper.address if self.shaper else self.edge.address,
            credentials,
            observer or self.telemetry,
            DeviceSettings(
                timeout_s=self.problem.params.timeout_s,
                encoding=settings.encoding,
                pace=_device_pace(self.problem, settings),
                fallback=settings.fallback,
                # An outage of the link is silence, too. Without a fallback there is nothing better to do than to wait
                # for its end; a new connection through a link that comes back slowly takes longer.
                silence_s=2.0 if settings.fallback else _PATIENCE * self.problem.params.timeout_s,
                poll_s=control.interval_s,
            ),
        )
        self._opened.append(self.device.close)
        if not self.device.wait_until_connected(30.0):
            raise InputError("edge", self.edge.address, "does not answer", remedy=f"see {self.folder}/edge.log")
        if self.telemetry is not None and self.shaper is not None:
            shaper, telemetry = self.shaper, self.telemetry
            telemetry.watch(lambda: _modem(shaper, telemetry, control.interval_s))
        self._switcher = _Switcher(self)
        self._opened.append(self._switcher.close)

    def _start(self, name: str, arguments: list[str]) -> ServerProcess:
        listen = ["--certificates", str(self.folder)]
        process = ServerProcess(name, [*arguments, *listen], self.folder / f"{name}.log")
        self._opened.append(process.stop)
        return process

    # -- decisions

    def plan_of(self, action: list[int]) -> Plan:
        """The plan of an action's indices: placement, threshold, route, VM target."""
        from ..envs.problem import ROUTES

        cut_device, cut_edge = self.problem.placements[action[0]].tolist()
        return Plan(cut_device, cut_edge, float(self.problem.thresholds[action[1]]), ROUTES[action[2]])

    def apply(self, action: Action) -> None:
        """Put a decision in force: the plan as soon as its segments are loaded, the VM target at once."""
        threshold = float(self.problem.thresholds[action.threshold])
        self._switcher.want(Plan(action.cut_device, action.cut_edge, threshold, action.route))
        self._control.scale(action.vm_target)

    def switch(self, plan: Plan) -> None:
        """Put a plan in force for the next request, without waiting for segments."""
        self.device.set_plan(plan)

    def bills(self) -> Mapping[str, float]:
        """The gateway's meters now: `METERS`, and `usd`."""
        return self._control.gauges()

    def clock_s(self) -> float:
        """Seconds since the device's start: the clock of every event."""
        return time.monotonic() - self.device.origin_s

    def close(self) -> None:
        """End everything, in the opposite order."""
        for end in reversed(self._opened):
            end()
        self._opened.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Switcher:
    """Moves the cut without a pause: the servers load what the new plan needs while the old one is still in force."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._wanted = system.device.plan
        self._changed = threading.Condition()
        self._closed = False
        self._loaded: list[tuple[int, int]] = [(self._wanted.cut_device, self._wanted.cut_edge)]
        self._thread = threading.Thread(target=self._run, name="switcher", daemon=True)
        self._thread.start()

    def want(self, plan: Plan) -> None:
        cuts = (plan.cut_device, plan.cut_edge)
        with self._changed:
            self._wanted = plan
            if cuts in self._loaded:
                self._system.device.set_plan(plan)
                self._loaded.remove(cuts)
                self._loaded.insert(0, cuts)
            else:
                self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(5.0)

    def _run(self) -> None:
        resident = self._system.problem.scenario.control.resident_placements
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._wanted != self._system.device.plan)
                if self._closed:
                    return
                plan = self._wanted
            model = self._system.model
            if plan.cut_device:
                model.segments.prepare(0, plan.cut_device)
            # An edge server that cannot be reached now loads with its first request.
            self._system.device.prepare(plan, self._system.problem.scenario.control.interval_s)
            with self._changed:
                cuts = (plan.cut_device, plan.cut_edge)
                self._loaded = [cuts, *(other for other in self._loaded if other != cuts)][:resident]
                if plan == self._wanted:
                    self._system.device.set_plan(plan)


class _Control:
    """The line to the cloud's gateway: pool size up, counters down; nobody waits for it."""

    def __init__(self, address: str, credentials: Credentials, telemetry: Telemetry | None) -> None:
        self._client = Client(address, credentials)
        self._gauges: dict[str, float] = {}
        self._target: int | None = None
        self._sent: int | None = None
        self._changed = threading.Event()
        self._closed = False
        self._asking = threading.Lock()
        self._refresh()
        self._thread = threading.Thread(target=self._run, name="cloud-control", daemon=True)
        self._thread.start()
        if telemetry is not None:
            telemetry.watch(self._levels)

    def _levels(self) -> dict[str, float]:
        gauges = self._gauges
        levels = {name: gauges.get(name, 0.0) for name in _LEVELS}
        return levels | {name: gauges[name] for name in METERS if name in gauges}

    def scale(self, target: int) -> None:
        self._target = target
        self._changed.set()

    def gauges(self) -> Mapping[str, float]:
        self._refresh()
        return dict(self._gauges)

    def close(self) -> None:
        self._closed = True
        self._changed.set()
        self._thread.join(10.0)
        self._client.close()

    def _run(self) -> None:
        while not self._closed:
            self._changed.wait(0.25)
            self._changed.clear()
            target = self._target
            try:
                if target is not None and target != self._sent:
                    self._client.prepare(encode(Scale(target)), 5.0)
                    self._sent = target
            except TransportError:
                pass  # tried again
            if not self._refresh():
                self._sent = None  # who does not answer may be started anew, and has then forgotten the pool's size

    def _refresh(self) -> bool:
        with self._asking:  # an older status must not replace a newer one
            try:
                status = decode(self._client.status(2.0))
            except (TransportError, MessageError):
                return False
            if isinstance(status, Status):
                self._gauges = {**status.gauges, "cloud_queue": float(status.queue)}
            return True


def _modem(shaper: Shaper, telemetry: Telemetry, seconds: float) -> dict[str, float]:
    """The link's rate of the interval that ends, as a modem reports it."""
    telemetry.link_rate(shaper.mean_bps(seconds))
    return {}


def _gateway_arguments(settings: SystemSettings) -> list[str]:
    slow = settings.slowdowns
    arguments = ["serve", "gateway", "--model", settings.model, "--scenario", settings.scenario, "--name", "cloud"]
    arguments += ["--vm-slowdown", repr(slow.vm), "--faas-slowdown", repr(slow.faas), "--seed", str(settings.seed)]
    flags = (["--real-boot"] if settings.real_boot else []) + (["--paced"] if settings.paced else [])
    return [*arguments, "--listen", "127.0.0.1:0", *flags]


def _edge_arguments(problem: Problem, settings: SystemSettings, upstream: str) -> list[str]:
    resident = problem.scenario.control.resident_placements
    arguments = ["serve", "edge", "--model", settings.model, "--cloud", upstream, "--encoding", settings.encoding]
    arguments += ["--slowdown", repr(settings.slowdowns.edge), "--resident", str(resident)]
    if settings.paced:
        arguments += ["--pace", problem.scenario.measured]
    return [*arguments, "--listen", "127.0.0.1:0"]


def _device_pace(problem: Problem, settings: SystemSettings) -> Pace:
    if settings.paced:
        return MachinePace(**pace_arguments(problem, "device", settings.seed))
    return Stretched(settings.slowdowns.device)


def _check_fit(problem: Problem, model: SplitModel) -> None:
    """The scenario's profile must be of a network of this form: decisions speak of its cuts and exits."""
    profile = problem.profile
    for name, wanted, found in (
        ("stages", len(profile.stages), model.stages),
        ("exits", tuple(head.after_stage for head in profile.exits), model.exits),
    ):
        if wanted != found:
            remedy = "serve the network that the scenario's profile was measured on"
            raise InputError("model", name, f"must be {wanted}, as in profile '{profile.name}'", found, remedy)
