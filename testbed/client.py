# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person at a JupyterLab, without a browser: logs in, runs cells, opens terminals, moves files."""

from __future__ import annotations

import json
import queue
import threading
import time
import uuid
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import websocket
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError
from urllib3.util.retry import Retry

from testbed.patience import PATIENCE


class LoginError(Exception):
    """The site refused the password, or showed no login form."""


class KernelDied(Exception):
    """The kernel's process ended before it answered."""


class Again(Retry):
    """What took too long was asked for: it is no connection that the server closed meanwhile."""

    def increment(self, *rest: Any, **more: Any) -> Again:
        if isinstance(more.get("error"), ReadTimeoutError):
            raise more["error"]
        return super().increment(*rest, **more)


# Once, as a browser does: Node.js closes a connection that nobody uses for 5 s, perhaps just when it is used again.
AGAIN = Again(
    total=None, connect=0, read=1, redirect=0, status=0, other=0, allowed_methods=("GET", "HEAD"),
    respect_retry_after_header=False,
)  # fmt: skip


def session(verify: str | bool) -> requests.Session:
    """What Lab and Hub send their requests with."""
    http = requests.Session()
    http.verify, http.trust_env = verify, False
    for scheme in ("http://", "https://"):
        http.mount(scheme, HTTPAdapter(max_retries=AGAIN))
    return http


class Lab:
    """A session at a lab; use it as a context manager, which stops the kernels and terminals that it started."""

    def __init__(self, url: str, verify: str | bool = True, timeout: float = PATIENCE) -> None:
        self.url = url if url.endswith("/") else url + "/"
        self.timeout = timeout
        self.http = session(verify)
        self._started: list[str] = []

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for path in self._started:
            self.request("DELETE", path, check=False)
        self.http.close()

    def login(self, password: str) -> Lab:
        """Log in with the form on the login page; raise LoginError when the password is refused."""
        page = self.http.get(self.url + "login", timeout=self.timeout)
        if "_xsrf" not in self.http.cookies or 'type="password"' not in page.text:
            raise LoginError(f"{self.url}login shows no login form (status {page.status_code})")
        form = {"password": password, "_xsrf": self.http.cookies["_xsrf"]}
        answer = self.http.post(self.url + "login", data=form, timeout=self.timeout, allow_redirects=False)
        if answer.status_code != 302:
            raise LoginError(f"{self.url}login refused the password with status {answer.status_code}")
        self.request("GET", "api/status")
        return self

    def request(self, method: str, path: str, *, check: bool = True, **arguments: Any) -> requests.Response:
        """Send a request below the site's URL, with the XSRF header that jupyter_server asks for."""
        headers = {"X-XSRFToken": self.http.cookies.get("_xsrf") or ""}
        answer = self.http.request(method, self.url + path, headers=headers, timeout=self.timeout, **arguments)
        if check:
            answer.raise_for_status()
        return answer

    def put(self, name: str, content: str) -> requests.Response:
        """Save a text file; every character of its name is encoded, so that a slash goes as %2F."""
        body = {"type": "file", "format": "text", "content": content}
        return self.request("PUT", "api/contents/" + quote(name, safe=""), json=body)

    def get(self, name: str) -> Any:
        """Return a text file's content."""
        answer = self.request("GET", "api/contents/" + quote(name, safe=""), params={"type": "file", "format": "text"})
        return answer.json()["content"]

    def websocket(self, path: str) -> websocket.WebSocket:
        """Open a websocket below the site's URL with the session's cookies."""
        parts = urlsplit(self.url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.http.cookies)
        options = {"ca_certs": self.http.verify} if isinstance(self.http.verify, str) else {}
        return websocket.create_connection(
            f"{scheme}://{parts.netloc}{parts.path}{path}",
            cookie=cookies, origin=f"{parts.scheme}://{parts.netloc}", sslopt=options, timeout=self.timeout,
        )  # fmt: skip

    def kernel(self, name: str = "python3") -> Kernel:
        """Start a kernel and connect to it."""
        identifier = self.request("POST", "api/kernels", json={"name": name}).json()["id"]
        self._started.append(f"api/kernels/{identifier}")
        return self.connect(identifier)

    def connect(self, identifier: str) -> Kernel:
        """Connect to a running kernel."""
        return Kernel(self.websocket(f"api/kernels/{identifier}/channels"), identifier, self.timeout)

    def run(self, code: str) -> str:
        """Run code in a new kernel and return what it printed."""
        return self.kernel().run(code)

    def terminal(self) -> Terminal:
        """Open a terminal."""
        name = self.request("POST", "api/terminals").json()["name"]
        self._started.append(f"api/terminals/{name}")
        return Terminal(self.websocket(f"terminals/websocket/{name}"), self.timeout)


class Messages:
    """What comes through a websocket. Pings are answered meanwhile, as in browsers: servers close what answers none."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self.socket = socket
        # The reader waits for as long as the connection lasts; whoever asks has a limit.
        socket.settimeout(None)
        self._arrived: queue.Queue[str | Exception] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while text := self.socket.recv():
                self._arrived.put(text if isinstance(text, str) else text.decode())
            raise ConnectionError("the server closed the websocket")
        except Exception as error:  # for whoever waits for a message
            self._arrived.put(error)

    def next(self, seconds: float) -> Any:
        """The next message; raise TimeoutError, or why the connection ended."""
        try:
            found = self._arrived.get(timeout=max(0, seconds))
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(found, Exception):
            self._arrived.put(found)
            raise found
        return json.loads(found)


class Kernel:
    """A running kernel behind a websocket."""

    def __init__(self, socket: websocket.WebSocket, identifier: str, timeout: float) -> None:
        self.socket, self.identifier, self.timeout = socket, identifier, timeout
        self.messages = Messages(socket)

    def run(self, code: str) -> str:
        """Run code and return what it printed; raise RuntimeError when it failed."""
        request = uuid.uuid4().hex
        header = {
            "msg_id": request,
            "msg_type": "execute_request",
            "session": request,
            "username": "",
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "user_expressions": {}}
        self.socket.send(
            json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"})
        )
        printed, idle, replied = "", False, False
        deadline = time.monotonic() + self.timeout
        while not (idle and replied):
            try:
                message = self.messages.next(deadline - time.monotonic())
            except TimeoutError:
                raise TimeoutError(f"the kernel did not answer within {self.timeout} s") from None
            # The server says so of its own accord; no answer will follow.
            if message["content"].get("execution_state") in ("restarting", "dead"):
                raise KernelDied(f"the kernel died while it ran {code!r}")
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["msg_type"] == "stream":
                printed += message["content"]["text"]
            elif message["msg_type"] == "error":
                raise RuntimeError("\n".join(message["content"]["traceback"]))
            elif message["msg_type"] == "status":
                idle = message["content"]["execution_state"] == "idle"
            elif message["msg_type"] == "execute_reply":
                replied = True
        return printed


class Terminal:
    """A terminal behind a websocket."""

    def __init__(self, socket: websocket.WebSocket, timeout: float) -> None:
        self.socket, self.timeout = socket, timeout
        self.messages = Messages(socket)

    def run(self, line: str, until: str) -> str:
        """Type a line and return what the terminal showed until a text appeared."""
        self.socket.send(json.dumps(["stdin", line + "\r"]))
        shown, deadline = "", time.monotonic() + self.timeout
        while until not in shown:
            try:
                kind, *rest = self.messages.next(deadline - time.monotonic())
            except TimeoutError:
                raise TimeoutError(
                    f"the terminal did not show {until!r} within {self.timeout} s, but {shown!r}"
                ) from None
            if kind == "stdout":
                shown += rest[0]
        return shown
