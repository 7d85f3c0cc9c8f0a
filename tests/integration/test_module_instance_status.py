# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""instance_status and playbooks/status.yml: a real engine, real containers, a site with TLS, a lock that is held."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host.instance_status import collect
from ansible_runner import PLAYBOOK
from module_runner import run

from testbed import images
from testbed.web_server import WebServer

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"names": None, "connect_to": "127.0.0.1", "timeout_seconds": 10, "disk_timeout_seconds": 60}
DAYS = 9


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path in ("/tao/api", "/tao/hub/api")
        self.send_response(200 if found or self.path == "/other/api" else 404)
        self.end_headers()
        self.wfile.write(b'{"version": "2.0"}' if found else b"<html>We are working on it")

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A site whose certificate ends soon."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
         "/CN=localhost", "-days", str(DAYS), "-keyout", folder / "key", "-out", folder / "certificate"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    server = WebServer(Answer)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_port}/tao/"
    server.shutdown()
    thread.join()
    server.server_close()


class Relay(socketserver.StreamRequestHandler):
    """Passes everything on to the outer engine, whose socket is no account's own."""

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect("/var/run/docker.sock")
            threading.Thread(target=self.back, args=[engine], daemon=True).start()
            while asked := self.request.recv(65536):
                engine.sendall(asked)

    def back(self, engine: socket.socket) -> None:
        with contextlib.suppress(OSError), engine.makefile("rb", buffering=0) as answers:
            shutil.copyfileobj(answers, self.wfile)


class Host:
    """A folder that stands for a host's root, and one instance of the outer engine."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.name, self.tag = root, f"carrel-test-{secrets.token_hex(3)}", ""
        self.record = {
            "name": self.name,
            "kind": "lab",
            "state": "present",
            "engine": "root",
            "url": url,
            "directory": "/srv/tao",
        }
        (root / "srv/tao").mkdir(parents=True)
        self.socket = root / "run/user/0/docker.sock"
        self.socket.parent.mkdir(parents=True)
        self.relay = socketserver.ThreadingUnixStreamServer(str(self.socket), Relay)
        self.relay.daemon_threads = True
        threading.Thread(target=self.relay.serve_forever, daemon=True).start()
        self.tag = f"{self.name}:1"
        docker("tag", images.base(), self.tag)

    def write(self, path: str, content: dict[str, Any]) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
        return file

    def start(self, service: str, *options: str) -> str:
        """A container; with options it is no service of the compose project."""
        project = [f"com.docker.compose.project={self.name}", f"com.docker.compose.service={service}"]
        labels = options or tuple(f"--label={label}" for label in project)
        return docker("run", "--detach", "--name", f"{self.name}-{service}", *labels, self.tag, "sleep", "300")

    def status(self, disk: bool = False, **changes: Any) -> dict[str, Any]:
        self.write(f"var/lib/carrel/{self.name}/instance.json", {**self.record, **changes})
        (answer,) = collect(str(self.root), {**OPTIONS, "disk": disk}, datetime.now(timezone.utc))
        return answer

    def problems(self, **changes: Any) -> list[str]:
        return [problem["text"] for problem in self.status(**changes)["problems"]]

    def remove(self) -> None:
        everything = docker("ps", "--all", "--quiet", "--filter", f"name={self.name}").split()
        subprocess.run(["docker", "rm", "--force", *everything], capture_output=True, check=False)
        subprocess.run(["docker", "rmi", self.tag], capture_output=True, check=False)
        self.relay.shutdown()
        self.relay.server_close()


@pytest.fixture
def host(tmp_path: Path, url: str) -> Iterator[Host]:
    host = Host(tmp_path, url)
    yield host
    host.remove()


CERTIFICATE = f"the certificate ends in {DAYS - 1} days"


def test_a_lab_that_runs(host: Host) -> None:
    host.start("lab-1")
    status = host.status(disk=True)
    assert status["site"]["answers"] and status["site"]["certificate"]["days_left"] == DAYS - 1
    assert [problem["text"].partition(",")[0] for problem in status["problems"]] == [CERTIFICATE]
    assert status["engine"] == {"name": "root", "running": True, "error": None, "replaced": []}
    (container,) = status["containers"]
    image = docker("image", "inspect", "--format", "{{.Id}}", host.tag)
    assert {key: container[key] for key in ("service", "state", "image", "image_id", "as_tagged")} == {
        "service": "lab-1", "state": "running", "image": host.tag, "image_id": image, "as_tagged": True,
    }  # fmt: skip
    assert status["disk"]["images_bytes"] > 0 and status["disk"]["notes"] == []


def test_a_page_of_something_else_is_no_answer(host: Host) -> None:
    host.record["url"] = str(host.record["url"]).replace("/tao/", "/other/")
    host.start("lab-1")
    assert any("something else than Jupyter answers there" in problem for problem in host.problems())


def test_a_tag_that_moved_and_one_that_is_gone(host: Host) -> None:
    first = host.start("lab-1")
    new = docker("commit", "--message", "another", first)
    docker("tag", new, host.tag)
    assert any("runs another image than" in problem for problem in host.problems())
    docker("rmi", host.tag)
    assert any("no longer has" in problem for problem in host.problems())


def test_two_servers_and_a_reset_that_is_killed(host: Host) -> None:
    host.start("lab-1")
    host.start("lab-2")
    assert any("run at once without a reset under way" in problem for problem in host.problems())
    state = {"result": "running", "step": "drain", "message": "waiting", "started": "2030-01-01T00:00:00+00:00"}
    folder = host.write(f"var/lib/carrel/{host.name}/reset/state.json", state).parent
    with holding(folder / "lock"):
        assert host.status()["reset"]["result"] == "running"
        assert [problem.partition(",")[0] for problem in host.problems()] == [CERTIFICATE]
    assert host.status()["reset"]["result"] == "interrupted"
    assert host.problems()[0] == "the last reset was interrupted at step drain: waiting"


@contextlib.contextmanager
def holding(lock: Path) -> Iterator[None]:
    """A process that holds the lock until it is killed."""
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        yield
        process.kill()


def test_a_hub_and_its_people(host: Host) -> None:
    hub = {"kind": "hub"}
    host.write("srv/tao/hub/roster.json", {"version": 1, "users": {"ada": {}, "grace": {}}, "blocked": []})
    host.write("srv/tao/hub/config.json", {"images": [{"title": "Default", "image": host.tag}]})
    host.start("hub")
    server = ("--label", f"carrel.instance={host.name}", "--label", "carrel.user=ada")
    host.start("ada", *server)
    docker("kill", host.start("grace", *server))
    status = host.status(**hub)
    assert status["users"] == {"known": 2, "servers": 1, "sizes": []} and len(status["containers"]) == 1
    assert status["images"][0]["image_id"] == status["containers"][0]["image_id"]
    docker("kill", f"{host.name}-hub")
    assert "none of its containers runs" in host.problems(**hub)


def test_an_engine_that_is_stopped(host: Host) -> None:
    host.socket.unlink()
    assert "does not answer" in host.problems()[0] and host.status()["containers"] is None
    assert host.problems(state="held") == []


def test_a_link_to_another_engine_is_not_followed(host: Host) -> None:
    host.start("lab-1")
    host.socket.unlink()
    host.socket.symlink_to("/var/run/docker.sock")
    assert "so nothing was asked there" in host.problems()[0] and host.status()["containers"] is None


def test_a_site_that_does_not_answer(host: Host, url: str) -> None:
    host.start("lab-1")
    assert "status 404" in host.problems(url=url.replace("tao", "geo"))[0]


def test_the_module_changes_nothing_and_knows_no_such_instance() -> None:
    for check in (False, True):
        answer = run("instance_status", {"names": ["no-such"]}, check)
        assert not answer["changed"]
        assert "there is no such instance" in answer["instances"][0]["problems"][0]["text"]


def play(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The playbook on this machine, which has no instance, and a host that nobody reaches."""
    hosts = {
        "a-gone": {"ansible_host": "127.0.0.1", "ansible_port": 1},
        "here": {
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False,
        },
    }  # fmt: skip
    # The page is written by the person who asks, who may not be able to become root on the control node.
    shared = {"ansible_become": True, "ansible_become_exe": "/bin/false"}
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": shared}}))
    collections = os.pathsep.join(path for path in sys.path if (Path(path) / "ansible_collections").is_dir())
    return subprocess.run(
        [PLAYBOOK, "--inventory", inventory, ROOT / "playbooks/status.yml", *options],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PWD": str(folder), "ANSIBLE_COLLECTIONS_PATH": collections, "ANSIBLE_NOCOLOR": "1",
             "ANSIBLE_CONFIG": "", "ANSIBLE_BECOME_ALLOW_SAME_USER": "1", **environment}, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_the_playbook_shows_every_host(tmp_path: Path, form: str) -> None:
    done = play(tmp_path, "-e", "jupyter_status_html=status.html", ANSIBLE_CALLBACK_RESULT_FORMAT=form)
    assert done.returncode == 0, done.stdout
    lines = [line.strip(' ",') for line in done.stdout.splitlines()]
    assert any(line.startswith("HOST") and line.endswith("DISK") for line in lines), done.stdout
    assert "0 instances on 2 hosts: 1 unreachable, 1 empty" in lines
    assert any(line.startswith("ERROR a-gone: the host cannot be reached: ") for line in lines)
    assert max(len(line) for line in done.stdout.splitlines() if "a-gone  " in line) <= 120
    assert f"the page: {tmp_path}/status.html" in done.stdout
    page = (tmp_path / "status.html").read_text(encoding="utf-8")
    assert "the host cannot be reached" in page and "<caption>0 instances on 2 hosts</caption>" in page


def test_strictly_it_fails_and_a_page_goes_where_it_is_wanted(tmp_path: Path) -> None:
    done = play(tmp_path, "-e", "jupyter_status_strict=true", "-e", f"jupyter_status_html={tmp_path}/elsewhere.html")
    assert done.returncode != 0 and "not answering: a-gone" in done.stdout
    assert (tmp_path / "elsewhere.html").exists() and not (tmp_path / "status.html").exists()


def test_nobody_gets_a_page_unasked(tmp_path: Path) -> None:
    for more in ([], ["-e", "jupyter_status_html="]):
        done = play(tmp_path, "-e", "jupyter_hosts=here", *more)
        assert done.returncode == 0 and "the page:" not in done.stdout
    assert not list(tmp_path.glob("*.html"))
