# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's Chromium, driven by Playwright, in a network of its own.

Each change of an address on any interface makes Chromium give up the requests that wait for a connection
(ERR_NETWORK_CHANGED), and beside it containers start and stop all the time.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import BrowserContext, expect, sync_playwright

from . import engine
from .patience import PATIENCE

OPTIONS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")
CLONE_NEWNET = 0x40000000  # unshare(2)
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # netdevice(7)


@contextlib.contextmanager
def chromium(**options: Any) -> Iterator[BrowserContext]:
    """Run it, with options of Playwright's new_context. All names are 127.0.0.1, also apart.test. Needs root."""
    with browsers(1, **options) as (context,):
        yield context


@contextlib.contextmanager
def browsers(count: int, **options: Any) -> Iterator[list[BrowserContext]]:
    """Run several, which know nothing of each other."""
    engine.install_packages("chromium")
    with contextlib.ExitStack() as stack:
        with own_network():
            proxy = stack.enter_context(Proxy(("127.0.0.1", 0), Connection))
            playwright = stack.enter_context(sync_playwright())
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        stack.callback(proxy.shutdown)
        # Chromium itself would bypass it for addresses of this machine.
        through = (f"--proxy-server=socks5://127.0.0.1:{proxy.server_address[1]}", "--proxy-bypass-list=<-loopback>")
        expect.set_options(timeout=PATIENCE * 1000)
        contexts = []
        for _unused in range(count):
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=[*OPTIONS, *through])
            stack.callback(browser.close)
            contexts.append(browser.new_context(**options))
            contexts[-1].set_default_timeout(PATIENCE * 1000)
        yield contexts


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """This thread, and the programs and sockets that it makes, are in an empty network within the block."""
    libc = ctypes.CDLL(None, use_errno=True)

    def move(code: int) -> None:
        if code:
            raise OSError(ctypes.get_errno(), "a network of its own for the browser: are you root?")

    with open("/proc/thread-self/ns/net") as before:
        move(libc.unshare(CLONE_NEWNET))
        try:
            with socket.socket() as any_socket:
                fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
            yield
        finally:
            move(libc.setns(before.fileno(), CLONE_NEWNET))


class Proxy(socketserver.ThreadingTCPServer):
    """The way out of that network: it listens there, and its threads are in this machine's."""

    daemon_threads, block_on_close = True, False


class Connection(socketserver.StreamRequestHandler):
    """SOCKS5 (RFC 1928), as far as Chromium uses it."""

    def handle(self) -> None:
        _version, methods = self.rfile.read(2)
        self.rfile.read(methods)
        self.wfile.write(b"\x05\x00")
        _version, _connect, _reserved, kind = self.rfile.read(4)
        self.rfile.read({1: 4, 4: 16}.get(kind) or self.rfile.read(1)[0])
        port = int.from_bytes(self.rfile.read(2), "big")
        try:
            target = socket.create_connection(("127.0.0.1", port))
        except OSError:
            self.wfile.write(b"\x05\x05\x00\x01" + bytes(6))  # refused
            return
        with target:
            self.wfile.write(b"\x05\x00\x00\x01" + bytes(6))
            there = threading.Thread(target=_pass_on, args=(self.connection, target), daemon=True)
            there.start()
            _pass_on(target, self.connection)
            there.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
