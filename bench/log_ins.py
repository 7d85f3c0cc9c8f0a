# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long others wait while a class logs in to a hub: at a whole hub, at once and ten a second; and at once in the
authenticator alone, beside bcrypt in the event loop, as upstream has it."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import requests

from testbed import engine, hosts
from testbed.hub_client import Hub
from testbed.run import ROOT, Failure, step

CLASS = 60
RATE, SECONDS = 10, 15
LOOK = 0.01
PAGES = ("hub/health", "hub/login", "hub/home", "hub/api/user", "hub/static/css/style.min.css")
SETTLED = 3


async def pause(work: Callable[[], Awaitable[Any]]) -> dict[str, float]:
    """The seconds that the work took, and the longest time in which the event loop did nothing else."""
    longest = 0.0

    async def look() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(LOOK)
            longest = max(longest, time.perf_counter() - before - LOOK)

    looking = asyncio.create_task(look())
    await asyncio.sleep(LOOK)
    began = time.perf_counter()
    await work()
    took = time.perf_counter() - began
    await asyncio.sleep(2 * LOOK)
    looking.cancel()
    return {"all_in_s": round(took, 2), "longest_pause_s": round(longest, 3)}


def compare(folder: Path) -> dict[str, Any]:
    os.environ.update(CARREL_HUB_DIRECTORY=str(folder), CARREL_HUB_STATE=str(folder))
    sys.path.insert(0, str(ROOT / "roles" / "hub" / "files" / "image"))
    from carrel_hub.native import CarrelNativeAuthenticator
    from jupyterhub import orm
    from nativeauthenticator import NativeAuthenticator
    from tornado.httputil import HTTPHeaders

    people = {f"student{number}": f"password {number}" for number in range(CLASS)}
    one = {"identity": "x", "admin": False, "memory": None, "swap": None, "cpus": None, "pids": None}
    roster = {"version": 1, "users": dict.fromkeys(people, one), "blocked": []}
    (folder / "roster.json").write_text(json.dumps(roster))
    (folder / "passwords.json").write_text(json.dumps(people))
    connection = SimpleNamespace(context=SimpleNamespace(address=("192.0.2.7", 1)))
    handler = SimpleNamespace(request=SimpleNamespace(connection=connection, headers=HTTPHeaders()))
    database = orm.new_session_factory("sqlite://")()
    ours = CarrelNativeAuthenticator(db=database, key=b"key")

    async def log_in() -> None:
        forms = [{"username": name, "password": password} for name, password in people.items()]
        if await asyncio.gather(*(ours.authenticate(handler, form) for form in forms)) != list(people):
            raise SystemExit("not all could log in")

    async def log_in_upstream() -> None:
        upstream = NativeAuthenticator(db=database)
        forms = [{"username": name, "password": password} for name, password in people.items()]
        await asyncio.gather(*(upstream.authenticate(handler, form) for form in forms))

    return {
        "people": CLASS,
        "first_time": asyncio.run(pause(log_in)),
        "again": asyncio.run(pause(log_in)),
        "in_the_event_loop": asyncio.run(pause(log_in_upstream)),
        "goal": "no pause of more than 0.5 s",
    }


def watch(url: str, token: str, cookies: dict[str, str], end: Event, results: Any) -> None:
    """In a process of its own, so that the class keeps nobody from looking at the clock."""

    def look(page: str) -> list[float]:
        times = []
        with requests.Session() as session:
            if page == "hub/home":
                session.cookies.update(cookies)
            else:
                session.headers["Authorization"] = f"token {token}"
            while not end.wait(0.1):
                began = time.perf_counter()
                answer = session.get(url + page, timeout=60, allow_redirects=False)
                times.append(time.perf_counter() - began)
                if answer.status_code != 200:
                    raise RuntimeError(f"{page} answers {answer.status_code}")
        return times

    try:
        with ThreadPoolExecutor(len(PAGES)) as threads:
            results.put([each for times in threads.map(look, PAGES) for each in times])
    except (RuntimeError, requests.RequestException) as error:
        results.put(str(error))


def others_wait(hub: Hub, token: str, work: Callable[[], Any]) -> dict[str, Any]:
    """The seconds that the work took, and the longest time in which a request of somebody else was not answered."""
    end, results = multiprocessing.Event(), multiprocessing.SimpleQueue()
    cookies = {cookie.name: cookie.value for cookie in hub.http.cookies}
    watching = multiprocessing.Process(target=watch, args=(hub.url, token, cookies, end, results))
    watching.start()
    time.sleep(SETTLED)
    began = time.perf_counter()
    work()
    took = time.perf_counter() - began
    end.set()
    times = results.get()
    watching.join()
    if isinstance(times, str):
        raise Failure(times)
    times.sort()
    median, longest = times[len(times) // 2], times[-1]
    return {"all_in_s": round(took, 2), "others_median_s": round(median, 3), "others_longest_s": round(longest, 3)}


def whole_hub(folder: Path) -> dict[str, Any]:
    """Hub and proxy in containers. The class is in the roster from the same moment on."""
    sys.path.insert(0, str(ROOT / "tests" / "integration"))
    import hub_image
    from hub_site import HubSite, person

    people = {f"student{number}": f"password {number}" for number in range(CLASS)}
    site = HubSite(folder, f"carrel-bench-{os.getpid()}", (hub_image.build(), "none"))
    site.people, site.passwords = {"prof": person("prof")}, {"prof": "first-prof"}

    def log_in(name: str) -> None:
        with site.session() as session:
            session.login(name, people[name]).request("GET", "home")

    def all_at_once() -> None:
        with ThreadPoolExecutor(CLASS) as threads:
            list(threads.map(log_in, people))

    def come() -> None:
        site.people |= {name: person(name) for name in people}
        site.passwords |= people
        site.mounts["groups"]["class"] = {"members": list(people), "admins": [], "mounts": []}
        site.write()
        all_at_once()

    def steadily() -> None:
        """RATE log-ins a second, whether the hub keeps up or not."""
        with ThreadPoolExecutor(RATE * SECONDS) as threads:
            began, asked = time.perf_counter(), []
            for number in range(RATE * SECONDS):
                time.sleep(max(0, began + number / RATE - time.perf_counter()))
                asked.append(threads.submit(log_in, f"student{number % CLASS}"))
            for each in asked:
                each.result()

    try:
        site.up()
        prof: Hub = site.session().login("prof", "first-prof")
        token = prof.request("POST", "api/users/prof/tokens", json={}).json()["token"]
        return {
            "first_time": others_wait(prof, token, come),
            "again": others_wait(prof, token, all_at_once),
            f"{RATE}_a_second": {"log_ins": RATE * SECONDS, **others_wait(prof, token, steadily)},
            "goal": "no request of others over 0.5 s",
        }
    finally:
        site.down()


def measure() -> dict[str, Any]:
    try:
        with engine.up(), step(f"{CLASS} people log in to a hub"), tempfile.TemporaryDirectory() as scratch:
            whole, alone = Path(scratch) / "whole", Path(scratch) / "alone"
            whole.mkdir()
            alone.mkdir()
            Path(scratch).chmod(0o755)
            return {"whole_hub": whole_hub(whole), "authenticator": compare(alone)}
    finally:
        if not hosts.containers():
            engine.down()
