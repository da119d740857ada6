"""The poll tells what it hears, goes on after errors, asks only who can be reached, and ends."""

import queue
import time
from typing import Any

from edgecloud.runtime.serving.messages import Status, encode
from edgecloud.runtime.serving.status_poll import StatusPoll
from edgecloud.runtime.serving.transport_errors import UnreachableError


class Client:
    """Answers as it is told to."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers, self.asked = answers, 0

    def status(self, timeout_s: float) -> bytes:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else UnreachableError("gone")
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_statuses_are_told_and_errors_passed_over() -> None:
    good = encode(Status("edge", "edge", "m", 3, 0.5, gauges={}))
    client, told = Client([good, UnreachableError("away"), b"noise", good]), queue.SimpleQueue[Status]()
    poll = StatusPoll(client, 0.01, lambda: True, told.put)  # type: ignore[arg-type]
    heard = [told.get(timeout=10.0).queue for _ in range(2)]
    poll.stop()
    poll.join()
    assert heard == [3, 3]
    asked = client.asked
    assert asked >= 4
    time.sleep(0.05)
    assert client.asked == asked


def test_who_cannot_be_reached_is_not_asked() -> None:
    client = Client([])
    poll = StatusPoll(client, 0.005, lambda: False, lambda _: None)  # type: ignore[arg-type]
    time.sleep(0.05)
    poll.stop()
    poll.join()
    assert client.asked == 0
    never = StatusPoll(client, 0.0, lambda: True, lambda _: None)  # type: ignore[arg-type]
    never.stop()
    never.join()
    assert client.asked == 0
