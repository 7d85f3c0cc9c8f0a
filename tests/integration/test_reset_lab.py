# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reset program and a lab on the outer engine. Runs as root."""

from __future__ import annotations

import datetime
import http.server
import json
import secrets
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from reset_site import NOTEBOOKS, PREFIX, LabSite

from testbed.patience import PATIENCE, until
from testbed.run import run, succeeds
from testbed.web_server import WebServer

Make = Callable[..., LabSite]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    sites: list[LabSite] = []

    def of(quick: bool = True, **settings: Any) -> LabSite:
        sites.append(LabSite(tmp_path, quick, **settings))
        return sites[-1]

    yield of
    for site in sites:
        site.remove()


def ask(site: LabSite, path: str, token: str = "", **content: Any) -> tuple[int, Any]:
    data = json.dumps(content).encode() if content else None
    request = urllib.request.Request(site.url + path, data, {"Authorization": f"token {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, None


def token(site: LabSite) -> str:
    return (site.folder / "token").read_text().strip()


def broken(site: LabSite, *change: str) -> str:
    """An image like the site's whose server does not start; it gets the site's tag."""
    container = run("docker", "create", site.image)
    good = 'ENTRYPOINT ["sh", "-c", "echo the disk of the server is on fire >&2; exec sleep 600"]'
    image = run("docker", "commit", *(f"--change={line}" for line in (good, *change)), container)
    run("docker", "rm", container)
    run("docker", "tag", image, site.tag)
    return image


def identity(site: LabSite) -> str:
    (container,) = site.containers().values()
    return run("docker", "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", container)


def test_a_real_lab(make: Make, tmp_path: Path) -> None:
    """Renewed, with its home and without the rest; people at work get the notice; commands run around the reset."""
    said = tmp_path / "said"
    text = f'docker exec "$CARREL_CONTAINER" true && echo "$CARREL_RESET $CARREL_CONTAINER" >> {said}'
    commands = {"before": ["sh", "-c", text], "after": ["sh", "-c", text]}
    site = make(quick=False, deadline_seconds=2, notice_seconds=1, start_timeout_seconds=90, **commands)
    first = site.reset()
    assert first.code == 0 and "server 1 does not answer; it is restarted" in first.output, first.output
    homes, before = site.homes(), site.containers()
    (container,) = before.values()
    run("docker", "exec", "--user", "0", container, "touch", "/opt/mine")
    status, terminal = ask(site, "api/terminals", token(site), cwd=".")
    assert status == 200
    busy = f"terminal {terminal['name']} was used at "

    skipped = site.reset("--people=skip", "--no-notice")
    assert skipped.code == 4 and skipped.state["result"] == "put off" and busy in skipped.state["message"]
    assert site.containers() == before
    said.unlink()

    process = site.start()
    notice = site.home / "RESET-NOTICE.txt"
    seen = False
    while process.poll() is None:
        seen = seen or (notice.exists() and "This Jupyter is reset now, or once" in notice.read_text())
        time.sleep(0.05)
    output = process.communicate()[0]
    assert process.returncode == 0 and f"the deadline has passed; the reset cuts off: {busy}" in output, output
    assert seen and not notice.exists()
    assert site.homes() == homes
    after = site.containers()
    assert list(after) == [f"lab-{site.asked()}"] != list(before)
    old = container
    (container,) = after.values()
    lines = [line.split() for line in said.read_text().splitlines()]
    assert [(when, identifier.startswith(of)) for (when, identifier), of in zip(lines, (old, container))] == [
        ("before", True), ("done", True),
    ]  # fmt: skip
    assert not succeeds("docker", "exec", container, "test", "-e", "/opt/mine")
    assert ask(site, "api/terminals", token(site)) == (200, [])
    assert site.state()["images"][site.tag]["id"] == run("docker", "inspect", "--format", "{{.Image}}", container)

    # Of the new image nothing that people save would be kept.
    elsewhere = f'ENTRYPOINT ["{PREFIX}/bin/jupyter-lab", "--ServerApp.root_dir=/tmp"]'
    image = broken(site, elsewhere, "CMD []")
    failed = site.reset("--people=ignore", "--no-notice")
    assert failed.code == 1 and site.containers() == after, failed.output
    assert f"the server shows /tmp, but only {NOTEBOOKS} is kept" in failed.state["message"]
    assert [line.split()[0] for line in said.read_text().splitlines()[2:]] == ["before", "failed"]
    assert failed.state["commands"] == {"before": "done", "after": "done"}
    run("docker", "image", "rm", "--force", image)


def test_an_image_that_never_becomes_healthy(make: Make) -> None:
    site = make(rotate_token=True)
    assert site.reset().code == 0
    before, known, homes = identity(site), token(site), site.homes()
    good = run("docker", "image", "inspect", "--format", "{{.Id}}", site.tag)
    image = broken(site)
    patience, site.settings["start_timeout_seconds"] = site.settings["start_timeout_seconds"], 4
    failed = site.reset()
    site.settings["start_timeout_seconds"] = patience
    assert failed.code == 1 and failed.state["result"] == "failed", failed.output
    assert "the disk of the server is on fire" in failed.state["message"]
    assert failed.state["message"].endswith("The instance runs as before.")
    assert identity(site) == before and site.homes() == homes
    assert run("docker", "image", "inspect", "--format", "{{.Id}}", site.tag) == good
    assert token(site) == known and ask(site, "api/status", known)[0] == 200
    config = json.loads((site.folder / "server" / "jupyter_server_config.json").read_text())
    assert config["ServerApp"]["token"] == config["IdentityProvider"]["token"] == known

    # Nothing runs and the tag is bad: the last image that was healthy is taken.
    unstartable = broken(site, 'ENTRYPOINT ["/missing"]')
    run("docker", "rm", "--force", *site.containers().values())
    fallback = site.reset()
    assert fallback.code == 1 and f"runs from {good}, which was healthy before" in fallback.state["message"]
    assert ask(site, "api")[0] == 200 and fallback.state["server"] == site.asked()
    assert ask(site, "api/status", token(site))[0] == 200
    run("docker", "rm", "--force", *site.containers().values())
    site.settings.update(images=[], start_timeout_seconds=4)
    (site.state_directory / "state.json").unlink()
    run("docker", "tag", image, site.tag)
    lost = site.reset()
    assert lost.code == 5 and lost.state["message"].endswith("The instance does not answer."), lost.output
    site.remove()
    run("docker", "image", "rm", "--force", image, unstartable)


def test_two_at_once(make: Make) -> None:
    site = make(drain_seconds=6)
    assert site.reset().code == 0
    first = site.start()
    until(lambda: site.state()["result"] == "running", "the first reset runs", pause=0.05)
    second = site.reset()
    assert second.code == 3 and "another reset or a restore is running" in second.output
    assert first.wait(PATIENCE) == 0 and site.state()["result"] == "done"


@pytest.mark.parametrize("refuses", [True, False])
def test_a_registry_that_refuses_and_one_that_hangs(make: Make, refuses: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as registry:
        tag = f"127.0.0.1:{1 if refuses else registry.getsockname()[1]}/{secrets.token_hex(3)}:1"
        site = make(pull=True, images=[tag, "127.0.0.1:1/not-deployed:1"], pull_timeout_seconds=4)
        run("docker", "tag", site.tag, tag)
        run("docker", "rmi", site.tag)
        site.tag = tag
        site.write()
        began = time.monotonic()
        done = site.reset()
    assert done.code == 0 and done.state["result"] == "done", done.output
    warning = done.state["warnings"][-1]
    assert "not-deployed" not in str(done.state["warnings"])
    assert warning.startswith(f"{tag} was not pulled") and warning in done.output
    assert (
        "connection refused" if refuses else "did not end within"
    ) in warning and time.monotonic() - began < PATIENCE


def test_a_server_that_was_killed_is_brought_back(make: Make) -> None:
    site = make()
    assert site.reset().code == 0
    run("docker", "stop", *site.containers().values())
    done = site.reset()
    assert done.code == 0 and "does not answer; it is restarted" in done.output
    assert ask(site, "api")[0] == 200 and list(site.containers()) == [f"lab-{site.asked()}"]


def test_apache_goes_over_to_the_server_that_answers(make: Make) -> None:
    site = make(token_file=None)
    assert site.reset().code == 0
    alive = site.containers()
    second = site.state_directory / "second"
    second.unlink() if second.exists() else second.touch()
    assert site.containers() == alive and f"lab-{site.asked()}" not in alive
    done = site.reset("--people=skip")
    assert done.code == 0 and "Apache switches to it" in done.output
    assert ask(site, "api")[0] == 200 and list(site.containers()) == [f"lab-{site.asked()}"]


class Front(http.server.BaseHTTPRequestHandler):
    """Stands for Apache: asks the first server, or the second while the file exists if `goes_over`."""

    site: LabSite
    goes_over: bool

    def do_GET(self) -> None:
        port = self.site.settings["ports"][self.site.asked() - 1 if self.goes_over else 0]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{self.path}", timeout=5) as answer:
                body = answer.read()
            self.send_response(200)
        except OSError:
            body = b""
            self.send_response(503)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def front(make: Make) -> Iterator[Callable[[bool], LabSite]]:
    servers = []

    def of(goes_over: bool) -> LabSite:
        handler = type("Handler", (Front,), {"goes_over": goes_over})
        server = WebServer(handler)
        threading.Thread(target=server.serve_forever).start()
        servers.append(server)
        handler.site = make(rotate_token=True, url=f"http://lab.example:{server.server_port}/tao/")
        return handler.site

    yield of
    for server in servers:
        server.shutdown()
        server.server_close()


def test_apache_goes_over(front: Callable[[bool], LabSite]) -> None:
    site = front(True)
    for server in (2, 1):
        done = site.reset()
        assert done.code == 0 and done.state["server"] == site.asked() == server, done.output


def test_apache_that_does_not_go_over(front: Callable[[bool], LabSite]) -> None:
    """A site that the playbook has not brought up to date: the old server comes back, with its token."""
    site = front(False)
    (site.state_directory / "second").touch()
    assert site.reset().code == 0  # nobody had answered in public before
    container, known = site.containers(), token(site)
    assert site.asked() == 1
    done = site.reset()
    assert done.code == 1 and "Apache still asks server 1, which was stopped: run the site playbook" in done.output
    assert site.asked() == 1 and site.containers() == container
    assert token(site) == known and ask(site, "api/status", known)[0] == 200


def test_a_new_token(make: Make) -> None:
    site = make(rotate_token=True)
    assert site.reset().code == 0
    old, file = token(site), (site.folder / "token").stat()
    assert ask(site, "api/status", old)[0] == 200
    secret = (site.folder / "server" / "cookie_secret").read_text()
    assert site.reset().code == 0
    assert token(site) != old and len(token(site)) == 48
    assert ask(site, "api/status", old)[0] == 403 and ask(site, "api/status", token(site))[0] == 200
    after = (site.folder / "token").stat()
    assert (after.st_ino, after.st_mode, after.st_uid) == (file.st_ino, file.st_mode, file.st_uid)
    config = (site.folder / "server" / "jupyter_server_config.json").stat()
    assert (config.st_uid, config.st_gid, config.st_mode & 0o777) == (1000, 100, 0o400)
    assert (site.folder / "server" / "cookie_secret").read_text() != secret


def test_prune_takes_only_what_nobody_uses(make: Make) -> None:
    site = make(prune_days=14)
    assert site.reset().code == 0

    def image(name: str) -> str:
        container = run("docker", "create", "--label", f"carrel={name}", site.image)
        made = run("docker", "commit", f"--change=LABEL carrel={name}", container)
        run("docker", "rm", container)
        return made

    old, recent, running, tagged, foreign = (image(name) for name in ("old", "recent", "running", "tagged", "foreign"))
    tag = f"{site.tag}-tagged"
    run("docker", "tag", tagged, tag)
    container = run("docker", "create", running)
    other = {**site.settings, "name": "other", "images": [tag]}
    (site.folder / "settings" / "other.json").write_text(json.dumps(other))
    volume = run("docker", "volume", "create")
    state = site.state()
    long_ago = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=15)).isoformat()
    for made in (old, recent, running, tagged):
        until = state["healthy"][0]["until"] if made == recent else long_ago
        state["healthy"].append({"image": site.tag, "id": made, "digest": None, "since": long_ago, "until": until})
    (site.state_directory / "state.json").write_text(json.dumps(state))
    try:
        done = site.reset()
        assert done.code == 0, done.output
        assert not succeeds("docker", "image", "inspect", old)
        assert succeeds("docker", "image", "inspect", recent, running, tagged, foreign)
        assert succeeds("docker", "volume", "inspect", volume)
        assert {entry["id"] for entry in done.state["healthy"]} >= {recent, running, tagged}
        assert old not in {entry["id"] for entry in done.state["healthy"]}
    finally:
        run("docker", "rm", container)
        run("docker", "volume", "rm", volume)
        run("docker", "image", "rm", "--force", recent, running, tagged, foreign)


def test_notice_stays_away_from_a_file_of_the_users(make: Make) -> None:
    site = make(notice_seconds=1)
    assert site.reset().code == 0
    (site.home / "RESET-NOTICE.txt").write_text("mine\n")
    homes = site.homes()
    assert site.reset().code == 0 and site.homes() == homes


def test_a_notice_that_stays_is_reported_and_removed_by_the_next_reset(make: Make) -> None:
    site = make(notice_seconds=1)
    assert site.reset().code == 0
    (container,) = site.containers().values()
    run("docker", "exec", container, "python3", "/etc/carrel/notice.py", "add", NOTEBOOKS)
    notice = site.home / "RESET-NOTICE.txt"
    site.home.chmod(0o555)
    try:
        done = site.reset("--no-notice")
    finally:
        site.home.chmod(0o755)
    assert done.code == 0 and "the notice could not be removed" in "".join(done.state["warnings"]), done.output
    assert notice.exists()
    done = site.reset("--no-notice")
    assert done.code == 0 and done.state["warnings"] == [] and not notice.exists()
