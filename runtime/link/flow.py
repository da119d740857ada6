"""One connection through a shaped link: what one side sends, the other receives later, endings included."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket

from .pipe import Pipe

__all__ = ["Flow", "end_with_reset", "limit_buffers"]

_KERNEL_BYTES = 1 << 17
"""Above loopback's segments of 64 kB, below which TCP's avoidance of silly windows stalls."""


class Flow:
    """Both directions of one connection.

    A sender is read only as far as the queue has room, so that it feels the link and is not told that all is sent.
    In a black hole the flow takes bytes and loses them, and never ends: neither side learns that the other is gone.

    Args:
        client: Reader and writer of the accepted connection.
        target: Address behind the link.
        up: The pipe from client to target.
        down: The pipe back.
        queue_bytes: What each direction of a flow may have under way.
    """

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        target: tuple[str, int],
        up: Pipe,
        down: Pipe,
        queue_bytes: int,
    ) -> None:
        self._client, self._target = client, target
        self._up, self._down, self._queue_bytes = up, down, queue_bytes
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.swallowed = False

    async def run(self) -> None:
        """Carry until both sides have ended; never raises for what a peer does."""
        await self._up.cross()
        if self.swallowed:
            await self._lose()
            return
        try:
            self._server = await asyncio.open_connection(*self._target)
        except OSError:
            await self._down.cross()
            end_with_reset(self._client[1])
            return
        limit_buffers(self._server[1].get_extra_info("socket"))
        there = self._carry(self._client[0], self._server[1], self._up)
        back = self._carry(self._server[0], self._client[1], self._down)
        try:
            await asyncio.gather(there, back)
        finally:
            self.close()

    def close(self) -> None:
        """End both connections at once."""
        for side in (self._client, self._server):
            if side is not None:
                side[1].close()

    async def _lose(self) -> None:
        """Take what the client sends until it gives up."""
        with contextlib.suppress(OSError):
            while await self._client[0].read(1 << 16):
                pass

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pipe: Pipe) -> None:
        room = asyncio.Event()
        under_way = 0

        def hand_over(data: bytes) -> None:
            nonlocal under_way
            under_way -= len(data)
            room.set()
            if not self.swallowed and not writer.is_closing():
                writer.write(data)

        while True:
            while under_way + writer.transport.get_write_buffer_size() >= self._queue_bytes:
                room.clear()
                with contextlib.suppress(TimeoutError):  # the receiver's buffer drains without telling us
                    await asyncio.wait_for(room.wait(), 0.01)
            try:
                data = await reader.read(min(pipe.chunk_bytes(), self._queue_bytes))
            except OSError:
                data, broken = b"", True
            else:
                broken = False
            if not data:
                break
            under_way += len(data)
            pipe.put(len(data), functools.partial(hand_over, data))
        await pipe.cross()
        if self.swallowed:  # the other side is not told
            return
        if broken:
            end_with_reset(writer)
        elif not writer.is_closing():
            with contextlib.suppress(OSError):
                writer.write_eof()


def limit_buffers(peer: socket.socket) -> None:
    """Fixed kernel buffers on our side instead of growing ones: what a peer has 'sent' is nearly what the link took."""
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        peer.setsockopt(socket.SOL_SOCKET, option, _KERNEL_BYTES)


def end_with_reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a dead peer's kernel does: with RST."""
    peer: socket.socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()
