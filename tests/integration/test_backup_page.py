# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub's people bring back files: a real hub, a real restic, and between them the socket that hosts have."""

from __future__ import annotations

import html
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hub_image
import pytest
import requests
from backup_site import DONE, Machine, Site, started
from hub_site import HubSite, person

from testbed.hub_client import Hub
from testbed.patience import SOON, until

NAME = "class101"
PASSWORDS = {"ada": "lovelace", "grace": "hopper"}
STRANGE = "<b>new\nline & $HOME\udcff"
# What systemd does with Accept=yes: a process for each connection, which is its standard input and output.
ACCEPT = """
import os, socket, subprocess
path = "/var/lib/carrel/class101/page/socket"
os.umask(0o117)
with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(path)
    listening.listen()
    while True:
        connection, _unused = listening.accept()
        subprocess.Popen(["carrel-backup", "answer", "class101"], stdin=connection, stdout=connection)
        connection.close()
"""


class Place:
    """A host with a hub."""

    def __init__(self, hub: HubSite, machine: Machine, site: Site) -> None:
        self.hub, self.machine, self.site = hub, machine, site

    def home(self, user: str) -> Path:
        return self.hub.folder / "users" / user / "home"

    def session(self, user: str) -> Page:
        session = self.hub.session()
        session.login(user, PASSWORDS[user])
        return Page(session)

    def ask(self, **asked: Any) -> dict[str, Any]:
        """The host's answer to anybody."""
        answer = self.machine.run("carrel-backup", "answer", NAME, text=json.dumps(asked) + "\n", check=False)
        last: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
        return last


class Page:
    """Somebody's session at the page."""

    def __init__(self, hub: Hub) -> None:
        self.http, self.url = hub.http, f"{hub.url}services/backups/"
        self._token = ""

    def get(self, path: str = "") -> requests.Response:
        return self.http.get(f"{self.url}{path}", timeout=60)

    def snapshot(self) -> str:
        """The newest one on the page."""
        return re.findall(r"folder\?snapshot=([0-9a-f]{64})", self.get().text)[0]

    def token(self) -> str:
        if not self._token:
            found = re.search(r'name="_xsrf" value="([^"]+)"', self.get(f"folder?snapshot={self.snapshot()}").text)
            assert found
            self._token = html.unescape(found[1])
        return self._token

    def bring(self, snapshot: str, path: str, **form: str) -> requests.Response:
        where = f"{self.url}bring?snapshot={snapshot}&path={quote(os.fsencode(path))}"
        return self.http.post(where, data=form or {"_xsrf": self.token()}, timeout=60)

    def outcome(self) -> str:
        until(lambda: "Bringing back" not in self.get().text, "the work ends")
        alert = re.search(r'class="alert alert-\w+" role="\w+">(.*?)</div>', self.get().text, re.DOTALL)
        return " ".join(re.sub("<[^>]*>", "", html.unescape(alert[1])).split()) if alert else ""


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    top = Path(tempfile.mkdtemp(prefix="carrel-page-"))
    top.chmod(0o755)
    data, page = top / "srv" / NAME / "data", top / "page"
    for folder in (data, page):
        folder.mkdir(parents=True)
    lab = os.environ["CARREL_TEST_LAB_IMAGE"]
    hub = HubSite(data, f"page-{secrets.token_hex(3)}", (hub_image.build(), lab), backups=True)
    hub.people = {name: person(name) for name in PASSWORDS}
    hub.passwords = dict(PASSWORDS)
    folders = (f"{top}/srv:/srv", f"{page}:/var/lib/carrel/{NAME}/page")
    try:
        with started(volumes=folders) as machine:
            site = machine.site_of_same_ids(NAME)
            machine.python("subprocess.Popen([sys.executable, '-c', accept], start_new_session=True)", accept=ACCEPT)
            hub.write()
            found = Place(hub, machine, site)
            for user in PASSWORDS:
                found.home(user).parent.chmod(0o711)
                (found.home(user) / "notes.txt").write_text(f"the first of {user}")
                (found.home(user) / "deep").mkdir()
            (found.home("ada") / "deep" / STRANGE).write_text("strange")
            (found.home("ada") / "passwd").symlink_to("/etc/passwd")
            (found.home("ada") / "neighbour").symlink_to("../../grace/home")
            subprocess.run(["chown", "-hR", "1000:100", *(found.home(user) for user in PASSWORDS)], check=True)
            for user in PASSWORDS:
                assert site.backup("--user", user)[0] == DONE
            for user in PASSWORDS:
                (found.home(user) / "notes.txt").write_text(f"the second of {user}")
            hub.up("--volume", f"{page}:/run/carrel-backups:ro")
            yield found
    finally:
        hub.down()
        shutil.rmtree(top, ignore_errors=True)  # the report of a failure counts more than what it left


def test_a_file_and_a_folder_come_back_beside(place: Place) -> None:
    ada = place.session("ada")
    snapshot = ada.snapshot()
    assert ada.bring(snapshot, "notes.txt").status_code == 200
    said = ada.outcome()
    found = re.fullmatch(r"notes\.txt is back, in the folder (restored-\d{4}-\d\d-\d\d) of your home\.", said)
    assert found, said
    folder = place.home("ada") / found[1]
    assert (folder / "notes.txt").read_text() == "the first of ada"
    assert (place.home("ada") / "notes.txt").read_text() == "the second of ada"
    assert {(path.stat().st_uid, path.stat().st_gid) for path in (folder, folder / "notes.txt")} == {(1000, 100)}
    assert ada.bring(snapshot, "deep").status_code == 200
    assert ada.outcome().endswith(f"{found[1]}-2 of your home.")
    assert (place.home("ada") / f"{found[1]}-2" / "deep" / STRANGE).read_text() == "strange"
    assert not (place.site.machine.run("ls", f"/srv/{NAME}/data/.bringing").stdout)


def test_names_are_shown_as_text(place: Place) -> None:
    ada = place.session("ada")
    shown = ada.get(f"folder?snapshot={ada.snapshot()}&path=deep").text
    assert "<b>" not in shown and "&lt;b&gt;new\ufffdline &amp; $HOME\ufffd" in shown
    address = re.search(r'action="[^"]*bring\?(snapshot=\w+&amp;path=deep%2F[^"]+)"', shown)
    assert address
    ada.http.post(f"{ada.url}bring?{html.unescape(address[1])}", data={"_xsrf": ada.token()}, timeout=60)
    assert "is back, in" in ada.outcome()


def test_who_forges_gets_nothing(place: Place) -> None:
    ada, grace = place.session("ada"), place.session("grace")
    others, own = ada.snapshot(), grace.snapshot()
    before = listing(place)
    assert others != own
    for snapshot, path in (
        (others, "notes.txt"),
        (own, "../../ada/home/notes.txt"),
        (own, "/etc/passwd"),
        (own, "notes.txt/x"),
        ("latest", "notes.txt"),
        ("0" * 64, "notes.txt"),
    ):
        grace.bring(snapshot, path)
        assert "is back, in" not in grace.outcome(), (snapshot, path)
        looked = grace.get(f"folder?snapshot={snapshot}&path={quote(path)}")
        assert looked.status_code == 404 and "Bring back" not in looked.text, (snapshot, path)
    for path in ("neighbour", "neighbour/notes.txt", "passwd"):
        assert ada.get(f"folder?snapshot={others}&path={path}").status_code == 404, "links are no folders"
    assert listing(place) == before


def listing(place: Place) -> list[str]:
    return sorted(str(path) for user in PASSWORDS for path in place.home(user).rglob("*"))


def test_who_is_not_logged_in_or_has_another_s_token_gets_nothing(place: Place) -> None:
    ada, grace = place.session("ada"), place.session("grace")
    snapshot, before = grace.snapshot(), listing(place)
    stranger = requests.get(ada.url, allow_redirects=False, timeout=SOON)
    assert stranger.status_code == 302 and "/hub/api/oauth2/authorize" in stranger.headers["Location"]
    for form in ({"_xsrf": ada.token()}, {"_xsrf": "x"}, {"none": "x"}):
        assert grace.bring(snapshot, "notes.txt", **form).status_code == 403 or "is back, in" not in grace.outcome()
    # a token that may do all that grace may at the hub, but not go to services
    hub = place.hub.session()
    hub.login("grace", PASSWORDS["grace"])
    for scopes, allowed in ((["read:users!user"], False), (["access:services!service=backups"], True)):
        token = hub.request("POST", "api/users/grace/tokens", json={"scopes": scopes}).json()["token"]
        shown = requests.get(ada.url, headers={"Authorization": f"token {token}"}, allow_redirects=False, timeout=SOON)
        assert ((snapshot in shown.text) is allowed and "Logout" in shown.text) or not allowed
    service = place.hub.secrets["reset_token"]
    shown = requests.get(ada.url, headers={"Authorization": f"token {service}"}, allow_redirects=False, timeout=SOON)
    assert shown.status_code in (302, 403), "a service is nobody"
    assert listing(place) == before


def test_what_people_put_in_the_way_is_neither_followed_nor_overwritten(place: Place) -> None:
    ada = place.session("ada")
    day = place.ask(what="snapshots", user="ada")["done"]["snapshots"][0]["time"][:10]
    taken = place.home("ada") / f"restored-{day}"
    shutil.rmtree(taken, ignore_errors=True)  # not there unless a test before brought it back
    taken.symlink_to("../../grace/home")
    before = sorted(place.home("grace").rglob("*"))
    ada.bring(ada.snapshot(), "notes.txt")
    assert "is back, in" in ada.outcome()
    assert taken.is_symlink() and sorted(place.home("grace").rglob("*")) == before
    taken.unlink()


def test_one_at_a_time_and_not_without_end(place: Place) -> None:
    snapshot = place.ask(what="snapshots", user="grace")["done"]["snapshots"][0]["id"]
    asked = {"what": "bring", "user": "grace", "snapshot": snapshot, "parts": ["notes.txt"]}
    held = (
        "import fcntl\npath = '/var/lib/carrel/class101/backup/bringing/grace'\n"
        "os.makedirs(os.path.dirname(path), exist_ok=True)\nfile = open(path, 'a')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
        "command, text = ['carrel-backup', 'answer', 'class101'], json.dumps(asked) + '\\n'\n"
        "print(subprocess.run(command, input=text, text=True, capture_output=True).stdout)"
    )
    assert "Another restore is running" in json.loads(place.machine.python(held, asked=asked))["refused"]
    often = "import time\njson.dump([time.time()] * 20, open('/var/lib/carrel/class101/backup/bringing/grace', 'w'))"
    place.machine.python(often)
    assert "20 times within an hour" in place.ask(**asked)["refused"]
    place.machine.run("rm", "/var/lib/carrel/class101/backup/bringing/grace")


def test_what_a_killed_one_left_goes(place: Place) -> None:
    snapshot = place.ask(what="snapshots", user="grace")["done"]["snapshots"][0]["id"]
    left = (
        "path = '/srv/class101/data/.bringing/ada/tree/restored'\nos.makedirs(path)\nopen(f'{path}/x', 'w').close()\n"
        "subprocess.run(['chown', '-R', 'class101:', os.path.dirname(path)], check=True)"
    )
    place.machine.python(left)
    done = place.ask(what="bring", user="grace", snapshot=snapshot, parts=["deep"])["done"]
    assert (place.home("grace") / done["folder"] / "deep").is_dir()
    assert place.machine.run("ls", f"/srv/{NAME}/data/.bringing").stdout == ""


def test_a_backup_that_cannot_be_read_is_said_and_nothing_of_it_is_told(place: Place) -> None:
    ada = place.session("ada")
    place.machine.run("mv", f"/srv/repositories/{NAME}", "/srv/repositories/gone")
    try:
        shown = ada.get()
    finally:
        place.machine.run("rm", "-rf", f"/srv/repositories/{NAME}")
        place.machine.run("mv", "/srv/repositories/gone", f"/srv/repositories/{NAME}")
    assert shown.status_code == 503 and "cannot be read at the moment" in shown.text
    assert "/srv/repositories" not in shown.text and "secret" not in shown.text
