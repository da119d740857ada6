"""A whole system under load, and what must be true of every request whatever happens to the servers meanwhile."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from edgecloud.envs import Action, compile_problem, load_scenario
from edgecloud.runtime.serving.certificates import read_credentials
from edgecloud.runtime.serving.device import Device, DeviceSettings
from edgecloud.runtime.serving.observer import NullObserver, ServedRequest
from edgecloud.runtime.serving.plan import Plan
from edgecloud.runtime.system import Slowdowns, System, SystemSettings
from edgecloud.runtime.workload import random_images
from edgecloud.settings import toml_text
from edgecloud.traces import LinkTrace

MODEL = "random:shipped"
EDGE, FUNCTION, MACHINE = Plan(1, 6), Plan(1, 3, route="faas"), Plan(0, 0, route="vm")
PATIENT_S, HASTY_S = 20.0, 2.0
"""Deadlines of the two devices: one finishes alone what no server does, the other only waits."""

SLACK_S = 3.0
"""How late a busy machine may notice a deadline."""

RECOVERY_S = 180.0
"""A worker and a function must have loaded torch by then, on a machine that is busy with other things."""


class Ledger(NullObserver):
    """What a device reports: how often each request ended."""

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()
        self.count = 0

    def arrived(self, t: float) -> None:
        self.count += 1

    def answered(self, record: ServedRequest) -> None:
        self.ended[record.id] += 1


@dataclass(frozen=True)
class Submitted:
    """One request, and when the caller's future was done (`time.monotonic`)."""

    at_s: float
    answer: Future[ServedRequest]
    done_s: list[float]


class Load:
    """Submits requests at a steady rate under plans in turn, in a ``with``; then waits for their ends."""

    def __init__(self, device: Device, image: object, plans: Sequence[Plan], rate_rps: float) -> None:
        self.device, self._image, self._plans, self._rate = device, image, plans, rate_rps
        self.sent: list[Submitted] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(1.0 / self._rate):
            now, done = time.monotonic(), []
            plan = self._plans[len(self.sent) % len(self._plans)]
            answer = self.device.submit(self._image, len(self.sent), plan)  # type: ignore[arg-type]
            answer.add_done_callback(lambda _, done=done: done.append(time.monotonic()))
            self.sent.append(Submitted(now, answer, done))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def records(self) -> list[ServedRequest]:
        """The outcomes, each waited for until its deadline and no longer."""
        timeout_s = self.device.settings.timeout_s
        for each in self.sent:
            each.answer.result(max(each.at_s + timeout_s + SLACK_S - time.monotonic(), 0.0))
        return [each.answer.result(0.0) for each in self.sent]


class Rig:
    """The system, and a second device on the same link that neither falls back nor waits long."""

    def __init__(self, system: System, ledger: Ledger) -> None:
        self.system = system
        self.image = random_images(system.model, 1, 0).tensor(0)
        assert system.shaper is not None
        settings = DeviceSettings(timeout_s=HASTY_S, encoding="int8", fallback=False)
        credentials = read_credentials(system.folder, "device")
        self.hasty_ledger = Ledger()
        self.hasty = Device(system.model, EDGE, system.shaper.address, credentials, self.hasty_ledger, settings)
        self.ledgers = {id(system.device): ledger, id(self.hasty): self.hasty_ledger}

    def under_load(
        self, fault: Callable[[], None], before_s: float = 0.8, after_s: float = 0.3
    ) -> tuple[list[ServedRequest], list[ServedRequest]]:
        """Let something happen while both devices are busy; check what must hold of every request.

        Returns:
            Outcomes in order of arrival: the patient device's, and the hasty one's.
        """
        patient = Load(self.system.device, self.image, (EDGE, FUNCTION, MACHINE), 5.0)
        hasty = Load(self.hasty, self.image, (EDGE, FUNCTION), 2.0)
        with patient, hasty:
            time.sleep(before_s)
            fault()
            time.sleep(after_s)
        return self.checked(patient), self.checked(hasty)

    def checked(self, load: Load) -> list[ServedRequest]:
        """Every request has ended once, by its deadline: answered, or failed with a reason at it."""
        records, timeout_s = load.records(), load.device.settings.timeout_s
        ledger = self.ledgers[id(load.device)]
        assert len({record.id for record in records}) == len(records) > 0
        for record, sent in zip(records, load.sent, strict=True):
            assert ledger.ended[record.id] == 1, "ended more or less than once"
            assert len(sent.done_s) == 1
            assert sent.done_s[0] - sent.at_s <= timeout_s + SLACK_S
            if record.failed:
                assert (record.latency_s, record.tier) == (timeout_s, "")
                assert record.status in ("late", "failed", "refused")
                assert record.reason
            else:
                assert (record.status, 0 <= record.latency_s <= timeout_s) == ("ok", True)
                assert record.tier in ("edge", "cloud", "fallback")
        assert sum(ledger.ended.values()) == ledger.count
        return records

    def served(self, plan: Plan) -> ServedRequest:
        """One request of the patient device."""
        return self.system.device.submit(self.image, -1, plan).result(PATIENT_S + SLACK_S)

    def recovers(self, plans: Sequence[Plan] = (EDGE, FUNCTION, MACHINE)) -> None:
        """Without anybody's help, requests are answered where their plans say again, the hasty device's too."""
        until = time.monotonic() + RECOVERY_S
        for plan in plans:
            while (record := self.served(plan)).tier != ("edge" if plan == EDGE else "cloud"):
                assert time.monotonic() < until, record
                time.sleep(0.1)
            assert record.faas == (plan == FUNCTION)
        while (record := self.hasty.submit(self.image, -1, EDGE).result(HASTY_S + SLACK_S)).tier != "edge":
            assert time.monotonic() < until, record
            time.sleep(0.1)

    def gauge(self, name: str) -> float:
        """One of the gateway's numbers."""
        return self.system.bills().get(name, 0.0)


def write_scenario(folder: Path) -> str:
    """The demo's, with patience for a busy machine, and a VM that boots as fast as its worker loads."""
    base = load_scenario("demo")
    patient = base.model_copy(
        update={
            "limits": base.limits.model_copy(update={"timeout_s": PATIENT_S}),
            "vm": base.vm.model_copy(update={"boot_median_s": 0.5}),
        }
    )
    path = folder / "patient.toml"
    path.write_text(toml_text(patient))
    return str(path)


@contextmanager
def running_rig(folder: Path) -> Iterator[Rig]:
    """A system with slow tiers (so that something is always in service), one VM, and functions."""
    scenario = write_scenario(folder)
    problem = compile_problem(scenario)
    settings = SystemSettings(MODEL, scenario, Slowdowns(edge=40.0, vm=80.0, faas=80.0), real_boot=True)
    ledger = Ledger()
    link = LinkTrace("lab", "static", [0.0, 1000.0], [5e8])
    with System(problem, settings, link, observer=ledger) as system:
        rig = Rig(system, ledger)
        try:
            system.apply(Action(1, problem.stages, len(problem.thresholds) - 1, "faas", 1))
            assert rig.hasty.wait_until_connected(30.0)
            rig.recovers()  # worker and function are there
            yield rig
        finally:
            rig.hasty.close()


def processes_of(parent: int, word: str) -> list[int]:
    """Live children of a process whose command line holds a word."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, ppid = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if int(ppid) == parent and state != "Z" and word in command:
            found.append(int(entry.name))
    return found


def resident_mib(pid: int | None = None) -> float:
    """Resident memory of a process, MiB."""
    fields = Path(f"/proc/{pid or os.getpid()}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
