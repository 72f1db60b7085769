"""A proxy for HTTP that does what networks do: it loses, cuts, delays and refuses, as it is told."""

import asyncio
import re
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Literal

__all__ = ["Action", "FaultProxy", "Rule"]

Action = Literal[
    "status", "reset", "cut request", "lost", "cut response", "stall", "hang", "corrupt", "corrupt request",
    "retag",
]  # fmt: skip


@dataclass
class Rule:
    """What to do with the requests whose "METHOD PATH" matches: pass *skip* of them, then act on *times*.

    A body is corrupted *unseen* if no digest goes along by which the server could tell; to "retag" is to answer with
    another ETag, as of something encrypted.
    """

    action: Action
    pattern: str = ""
    skip: int = 0
    times: int = 1
    status: int = 503
    code: str = "SlowDown"
    unseen: bool = False

    def takes(self, line: str) -> bool:
        if self.times == 0 or not re.search(self.pattern, line):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass
class _Message:
    first: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")

    def head(self) -> bytes:
        # The body was read whole, whichever way it was framed.
        dropped = ("transfer-encoding", "content-length", "connection", "expect")
        kept = [(key, value) for key, value in self.headers if key.lower() not in dropped]
        length = self.header("content-length") if self.first.startswith("HTTP") and not self.body else ""
        kept += [("Content-Length", length or str(len(self.body))), ("Connection", "close")]
        return "".join([f"{self.first}\r\n", *(f"{key}: {value}\r\n" for key, value in kept), "\r\n"]).encode("latin-1")


@dataclass
class FaultProxy:
    """It listens on *port* and passes on to *upstream*; *log* has each request, and what was done with it.

    *most* is how many it had at the same time, *asked* how many waited to be told to send their body.
    """

    upstream: int
    port: int = 0
    rules: list[Rule] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    most: int = 0
    asked: int = 0

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._active = 0
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = server.result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    def reset(self, *rules: Rule) -> None:
        """Follow *rules* from now on, and forget the log."""
        self.rules = list(rules)
        self.most = self.asked = 0
        self.log.clear()

    def count(self, pattern: str = "") -> int:
        """How many requests there were whose "METHOD PATH" matches."""
        return sum(1 for line, _ in self.log if re.search(pattern, line))

    def stop(self) -> None:
        async def end() -> None:
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The loop remembers its tasks only as long as somebody else does.
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            # Cancelled only at the end of all, when nobody asks any more how it went.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._handle(reader, writer)
        finally:
            await _close(writer)
            self._tasks.discard(task)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def go_on() -> None:
            self.asked += 1
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

        request = await _read_message(reader, go_on)
        line = " ".join(request.first.split()[:2])
        rule = next((rule for rule in self.rules if rule.takes(line)), None)
        self.log.append((line, rule.action if rule else ""))
        self._active += 1
        self.most = max(self.most, self._active)
        if rule is None:
            answer = await self._forward(request)
            self._active -= 1
            writer.write(answer.head() + (b"" if line.startswith("HEAD") else answer.body))
            await writer.drain()
        else:
            self._active -= 1
            await self._act(rule, request, writer)

    async def _act(self, rule: Rule, request: _Message, writer: asyncio.StreamWriter) -> None:
        if rule.action == "status":
            body = f"<?xml version='1.0'?><Error><Code>{rule.code}</Code><Message>told to</Message></Error>".encode()
            headers = [("Content-Type", "application/xml"), ("x-ms-error-code", rule.code)]
            writer.write(_Message(f"HTTP/1.1 {rule.status} told", headers, body).head() + body)
            await writer.drain()
            return
        if rule.action == "hang":
            await asyncio.Event().wait()
        if rule.action == "cut request":
            await self._forward(request, only=len(request.body) // 2)
        elif rule.action == "corrupt request":
            kept = [header for header in request.headers if not (rule.unseen and header[0].lower() == "content-md5")]
            answer = await self._forward(_Message(request.first, kept, _changed(request.body)))
            writer.write(answer.head() + answer.body)
            await writer.drain()
            return
        elif rule.action == "retag":
            answer = await self._forward(request)
            answer.headers = [
                (key, '"' + "0" * 32 + '"' if key.lower() == "etag" else value) for key, value in answer.headers
            ]
            writer.write(answer.head() + answer.body)
            await writer.drain()
            return
        elif rule.action == "stall":
            await self._forward(request)
            await asyncio.Event().wait()
        elif rule.action in ("lost", "cut response", "corrupt"):
            answer = await self._forward(request)
            if rule.action == "corrupt":
                writer.write(answer.head() + _changed(answer.body))
                await writer.drain()
                return
            if rule.action == "cut response":
                writer.write(answer.head() + answer.body[: len(answer.body) // 2])
                await writer.drain()
        _break(writer)

    async def _forward(self, request: _Message, only: int | None = None) -> _Message:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            writer.write(request.head() + request.body[:only])
            await writer.drain()
            if only is not None:
                return _Message("", [], b"")
            return await _read_message(reader, None, is_head=request.first.startswith("HEAD"))
        finally:
            await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _changed(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def _break(writer: asyncio.StreamWriter) -> None:
    """End the connection with a reset instead of a goodbye."""
    found = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _read_message(
    reader: asyncio.StreamReader, go_on: Callable[[], None] | None, *, is_head: bool = False
) -> _Message:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    message = _Message(first, headers, b"")
    if go_on is not None and message.header("expect"):
        go_on()
    if is_head or first.split()[1] in ("204", "304"):
        return message
    if "chunked" in message.header("transfer-encoding").lower():
        message.body = await _read_chunks(reader)
    elif length := message.header("content-length"):
        message.body = await reader.readexactly(int(length))
    elif go_on is None:
        message.body = await reader.read()
    return message


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while length := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(length))
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass
    return b"".join(parts)
