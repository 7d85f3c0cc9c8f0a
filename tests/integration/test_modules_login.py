# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""lab_image_info and login_template against a real engine and a real JupyterLab image, as root.

CARREL_TEST_LAB_IMAGE names the image, CARREL_TEST_ENGINE_SOCKET the engine's socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared import login_page as _login_page
from ansible_collections.carrel.jupyter.plugins.modules import login_template
from ansible_runner import four_runs, run, tree

from testbed.patience import PATIENCE, SOON, until

SOCKET = os.environ.get("CARREL_TEST_ENGINE_SOCKET", "/var/run/docker.sock")
NOTICE = "Restarts daily at 01:25.\n\n{{ 7 * 7 }} <b>not bold</b>"


def docker(*arguments: str, **options: Any) -> str:
    command = ["docker", "--host", f"unix://{SOCKET}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout.strip()


@pytest.fixture(scope="module")
def image() -> str:
    return os.environ["CARREL_TEST_LAB_IMAGE"]


@pytest.fixture
def arguments(image: str, tmp_path: Path) -> dict[str, Any]:
    cache = str(tmp_path / "state" / "image.json")
    return {"image": image, "socket": SOCKET, "path": str(tmp_path / "login"), "cache": cache}


@pytest.fixture
def docker_log(tmp_path: Path) -> Path:
    """What the module asked docker for: a docker first on the PATH that notes its arguments and runs the real one."""
    spy = tmp_path / "bin" / "docker"
    spy.parent.mkdir()
    log = tmp_path / "docker.log"
    spy.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {shutil.which("docker")} "$@"\n')
    spy.chmod(0o755)
    return log


@contextlib.contextmanager
def changed_image(image: str, template: str, tmp_path: Path, old: str, new: str) -> Iterator[str]:
    """The image with another login page, as after an upgrade."""
    name = f"carrel-test/upgraded:{os.getpid()}"
    container = docker("create", "--network", "none", image)
    try:
        page = tmp_path / "upgraded.html"
        docker("cp", f"{container}:{template}", str(page))
        assert old in page.read_text()
        page.write_text(page.read_text().replace(old, new))
        docker("cp", str(page), f"{container}:{template}")
        docker("commit", container, name)
        yield name
    finally:
        docker("rm", "--force", container)
        docker("image", "rm", "--force", name)


def login_page(image: str, mounts: dict[str, str]) -> str:
    """The page as a server of the image sends it."""
    options = [f"--mount=type=bind,source={source},target={target},readonly" for target, source in mounts.items()]
    command = ["python3", "-m", "jupyter_server", "--ip=0.0.0.0", "--port=8888", "--allow-root"]
    container = docker("run", "--detach", "--rm", "--publish", "127.0.0.1::8888", *options, image, *command)
    try:
        address = docker("port", container, "8888").splitlines()[0]

        def page() -> str:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://{address}/login", timeout=SOON) as answer,
            ):
                return str(answer.read().decode())
            return ""

        return until(page, lambda: "the server answers: " + docker("logs", container))
    finally:
        docker("rm", "--force", container)


def test_image_info(arguments: dict[str, Any], docker_log: Path) -> None:
    del arguments["path"]
    cache = Path(arguments["cache"])
    path = {"PATH": f"{docker_log.parent / 'bin'}:{os.environ['PATH']}"}
    answers = [
        run("lab_image_info", arguments, *options, environment=path) for options in (["--check"], [], ["--check"])
    ]
    for answer in answers:
        assert answer["exists"] and not answer["changed"] and not answer["failed"], answer
        assert answer["image_id"] == docker("image", "inspect", "--format", "{{.Id}}", arguments["image"])
        assert answer["servers"][0]["template"].endswith("/site-packages/jupyter_server/templates/login.html")
        assert answer["python"] == answer["servers"][0]["python"]
        assert re.fullmatch(r"[12]\.\d+\.\d+", answer["servers"][0]["version"])
        assert answer["servers"][0]["collaboration"] is True
    ids = docker("run", "--rm", "--network", "none", "--entrypoint", "id", arguments["image"])
    assert f"uid={answers[0]['uid']}" in ids and f"gid={answers[0]['gid']}" in ids
    # Check mode wrote no cache, so that the first two asked the image, and the third none.
    assert sum("run --rm" in line for line in docker_log.read_text().splitlines()) == 2
    assert cache.stat().st_mode & 0o777 == 0o600


def test_an_image_that_is_not_there() -> None:
    answer = run("lab_image_info", {"image": "carrel-test/absent:1", "socket": SOCKET})
    assert not answer["failed"] and not answer["changed"] and answer["exists"] is False


def test_the_user_option(arguments: dict[str, Any]) -> None:
    del arguments["path"]
    for user, uid, gid in (("4321:8765", 4321, 8765), ("0", 0, 0)):
        answer = run("lab_image_info", {**arguments, "user": user})
        assert (answer["uid"], answer["gid"]) == (uid, gid)


def test_four_runs_and_the_page_is_served(arguments: dict[str, Any], image: str) -> None:
    first, real, *_unused = four_runs("login_template", {**arguments, "notice": NOTICE})
    assert "+<p>Restarts daily at 01:25.</p>" in first["output"]
    for key in ("files", "targets", "compose_file", "image_id", "versions"):
        assert first[key] == real[key], key
    (file,) = real["files"]
    assert (Path(file).stat().st_mode & 0o777, Path(file).parent.stat().st_mode & 0o777) == (0o644, 0o755)
    mounts = _login_page.mounted_files(Path(real["compose_file"]).read_text(), "lab-1")
    assert mounts == dict(zip(real["targets"], real["files"]))
    page = login_page(image, mounts)
    assert "<p>Restarts daily at 01:25.</p>" in page and "{{ 7 * 7 }} &lt;b&gt;not bold&lt;/b&gt;" in page
    assert 'type="password"' in page and 'name="_xsrf"' in page and page.index("</form>") < page.index("Restarts")


def test_the_second_run_starts_no_container(arguments: dict[str, Any], docker_log: Path) -> None:
    path = {"PATH": f"{docker_log.parent / 'bin'}:{os.environ['PATH']}"}
    assert run("login_template", {**arguments, "notice": NOTICE}, environment=path)["changed"]
    docker_log.unlink()
    assert not run("login_template", {**arguments, "notice": NOTICE}, environment=path)["changed"]
    assert "image inspect" in docker_log.read_text() and "run --rm" not in docker_log.read_text()


def test_an_upgraded_image_and_old_pages(arguments: dict[str, Any], image: str, tmp_path: Path) -> None:
    first = run("login_template", {**arguments, "notice": "one"})
    with changed_image(image, first["targets"][0], tmp_path, "Log in", "Come in") as upgraded:
        _unused, second, *_unused = four_runs("login_template", {**arguments, "image": upgraded, "notice": "one"})
        text = Path(second["files"][0]).read_text()
        assert "Come in" in text and "<p>one</p>" in text
        assert Path(first["files"][0]).exists(), "the running container still has it mounted"
        third = run("login_template", {**arguments, "image": upgraded, "notice_html": "<b>two</b>"})
        assert Path(second["files"][0]).exists() and Path(third["files"][0]).exists()
        assert not Path(first["files"][0]).exists()
        assert json.loads((tmp_path / "login" / "source.json").read_text())["image_id"] == third["image_id"]


def test_back_to_the_images_page(arguments: dict[str, Any]) -> None:
    run("login_template", {**arguments, "notice": NOTICE})
    _unused, real, *_unused = four_runs("login_template", arguments)
    assert real["files"] == real["targets"] == []
    assert "-<p>Restarts daily at 01:25.</p>" in real["output"]
    assert json.loads(Path(real["compose_file"]).read_text()) == {"services": {"lab-1": {}, "lab-2": {}}}


def test_a_replacement(arguments: dict[str, Any], image: str) -> None:
    original = run("login_template", arguments)
    assert not original["failed"]
    template = """{% extends "page.html" %}{% block site %}<h1>Mine</h1>
    <form action="{{base_url}}login?next={{next}}" method="post">{{ xsrf_form_html() | safe }}
    <input type="password" name="password"><button>Go</button></form>{% endblock %}"""
    _unused, real, *_unused = four_runs("login_template", {**arguments, "template": template, "services": ["other"]})
    mounts = _login_page.mounted_files(Path(real["compose_file"]).read_text(), "other")
    assert "<h1>Mine</h1>" in login_page(image, mounts)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"template": ""}, "login page is empty"),
        ({"template": "<p>no form</p>"}, "no form with"),
        ({"template": "{% if %}"}, "line 1 of login.html"),
        ({"template": '{% extends "login.html" %}'}, "RecursionError"),
        ({"notice": " \n"}, "notice is empty"),
        ({"notice": "x" * 1_100_000}, "1048576 are allowed"),
        ({"notice": "a", "template": "b"}, "mutually exclusive"),
        ({"notice": "a", "image": "carrel-test/absent:1"}, "pull or build it first"),
        ({"notice": "a", "socket": "/nonexistent.sock"}, "does not answer"),
        ({"notice": "a", "user": "nobody-of-this-name"}, "nobody-of-this-name"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_input_leaves_everything_as_it_was(
    arguments: dict[str, Any], tmp_path: Path, bad: dict[str, Any], message: str
) -> None:
    run("login_template", {**arguments, "notice": NOTICE})
    before = tree(tmp_path)
    answer = run("login_template", {**arguments, **bad})
    assert answer["failed"] and message in answer["msg"], answer
    assert "Traceback" not in answer["output"]
    assert tree(tmp_path) == before


def test_a_page_that_is_not_understood(arguments: dict[str, Any], image: str, tmp_path: Path) -> None:
    first = run("login_template", {**arguments, "notice": NOTICE})
    with changed_image(image, first["targets"][0], tmp_path, 'type="password"', 'type="text"') as strange:
        before = tree(tmp_path / "login")
        answer = run("login_template", {**arguments, "image": strange, "notice": NOTICE})
        assert answer["failed"] and "no form with method post" in answer["msg"], answer
        assert "`template`" in answer["msg"]
        assert tree(tmp_path / "login") == before


def test_an_image_without_jupyter_server(arguments: dict[str, Any], image: str, tmp_path: Path) -> None:
    first = run("lab_image_info", {key: value for key, value in arguments.items() if key != "path"})
    package = first["servers"][0]["template"].removesuffix("/templates/login.html")
    container = f"carrel-test-without-{os.getpid()}"
    name = f"carrel-test/without:{os.getpid()}"
    remove = ["--user", "0", "--network", "none", "--entrypoint", "rm", image, "-rf", package]
    docker("run", "--name", container, *remove)
    try:
        docker("commit", container, name)
        answer = run("lab_image_info", {"image": name, "socket": SOCKET})
        assert answer["failed"] and "no jupyter_server" in answer["msg"], answer
    finally:
        docker("rm", "--force", container)
        docker("image", "rm", "--force", name)


def test_a_link_in_the_path_is_refused(arguments: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "login").symlink_to("elsewhere")
    answer = run("login_template", {**arguments, "notice": NOTICE})
    assert answer["failed"] and "symbolic link" in answer["msg"], answer
    assert not list((tmp_path / "elsewhere").iterdir())


def test_kill_leaves_old_or_new_pages(arguments: dict[str, Any], tmp_path: Path) -> None:
    run("login_template", {**arguments, "notice": "Version 0"})
    for number in range(1, 9):
        job = {"ANSIBLE_MODULE_ARGS": {**arguments, "notice": f"Version {number}"}}
        command = [sys.executable, login_template.__file__]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment, text=True
        ) as process:
            assert process.stdin is not None
            process.stdin.write(json.dumps(job))
            process.stdin.close()
            # Die as soon as the new directory appears, or a little later: between the pages and the compose file.
            known = set(os.listdir(tmp_path / "login"))
            deadline = time.monotonic() + PATIENCE
            while (
                process.poll() is None and time.monotonic() < deadline and set(os.listdir(tmp_path / "login")) == known
            ):
                pass
            time.sleep(random.uniform(0, 0.002))
            process.send_signal(signal.SIGKILL)
        mounts = _login_page.mounted_files((tmp_path / "login" / "compose.yaml").read_text(), "lab-1")
        assert mounts
        pages = [(target, Path(source).read_text()) for target, source in mounts.items()]
        (directory,) = {Path(source).parent.name for source in mounts.values()}
        assert directory == _login_page.digest(pages)
        assert re.search(r"<p>Version \d</p>", pages[0][1])
    answer = run("login_template", {**arguments, "notice": "Version 9"})
    assert answer["changed"] and "Version 9" in Path(answer["files"][0]).read_text()
