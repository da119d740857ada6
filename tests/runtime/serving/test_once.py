import threading
import time

import pytest
import torch

from edgecloud.runtime.serving.messages import Request, encode
from edgecloud.runtime.serving.once import Once
from edgecloud.runtime.serving.payloads import pack
from edgecloud.runtime.serving.plan import Plan
from edgecloud.runtime.serving.transport_errors import OverloadedError, ReplayError

NOW = 1_000.0


def message(number: int = 0, attempt: int = 1, sent_s: float = NOW) -> bytes:
    payload = pack(torch.zeros(1))
    return encode(Request(number.to_bytes(16, "big"), "m", Plan(0, 1), 0, 5.0, payload, sent_s, attempt))


class Counting:
    def __init__(self, seconds: float = 0.0) -> None:
        self.calls, self.seconds = 0, seconds

    def __call__(self, data: bytes) -> bytes:
        self.calls += 1
        time.sleep(self.seconds)
        return b"answer %d" % self.calls


def test_a_replay_is_refused_and_a_retry_answered_from_memory() -> None:
    once, handler = Once(clock=lambda: NOW), Counting()
    assert once.answer("device", message(), handler) == b"answer 1"
    for peer, attempt in (("device", 1), ("other", 1), ("other", 2)):
        with pytest.raises(ReplayError, match="seen already"):
            once.answer(peer, message(attempt=attempt), handler)
    assert once.answer("device", message(attempt=2), handler) == b"answer 1"
    with pytest.raises(ReplayError):  # the retry, replayed
        once.answer("device", message(attempt=2), handler)
    assert once.answer("device", message(attempt=3), handler) == b"answer 1"
    assert (handler.calls, once.refused, once.repeated) == (1, 4, 2)


def test_a_retry_waits_for_the_first_attempt() -> None:
    once, handler = Once(clock=lambda: NOW), Counting(0.2)
    answers: list[bytes] = []
    first = threading.Thread(target=lambda: answers.append(once.answer("d", message(), handler)))
    first.start()
    time.sleep(0.05)
    answers.append(once.answer("d", message(attempt=2), handler))
    first.join()
    assert answers == [b"answer 1", b"answer 1"]
    assert handler.calls == 1


@pytest.mark.parametrize("sent_s", [NOW - 61, NOW + 61, 0.0])
def test_old_messages_are_refused(sent_s: float) -> None:
    with pytest.raises(ReplayError, match="outside the window"):
        Once(clock=lambda: NOW).answer("d", message(sent_s=sent_s), Counting())


def test_nothing_is_forgotten_while_it_could_be_replayed() -> None:
    now = [NOW]
    once, handler = Once(clock=lambda: now[0]), Counting()
    once.answer("d", message(sent_s=NOW + 59), handler)  # a clock that is ahead
    for later in (60.0, 100.0, 118.0, 119.5, 500.0):
        now[0] = NOW + later
        with pytest.raises(ReplayError):
            once.answer("d", message(sent_s=NOW + 59), handler)
    assert handler.calls == 1


def test_what_was_not_begun_may_be_tried_again() -> None:
    once = Once(clock=lambda: NOW)

    def full(_: bytes) -> bytes:
        raise OverloadedError("full")

    with pytest.raises(OverloadedError):
        once.answer("d", message(), full)
    assert once.answer("d", message(attempt=2), Counting()) == b"answer 1"


def test_memory_is_bounded() -> None:
    once = Once(capacity=2, clock=lambda: NOW)
    for number in range(2):
        once.answer("d", message(number), Counting())
    with pytest.raises(OverloadedError, match="remember"):
        once.answer("d", message(2), Counting())


def test_a_retry_that_waits_learns_of_the_first_attempts_failure() -> None:
    once, begun = Once(clock=lambda: NOW), threading.Event()

    def fails(_: bytes) -> bytes:
        begun.set()
        time.sleep(0.1)
        raise OverloadedError("full after all")

    def first() -> None:
        with pytest.raises(OverloadedError):
            once.answer("d", message(), fails)

    thread = threading.Thread(target=first)
    thread.start()
    begun.wait(5)
    with pytest.raises(OverloadedError, match="full after all"):
        once.answer("d", message(attempt=2), Counting())
    thread.join()
    assert once.answer("d", message(attempt=3), Counting()) == b"answer 1"  # forgotten: may be tried again
