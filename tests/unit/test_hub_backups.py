# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page on which a hub's people bring back files: what it sends, what it shows, and who gets to it."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._site import backup, hub, hub_images
from carrel_hub import asking, backups, config
from carrel_hub.asking import Backups, Refused
from jupyterhub.services.auth import HubOAuth
from jupyterhub.utils import subdomain_hook_idna
from test_hub_image import CONFIG, SECRETS
from test_hub_project import ENGINE, IMAGE, instance
from test_hub_project import project as hub_project
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

SNAPSHOT = "ab" * 32
MENU_IMAGE = {**IMAGE, "jupyterlab": {**IMAGE["jupyterlab"], "plugins": {hub_images.MENUS: None}}}


async def answering(
    folder: Path, say: Callable[[dict[str, Any], asyncio.StreamWriter], Awaitable[None]], use: Callable[[Backups], Any]
) -> Any:
    """What USE comes to with a host that SAYs something to each request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await say(json.loads(await reader.readline()), writer)
        writer.close()

    async with await asyncio.start_unix_server(serve, str(folder / "socket")):
        return await use(Backups(folder / "socket"))


def line(writer: asyncio.StreamWriter, **content: Any) -> None:
    writer.write(json.dumps(content).encode() + b"\n")


def test_what_is_brought_back_is_followed(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    seen = []

    async def say(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        seen.append(asked)
        line(writer, percent=40)
        await writer.drain()
        await go_on.wait()
        line(writer, done={"folder": "restored-1"})

    async def use(found: Backups) -> None:
        found.bring("ada", SNAPSHOT, ["a", "\udcff"], "it")
        work = found.works["ada"]
        while not work.percent:
            await asyncio.sleep(0.01)
        assert (work.percent, work.ended) == (40, False)
        with pytest.raises(Refused, match="already"):
            found.bring("ada", SNAPSHOT, ["b"], "another")
        found.bring("grace", SNAPSHOT, ["b"], "of somebody else")
        go_on.set()
        while not (work.ended and found.works["grace"].ended):
            await asyncio.sleep(0.01)
        assert (work.folder, work.refused) == ("restored-1", None)
        found.bring("ada", SNAPSHOT, [], "the next")

    asyncio.run(answering(tmp_path, say, use))
    assert seen[0] == {"what": "bring", "user": "ada", "snapshot": SNAPSHOT, "parts": ["a", "\udcff"]}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"refused": "There is too little room."}\n', "too little room"),
        (b"", "without an answer"),
        (b'{"percent": 1}\n', "without an answer"),
        (b"nonsense\n", "without an answer"),
        (b'{"done"', "without an answer"),
        (b"[]\n", "without an answer"),
        (b"x" * (asking.LONGEST + 1), "without an answer"),
    ],
)
def test_each_end_is_said(tmp_path: Path, answer: bytes, said: str) -> None:
    async def say(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    async def use(found: Backups) -> None:
        found.bring("ada", SNAPSHOT, ["a"], "it")
        while not found.works["ada"].ended:
            await asyncio.sleep(0.01)
        assert said in str(found.works["ada"].refused)
        with pytest.raises(Refused, match=said):
            await found.snapshots("ada")

    asyncio.run(answering(tmp_path, say, use))


def test_a_host_that_is_away_or_silent_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="cannot be reached"):
        asyncio.run(Backups(tmp_path / "socket").snapshots("ada"))

    async def say(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)

    async def use(found: Backups) -> None:
        with pytest.raises(Refused, match="without an answer"):
            await found.snapshots("ada")

    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.2)
    asyncio.run(answering(tmp_path, say, use))


def test_who_looks_waits_for_others(tmp_path: Path) -> None:
    now, most = 0, 0

    async def say(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        line(writer, done={"snapshots": []})

    async def use(found: Backups) -> None:
        assert await asyncio.gather(*(found.snapshots(f"user{number}") for number in range(20))) == [[]] * 20

    asyncio.run(answering(tmp_path, say, use))
    assert most == asking.AT_ONCE
    assert backup.MOST_REQUESTS >= 2 * asking.AT_ONCE, "the host takes all that the page sends"


def test_one_user_does_not_take_all_looks(tmp_path: Path) -> None:
    async def say(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        line(writer, done={"snapshots": []})

    async def use(found: Backups) -> None:
        looks = [found.snapshots("ada") for _unused in range(asking.MOST_LOOKS + 1)]
        *shown, refused = await asyncio.gather(*looks, return_exceptions=True)
        assert shown == [[]] * asking.MOST_LOOKS and str(refused) == asking.PATIENCE
        assert await found.snapshots("ada") == []

    asyncio.run(answering(tmp_path, say, use))


def test_names_go_through_an_address_byte_by_byte() -> None:
    parts = ["a b", "&=?#;+%", "\udcff\n", "<ü>"]
    text = backups.query(snapshot=SNAPSHOT, path="/".join(parts))
    assert text.isascii() and "<" not in text
    assert backups.read_query(text) == (SNAPSHOT, parts, 0)
    assert os.fsencode(backups.read_query("path=%FF%2Fa")[1][0]) == b"\xff"


@pytest.mark.parametrize("text", ["page=-1", "page=x", "page=1234567", "page=²", f"path={'x' * 5000}"])
def test_addresses_that_no_form_has_are_refused(text: str) -> None:
    with pytest.raises(Refused):
        backups.read_query(text)


def test_names_are_shown_in_one_line() -> None:
    assert backups.shown("a\nb\x1b[31m\u202eexe\udcff") == "a\ufffdb\ufffd[31m\ufffdexe\ufffd"


def page(**values: Any) -> str:
    user = SimpleNamespace(name="ada", admin=False, json_escaped_name=backups.script_text("</script>"))
    found: str = (
        backups.templates()
        .get_template("backups.html")
        .render(
            base_url="/hub/", prefix="/", user=user, no_spawner_check=True, parsed_scopes=(), services=[],
            static_url=lambda path, include_version=True: f"/hub/static/{path}", here="/services/backups/",
            xsrf="token", carrel_backups=True, **{"refused": None, "work": None, **values},
        )
    )  # fmt: skip
    return found


def folder(*names: str) -> dict[str, Any]:
    entries = [{"name": name, "type": "file", "size": 1, "modified": "2030-01-31T02:30:00"} for name in names]
    found = {"time": "2030-01-31T02:30:00+00:00", "total": 450, "pages": 3, "entries": entries}
    rows = list(backups.rows(SNAPSHOT, ["d"], entries))
    crumbs = list(backups.crumbs(SNAPSHOT, ["<i>", "d"]))
    return {"folder": found, "rows": rows, "crumbs": crumbs, "query": "snapshot=x&path=d", "page": 1}


def test_what_the_page_shows_is_text() -> None:
    text = page(**folder("<script>alert(1)</script>", '" onclick="x', "{{ 7 * 7 }}"))
    assert "<script>alert" not in text and '" onclick' not in text and "<i>" not in text and "49" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert text.count("</script>") == page(snapshots=[]).count("</script>"), "nor does a name end a script"
    assert text.count('name="_xsrf" value="token"') == 4
    assert "page=0" in text and "page=2" in text and "2 of 3, 450 files" in text


def test_the_page_reloads_as_long_as_something_is_under_way() -> None:
    work = asking.Work("<b>", percent=7)
    text = page(snapshots=[], work=work)
    assert 'http-equiv="refresh"' in text and "7 %" in text and "<b>" not in text
    assert "disabled" in page(**folder("a"), work=work)
    assert 'http-equiv="refresh"' not in page(**folder("a"), work=work), "a folder would be asked for each time"
    work.ended, work.folder = True, "restored-1"
    text = page(snapshots=[], work=work)
    assert 'http-equiv="refresh"' not in text and "<strong>restored-1</strong>" in text
    work.folder, work.refused = None, "There is too little room."
    assert "was not brought back. There is too little room." in page(snapshots=[], work=work)


async def fetched(monkeypatch: pytest.MonkeyPatch, model: dict[str, Any] | None, path: str, **more: Any) -> Any:
    """An answer of the whole service, with WORKS, and with a stand-in for what the hub says about a token."""
    for name, value in {
        "SERVICE_PREFIX": "/services/backups/", "API_TOKEN": "x", "API_URL": "http://127.0.0.1:9/hub/api",
        "CLIENT_ID": "service-backups", "BASE_URL": "/",
        "OAUTH_ACCESS_SCOPES": json.dumps(["access:services!service=backups"]),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"JUPYTERHUB_{name}", value)

    async def said_of_token(*_unused: Any, **_more: Any) -> dict[str, Any] | None:
        return model

    auth = HubOAuth()
    monkeypatch.setattr(auth, "_check_hub_authorization", said_of_token)
    monkeypatch.setattr(backups.Page, "hub_auth", auth)

    async def say(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        line(writer, done={"snapshots": [{"id": SNAPSHOT, "time": "2030-01-31T02:30:00+00:00"}], "for": asked["user"]})

    works = more.pop("works", {})

    async def use(found: Backups) -> Any:
        found.works.update(works)
        app = backups.application("/services/backups/", {"base_url": "/", "authenticator": {"type": "native"}}, found)
        (listening,) = bind_sockets(0, "127.0.0.1")
        server = HTTPServer(app)
        server.add_socket(listening)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/services/backups/{path}"
        options = {"raise_error": False, "follow_redirects": False, "headers": {"Authorization": "token t"}, **more}
        answer = await AsyncHTTPClient().fetch(url, **options)
        server.stop()
        return answer

    with tempfile.TemporaryDirectory() as folder:
        return await answering(Path(folder), say, use)


@pytest.mark.parametrize(
    ("kind", "scope", "status"),
    [
        ("user", "access:services!service=backups", 200),
        ("user", "access:services", 200),
        ("user", "access:services!service=another", 403),
        ("user", "access:servers", 403),
        ("service", "access:services!service=backups", 302),
    ],
)
def test_only_people_whom_the_hub_lets_in_see_the_page(
    monkeypatch: pytest.MonkeyPatch, kind: str, scope: str, status: int
) -> None:
    answer = asyncio.run(fetched(monkeypatch, {"kind": kind, "name": "ada", "scopes": [scope]}, ""))
    assert answer.code == status
    assert (SNAPSHOT in answer.body.decode()) is (status == 200)
    if status == 200:
        assert ">ada</span>" in answer.body.decode()
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        assert answer.headers["Cache-Control"] == "no-store"


def test_strangers_are_sent_to_the_hub_and_cannot_post(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = asyncio.run(fetched(monkeypatch, None, "", headers={}))
    assert answer.code == 302 and answer.headers["Location"].startswith("/hub/api/oauth2/authorize?")
    answer = asyncio.run(fetched(monkeypatch, None, f"bring?snapshot={SNAPSHOT}", headers={}, method="POST", body=""))
    assert answer.code == 403


def test_a_page_that_reloads_asks_the_host_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = {"kind": "user", "name": "ada", "scopes": ["access:services"]}
    work = asking.Work("it", percent=7)
    text = asyncio.run(fetched(monkeypatch, model, "", works={"ada": work})).body.decode()
    assert "7 %" in text and SNAPSHOT not in text
    work.ended, work.folder = True, "restored-1"
    assert SNAPSHOT in asyncio.run(fetched(monkeypatch, model, "", works={"ada": work})).body.decode()


def test_the_page_says_when_there_is_nothing() -> None:
    assert "no backup of your home yet" in page(snapshots=[])
    assert "Nothing is in this folder" in page(**{**folder(), "rows": []})


def test_the_service_is_there_with_backups_and_has_no_power() -> None:
    def hub_part(**changes: Any) -> dict[str, Any]:
        return config.traits({**CONFIG, **changes}, SECRETS, Path("/x"))["JupyterHub"]

    without, found = hub_part(), hub_part(backups=True)
    assert all(service["name"] != "backups" for service in without["services"])
    (service,) = (each for each in found["services"] if each["name"] == "backups")
    assert service.keys() == {"name", "url", "command", "oauth_no_confirm", "display", "environment"}
    assert service["environment"] == {} and found["template_vars"]["carrel_backups"] == "/class/services/backups/"
    apart = hub_part(backups=True, user_domains=True, url="https://hub.test/", base_url="/")
    (service,) = (each for each in apart["services"] if each["name"] == "backups")
    assert service["environment"] == {"JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED": "1"}
    domain = urlsplit(apart["template_vars"]["carrel_backups"]).netloc
    assert domain == subdomain_hook_idna("backups", "hub.test", "service")
    assert without["template_vars"]["carrel_backups"] == ""
    new = [role for role in found["load_roles"] if role not in without["load_roles"]]
    assert new == [{"name": "user", "scopes": ["self", "access:services!service=backups"]}]
    own = [{**dict.fromkeys(("url", "command", "environment")), "name": "a", "access": "everybody", "scopes": []}]
    both = config.traits({**CONFIG, "backups": True, "services": own}, {**SECRETS, "services/a": "x"}, Path("/x"))
    assert both["JupyterHub"]["load_roles"][-1]["scopes"][1:] == [
        "access:services!service=backups", "access:services!service=a",
    ]  # fmt: skip


def test_the_hub_alone_has_the_folder_of_the_socket() -> None:
    decided = hub_project(backups=True)
    folder = {"path": "/var/lib/carrel/class101/page", "group": 1002, "mode": "0750"}
    assert folder in installed()["directories"], "before systemd makes it, as root's alone"
    assert folder in decided["directories"] and folder not in hub_project()["directories"]
    mounts = {name: service.get("volumes", []) for name, service in decided["compose"]["services"].items()}
    (mount,) = (each for each in mounts["hub"] if each["source"] == folder["path"])
    assert (mount["target"], mount["read_only"]) == (str(asking.SOCKET.parent), True)
    assert all(each["source"] != folder["path"] for name in mounts if name != "hub" for each in mounts[name])
    (unit,) = (
        file["content"] for file in installed()["files"] if file["path"].endswith("carrel-backup-page-class101.socket")
    )
    assert f"ListenStream={folder['path']}/{asking.SOCKET.name}\n" in unit and "SocketGroup=1002\n" in unit


def installed(kind: str = "hub", state: str = "present") -> dict[str, Any]:
    ids = {"start": 200000, "count": 65536}
    engines = {"class101": {"uid": 1001, "gid": 1002, "socket": "/s", "subuid": ids, "subgid": ids}}
    common = {
        "repository": "/srv/b",
        "password": "x",
        "environment": {},
        "at": None,
        "spread_minutes": 0,
        "exclude": [],
    }
    how = {**common, "keep": {}, "append_only": False, "drill": False, "deadline_seconds": 60}
    job = {
        "name": "class101", "kind": kind, "state": state, "engine": "class101", "directory": "/srv/class101",
        "token_file": None, "backup": how, "last_backup": False,
    }  # fmt: skip
    return backup.install([job], engines, [], "geo1", "", "", {})


def test_an_answer_has_limits() -> None:
    (service,) = [file["content"] for file in installed()["files"] if file["path"].endswith("@.service")]
    assert "\nMemoryMax=2G\n" in service and "\nTasksMax=512\n" in service


def test_a_lab_has_no_page_and_a_hub_without_backups_loses_it() -> None:
    assert "systemd" not in str(installed("lab"))
    assert len([path for path in installed(state="absent")["absent"] if "systemd" in path]) == 2


def test_jupyterlab_has_a_link_where_one_file_fits_all_images() -> None:
    def menus(images: list[Any], **changes: Any) -> Any:
        found = hub_images.overrides(instance(backups=True, **changes), images)
        return found and found.get(hub_images.MENUS)

    (file,) = menus([MENU_IMAGE])["menus"]
    assert file["id"] == "jp-mainmenu-file"
    assert file["items"][0]["args"]["url"] == "/hub/services/backups/"
    (own,) = menus([MENU_IMAGE], user_domains=True, url="https://hub.test:8443/", base_url="/")["menus"]
    assert own["items"][0]["args"]["url"] == "https://backups--service.hub.test:8443/services/backups/"
    assert menus([IMAGE]) is None, "an image without the menu"
    assert menus([{**IMAGE, "jupyterlab": None}]) is None
    without = {"settings": None, "overrides": {}, "plugins": {}}  # as an image without JupyterLab answers
    assert (
        menus([{**IMAGE, "jupyterlab": without}]) is None
        and menus([MENU_IMAGE, {**IMAGE, "jupyterlab": without}]) is None
    )
    other = {**MENU_IMAGE, "jupyterlab": {**MENU_IMAGE["jupyterlab"], "settings": "/elsewhere"}}
    assert menus([MENU_IMAGE, MENU_IMAGE]) and menus([MENU_IMAGE, other]) is None
    own = {hub_images.MENUS: {"menus": []}}
    assert menus([MENU_IMAGE], settings=own) == {"menus": []}, "the administrator's own stays"
    assert hub_images.overrides(instance(), [MENU_IMAGE]) is None
    written = hub.project(instance(backups=True), ENGINE, [MENU_IMAGE], "x")
    assert any(file["path"] == "/srv/class101/hub/overrides.json" for file in written["files"])
    assert any(each["target"].endswith("/overrides.json") for each in json.loads(written["config"])["mounts"])


@pytest.mark.parametrize(
    ("kind", "said"), [("file", "2.0 KiB"), ("dir", ""), ("symlink", "link"), ("other", "special")]
)
def test_what_has_no_size_shows_what_it_is(kind: str, said: str) -> None:
    entry = {"name": "x", "type": kind, "size": 2048, "modified": "2030-01-31T02:30:00"}
    (row,) = backups.rows(SNAPSHOT, [], [entry])
    assert row["size"].startswith(said) and bool(row["size"]) is bool(said) and row["folder"] is (kind == "dir")
