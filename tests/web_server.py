"""A small web server with ETags, whose pages a test may change, and which counts what it is asked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["WebServer", "web_server"]


class WebServer:
    """Serves *pages* by path: *shy* ones without a length, *whole* ones without ranges, *forbidden* ones not at all.

    *moved* pages are elsewhere.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.pages: dict[str, bytes] = {}
        self.shy: set[str] = set()
        self.whole: set[str] = set()
        self.forbidden: set[str] = set()
        self.moved: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []


@contextmanager
def web_server() -> Iterator[WebServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            web.asked.append((self.command, self.path))
            if self.path in web.moved:
                self.send_response(302)
                self.send_header("Location", web.moved[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            page = web.pages.get(self.path)
            if page is None or self.path in web.forbidden:
                self.send_error(404 if page is None else 403)
                return
            part, status = page, 200
            wanted = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
            if wanted[0] and self.path not in web.shy | web.whole:
                part, status = page[int(wanted[0]) : int(wanted[2]) + 1 if wanted[2] else None], 206
            self.send_response(status)
            if self.path not in web.shy:
                self.send_header("Accept-Ranges", "none" if self.path in web.whole else "bytes")
                self.send_header("Content-Length", str(len(part)))
                self.send_header("ETag", f'"{md5(page, usedforsecurity=False).hexdigest()}"')
                self.send_header("Last-Modified", formatdate(1_785_000_000, usegmt=True))
                if status == 206:
                    self.send_header("Content-Range", f"bytes {wanted[0]}-{int(wanted[0]) + len(part) - 1}/{len(page)}")
            self.end_headers()
            if body:
                self.wfile.write(part)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web = WebServer(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
