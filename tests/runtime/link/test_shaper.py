"""Bytes through the shaped link: when they arrive, in which order, and what faults do to them.

Bounds are wide upwards: the machine may be busy. Nothing may ever arrive early.
"""

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from edgecloud.errors import InputError
from edgecloud.runtime.link import Shaper
from edgecloud.traces import transfer_end_s

from .support import connect, receiver, send, trace

LATE_S = 0.25


def test_a_transfer_ends_when_the_integral_says() -> None:
    link = trace(8e6, 0.0, 16e6, 2e6, 8e6, 8e6)
    with receiver() as behind, Shaper(link, behind.address, rtt_s=0.04) as shaper, connect(shaper) as connection:
        for size in (1_000, 400_000, 900_000):
            body = os.urandom(size)
            begun_s = shaper.clock_s()
            send(connection, body)
            assert connection.recv(1) == b"k"
            answered_s = shaper.clock_s()
            arrived_s = behind.done_s[-1] - time.monotonic() + shaper.clock_s()
            exact_s = transfer_end_s(link, begun_s, size + 8) + 0.02
            assert -1e-3 <= arrived_s - exact_s < LATE_S
            assert 0.02 - 1e-3 <= answered_s - arrived_s < 0.02 + LATE_S
            assert behind.bodies[-1] == body
        stats = shaper.stats()
    assert stats.up.bytes == 1_301_000 + 3 * 8
    assert stats.down.bytes == 3
    assert stats.up.waiting_bytes == 0


def test_connections_share_the_link_and_rates_are_scaled() -> None:
    with (
        receiver() as behind,
        Shaper(trace(8e6), behind.address, rate_scale=0.5, rtt_s=0.0) as shaper,
        connect(shaper) as one,
        connect(shaper) as two,
        ThreadPoolExecutor(2) as threads,
    ):
        begun_s = time.monotonic()
        for connection in (one, two):
            threads.submit(send, connection, bytes(250_000))
        one.recv(1)
        two.recv(1)
        took_s = max(behind.done_s) - begun_s
    assert 1.0 - 1e-3 <= took_s < 1.0 + LATE_S  # 500 kB at 4 Mbit/s, whoever sends them


def test_the_traces_round_trip_and_the_demos_clock_are_used() -> None:
    link = trace(8e8, 8e5, rtt_s=0.2)
    with receiver() as behind:
        shaper = Shaper(link, behind.address)
        shaper.start(origin_s=time.monotonic() - 1.0)  # the trace is a second old: 0.8 Mbit/s now
        with connect(shaper) as connection:
            time.sleep(0.15)
            begun_s = time.monotonic()
            send(connection, bytes(20_000))
            connection.recv(1)
            took_s = time.monotonic() - begun_s
        shaper.stop()
    assert 0.2 + 0.2 - 1e-3 <= took_s < 0.4 + LATE_S


def test_the_sender_feels_the_link() -> None:
    with (
        receiver() as behind,
        Shaper(trace(8e6), behind.address, queue_bytes=65536) as shaper,
        connect(shaper) as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        begun_s = time.monotonic()
        send(connection, bytes(2_000_000))
        sent_s = time.monotonic() - begun_s
        connection.recv(1)
    assert sent_s > 1.0  # of 2 s; the rest was in buffers


def test_a_cut_holds_everything_back_and_loses_nothing() -> None:
    with receiver() as behind, Shaper(trace(8e6), behind.address, rtt_s=0.02) as shaper, connect(shaper) as connection:
        begun_s = time.monotonic()
        body = os.urandom(500_000)
        send(connection, body)
        time.sleep(0.2)
        shaper.cut(1.0)
        assert connection.recv(1) == b"k"
        assert 1.5 - 1e-3 <= behind.done_s[0] - begun_s - 0.01 < 1.5 + LATE_S
        assert behind.bodies == [body]


def test_a_black_hole_swallows_connections_for_good_without_a_word() -> None:
    with receiver() as behind, Shaper(trace(8e7), behind.address, rtt_s=0.0) as shaper:
        old = connect(shaper)
        send(old, b"before")
        assert old.recv(1) == b"k"
        shaper.black_hole(0.4)
        during = connect(shaper)
        for connection in (old, during):
            send(connection, b"lost")
            connection.settimeout(0.6)
        for connection in (old, during):
            with pytest.raises(TimeoutError):  # no answer, no end, no reset
                connection.recv(1)
        with connect(shaper) as new:
            send(new, b"after")
            assert new.recv(1) == b"k"
        assert behind.bodies == [b"before", b"after"]
        assert shaper.stats().swallowed == 2
        old.close()
        during.close()


def test_endings_pass_through() -> None:
    with receiver() as behind, Shaper(trace(8e7), behind.address) as shaper, connect(shaper) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    with Shaper(trace(8e7), address) as shaper, connect(shaper) as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)


def test_grpc_passes_and_a_half_open_connection_costs_it_no_more_than_the_deadline() -> None:
    handler = grpc.unary_unary_rpc_method_handler(lambda data, _: data[::-1])
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", {"Call": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    options = [("grpc.use_local_subchannel_pool", 1)]
    body = os.urandom(200_000)
    with Shaper(trace(8e7), f"127.0.0.1:{port}", rtt_s=0.01) as shaper:
        with grpc.insecure_channel(shaper.address, options=options) as channel:
            call = channel.unary_unary("/t.T/Call")
            assert call(body, timeout=20) == body[::-1]
            shaper.black_hole(0.1)
            with pytest.raises(grpc.RpcError) as lost:
                call(b"lost", timeout=0.5)
            assert lost.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        with grpc.insecure_channel(shaper.address, options=options) as channel:
            assert channel.unary_unary("/t.T/Call")(b"again", timeout=20) == b"niaga"
    server.stop(None)


def test_wrong_use_is_an_input_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match="address that is free"):
            Shaper(trace(8e6), address, listen=address).start()
    with pytest.raises(InputError, match="HOST:PORT"):
        Shaper(trace(8e6), "nowhere")
    with pytest.raises(InputError, match="at least 4096"):
        Shaper(trace(8e6), "a:1", queue_bytes=10)
    with pytest.raises(InputError, match="started first"):
        Shaper(trace(8e6), "a:1").cut(1.0)
    with Shaper(trace(8e6), "a:1") as shaper:
        with pytest.raises(InputError, match="longer than 0 s"):
            shaper.black_hole(0.0)
        with pytest.raises(InputError, match="once"):
            shaper.start()
    assert not [thread for thread in threading.enumerate() if thread.name == "shaper"]
