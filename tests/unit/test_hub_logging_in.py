# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in while a directory is dead, and while somebody else's page interferes."""

from __future__ import annotations

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from carrel_hub import authenticators, directory
from carrel_hub.threads import Threads
from ldap3.core.exceptions import LDAPException
from plan_helpers import good, hub
from tornado import web
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from testbed.virtual_host import virtual_host


def test_a_directory_that_does_not_answer_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """More people than it has threads; the loop's own threads, which look names up as well, stay free."""
    hung = threading.Event()
    tried: list[str] = []

    def get_connection(self: Any, userdn: Any, password: Any) -> None:
        tried.append(userdn)
        hung.wait(30)
        raise LDAPException("no answer")

    monkeypatch.setattr(directory._Threaded, "get_connection", get_connection)
    gate = directory.CarrelLDAPAuthenticator(server_address="127.0.0.1", bind_dn_template=["uid={username}"])
    gate.threads = Threads(threads=2, most_waiting=50)

    async def log_in(name: str) -> int:
        context = SimpleNamespace(address=("192.0.2.7", 1))
        request = SimpleNamespace(connection=SimpleNamespace(context=context), headers={})
        with pytest.raises(web.HTTPError) as refused:
            await gate.authenticate(SimpleNamespace(request=request), {"username": name, "password": "x"})
        return refused.value.status_code

    async def morning() -> list[int]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        waiting = [asyncio.create_task(log_in(f"ada{number}")) for number in range(50)]
        while len(tried) < 2:
            await asyncio.sleep(0.01)
        await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)
        assert not hung.is_set() and not any(task.done() for task in waiting)
        refused = [await log_in("one-more") for _each in range(11)]  # these are no wrong passwords
        hung.set()
        return [*refused, *await asyncio.gather(*waiting)]

    assert asyncio.run(asyncio.wait_for(morning(), 60)) == [503] * 61


def a_handler(cls: Any, **headers: str) -> Any:
    """As the hub makes it for a request."""
    connection = mock.Mock(context=SimpleNamespace(remote_ip="192.0.2.7", protocol="https"))
    line = RequestStartLine("GET", "/hub/", "HTTP/1.1")
    request = HTTPServerRequest(
        connection=connection, headers=HTTPHeaders({"Host": "hub.test", **headers}), start_line=line
    )
    hub = SimpleNamespace(base_url="/hub/")
    return cls(web.Application(cookie_secret="secret of the hub", hub=hub), request)


@pytest.mark.parametrize("domains", [True, False])
def test_a_log_in_that_has_begun_ends_only_where_it_began(domains: bool) -> None:
    """With a cookie that pages at names below the hub's can't set: __Host- says so to browsers."""
    gate = authenticators.CarrelOidcAuthenticator(client_id="hub", client_secret="x", user_domains=domains)
    handlers = dict(gate.get_handlers(None))
    begun = a_handler(handlers["/oauth_login"])
    begun.set_state_cookie("state of Eve's log-in")
    ((name, cookie),) = begun._new_cookie.items()
    assert name == ("__Host-" if domains else "") + "oauthenticator-state"
    for sent, counts in (("oauthenticator-state", not domains), ("__Host-oauthenticator-state", domains)):
        back = a_handler(handlers["/oauth_callback"], Cookie=f"{sent}={cookie.value}")
        assert (back.get_state_cookie() == "state of Eve's log-in") is counts
        assert list(back._new_cookie) == [name], "it counts once"


def test_apache_takes_no_form_for_a_log_in_from_pages_at_other_names() -> None:
    """Launches of a learning platform come from another site, to paths of their own."""

    def found(domains: bool) -> list[str]:
        plan = good([hub(url="https://hub.test/", user_domains=domains, tls="selfsigned", users=["ada"])])
        vhost = {**plan["apache_vhosts"][0]}
        vhost["locations"][0]["backend"] = "http://127.0.0.1:8801"
        lines = [line.strip() for line in virtual_host(vhost, __apache_selfsigned_directory="/x").splitlines()]
        place = next((number for number, line in enumerate(lines) if "Sec-Fetch-Site" in line), None)
        return [] if place is None else lines[place - 1 : place + 2]

    method, where, rule = found(True)
    assert found(False) == [method, where, rule]
    assert method == 'RewriteCond "%{REQUEST_METHOD}" "=POST"'
    site, path = (re.compile(line.split('"')[at]) for line, at in ((where, 3), (rule, 1)))
    assert [bool(site.search(name)) for name in ("same-origin", "none", "same-site", "cross-site")] == [0, 0, 1, 1]
    refused = {
        name: bool(path.search(f"/hub/{name}"))
        for name in ("login", "login/guests/login", "login/a/lti13/oauth_callback")
    }
    assert list(refused.values()) == [True, True, False] and rule.endswith('"-" [R=400,L]')
