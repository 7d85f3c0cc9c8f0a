# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""server_config, and real servers of both generations that read what it writes. Runs as root, needs no engine."""

from __future__ import annotations

import contextlib
import hashlib
import http.cookiejar
import json
import os
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_runner import four_runs, run
from hub_site import free_port

from testbed.patience import SOON, until
from testbed.run import alone

PASSWORD = "right pass $ü'\""
SERVERS = Path(__file__).parents[2] / ".cache" / "servers"


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    return {
        "path": str(tmp_path / "server" / "jupyter_server_config.json"),
        "owner": 100999,
        "group": 100099,
        "settings": {"ServerApp": {"base_url": "/tao/"}},
    }


@pytest.fixture(scope="module", params=["==1.24.0", "==2.0.1", ""], ids=["1.24", "2.0", "latest"])
def python(request: pytest.FixtureRequest) -> Path:
    """An interpreter with that jupyter_server."""
    prefix = SERVERS / (request.param.lstrip("=") or "latest")
    prefix.parent.mkdir(parents=True, exist_ok=True)
    # the workers of pytest-xdist share these environments
    with alone(f"server-{prefix.name}"):
        if not (prefix / "installed").exists():
            venv.create(prefix, with_pip=True, clear=True)
            requirements = [f"jupyter_server{request.param}", "setuptools<81"]  # 1.24 imports pkg_resources
            subprocess.run([prefix / "bin" / "pip", "install", "--quiet", *requirements], check=True)
            (prefix / "installed").touch()
    return prefix / "bin" / "python"


class Site:
    """A running server, seen from a browser without cookies."""

    def __init__(self, port: int) -> None:
        self.port = port  # it is part of the cookies' names
        self.url = f"http://127.0.0.1:{port}/tao/"

    def page(self) -> str:
        with urllib.request.urlopen(self.url + "login") as answer:
            return str(answer.read().decode())

    def login(self, password: str, jar: http.cookiejar.CookieJar | None = None) -> int:
        jar = http.cookiejar.CookieJar() if jar is None else jar
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        with browser.open(self.url + "login") as answer:
            (xsrf,) = set(re.findall(r'name="_xsrf" value="([^"]+)"', answer.read().decode()))
        form = urllib.parse.urlencode({"_xsrf": xsrf, "password": password}).encode()
        return self.status(browser, urllib.request.Request(self.url + "login?next=%2Ftao%2Fapi%2Fstatus", form))

    def with_cookies(self, jar: http.cookiejar.CookieJar) -> int:
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        return self.status(opener, urllib.request.Request(self.url + "api/status"))

    def token(self, token: str) -> int:
        request = urllib.request.Request(self.url + "api/status", headers={"Authorization": f"token {token}"})
        return self.status(urllib.request.build_opener(), request)

    @staticmethod
    def status(opener: urllib.request.OpenerDirector, request: urllib.request.Request) -> int:
        try:
            with opener.open(request) as answer:
                assert b"last_activity" in answer.read()
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


@contextlib.contextmanager
def serve(python: Path, config: str, tmp_path: Path, port: int = 0, options: tuple[str, ...] = ()) -> Iterator[Site]:
    port = port or free_port()
    # JUPYTER_TOKEN stands for what an image may bring along: the file must win.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "JUPYTER_TOKEN": "from-the-image"}
    environment["JUPYTER_CONFIG_PATH"] = str(Path(config).parent)
    command = [str(python), "-m", "jupyter_server", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0"]
    log = tmp_path / "server.log"
    command += options
    with log.open("w") as stream, subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=stream) as process:
        try:
            site = Site(port)

            def answers() -> bool:
                assert process.poll() is None, log.read_text()
                with contextlib.suppress(OSError), urllib.request.urlopen(site.url + "api", timeout=SOON):
                    return True
                return False

            until(answers, lambda: f"the server answers: {log.read_text()}")
            yield site
        finally:
            process.terminate()


def test_password(arguments: dict[str, Any], python: Path, tmp_path: Path) -> None:
    answer = run("server_config", {**arguments, "password": PASSWORD})
    assert answer["changed"] and not answer["token_generated"]
    with serve(python, arguments["path"], tmp_path) as site:
        assert "Password or token" not in site.page()
        assert site.login(PASSWORD) == 200
        for wrong in ("wrong", "", PASSWORD + "x", "from-the-image"):
            assert site.login(wrong) == 401
            assert site.token(wrong) == 403


def test_token(arguments: dict[str, Any], python: Path, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    answer = run("server_config", {**arguments, "token_file": str(token_file)})
    assert answer["token_generated"]
    token = token_file.read_text().strip()
    assert re.fullmatch("[0-9a-f]{48}", token)
    with serve(python, arguments["path"], tmp_path) as site:
        assert site.token(token) == site.login(token) == 200
        for wrong in ("wrong", "", "from-the-image"):
            assert (site.login(wrong), site.token(wrong)) == (401, 403)


def test_a_token_for_programs_beside_the_password(arguments: dict[str, Any], python: Path, tmp_path: Path) -> None:
    """As docs/howto/programs.md has it: a header is enough, also for what writes."""
    token = "a token of 24 characters"
    run("server_config", {**arguments, "password": PASSWORD, "token": token})
    with serve(python, arguments["path"], tmp_path) as site:
        assert (site.login(PASSWORD), site.token(token), site.token(PASSWORD)) == (200, 200, 403)
        headers = {"Authorization": f"token {token}"}
        new = urllib.request.Request(site.url + "api/contents", b'{"type": "file"}', headers)
        with urllib.request.urlopen(new) as answer:
            assert answer.status == 201
        with urllib.request.urlopen(f"{site.url}api/status?token={urllib.parse.quote(token)}") as answer:
            assert answer.status == 200


def test_people_stay_logged_in_until_the_password_changes(
    arguments: dict[str, Any], python: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "server" / "cookie_secret"
    arguments["settings"]["ServerApp"]["cookie_secret_file"] = str(secret)
    arguments["cookie_secret_file"] = str(secret)
    run("server_config", {**arguments, "password": PASSWORD})
    jar = http.cookiejar.CookieJar()
    for home in ("one", "two"):  # as containers, which have nothing of each other
        (tmp_path / home).mkdir()
    with serve(python, arguments["path"], tmp_path / "one") as site:
        assert site.login(PASSWORD, jar) == site.with_cookies(jar) == 200
    assert not run("server_config", {**arguments, "password": PASSWORD})["changed"]
    with serve(python, arguments["path"], tmp_path / "two", site.port) as site:
        assert site.with_cookies(jar) == 200
    run("server_config", {**arguments, "password": "another"})
    with serve(python, arguments["path"], tmp_path / "two", site.port) as site:
        assert site.with_cookies(jar) == 403


def test_four_runs_with_a_cookie_secret(arguments: dict[str, Any], tmp_path: Path) -> None:
    secret, token_file = tmp_path / "server" / "cookie_secret", tmp_path / "token"
    arguments.update(cookie_secret_file=str(secret), token_file=str(token_file))
    _unused, real, *_unused = four_runs("server_config", arguments)
    status, content = secret.stat(), secret.read_text()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (100999, 100099, 0o400)
    assert re.fullmatch("[0-9a-f]{64}\n", content) and content.strip() not in real["output"]
    token_file.unlink()
    assert run("server_config", arguments)["checksum"] != real["checksum"]
    assert secret.read_text() != content
    secret.write_text("short")
    assert run("server_config", arguments)["changed"] and len(secret.read_text()) == 65


def test_a_rotated_token_does_not_count_as_a_change(arguments: dict[str, Any], tmp_path: Path) -> None:
    token_file, config = tmp_path / "token", Path(arguments["path"])
    arguments.update(token_file=str(token_file), cookie_secret_file=str(tmp_path / "server" / "cookie_secret"))
    before = run("server_config", arguments)
    old = token_file.read_text().strip()
    token_file.write_text("f" * 48 + "\n")
    config.write_text(config.read_text().replace(old, "f" * 48))
    after = run("server_config", arguments)
    assert not after["changed"] and after["checksum"] == before["checksum"]
    # One that stopped half-way is told apart: the server must be restarted.
    token_file.write_text("e" * 48 + "\n")
    repaired = run("server_config", arguments)
    assert repaired["changed"] and repaired["checksum"] != before["checksum"]
    assert json.loads(config.read_text())["IdentityProvider"]["token"] == "e" * 48
    assert not run("server_config", arguments)["changed"]


def test_four_runs_with_a_password(arguments: dict[str, Any]) -> None:
    _unused, real, again, last = four_runs("server_config", {**arguments, "password": PASSWORD})
    path = Path(arguments["path"])
    status = path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (100999, 100099, 0o400)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    assert real["checksum"] == again["checksum"] == last["checksum"] == checksum
    assert PASSWORD not in real["output"] and "argon2:" not in real["output"]
    other = run("server_config", {**arguments, "password": "another"}, "--diff")
    assert other["changed"] and other["checksum"] != checksum
    assert "argon2:" not in other["output"] and "(new)" in other["output"]


def test_four_runs_with_a_generated_token(arguments: dict[str, Any], tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    more = {"token_file": str(token_file), "account_owner": 1001, "account_group": 1002}
    first, *_unused, last = four_runs("server_config", {**arguments, **more})
    assert first["token_generated"] and last["token_generated"]
    status = token_file.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1001, 1002, 0o600)
    token = token_file.read_text().strip()
    assert token not in last["output"]
    assert json.loads(Path(arguments["path"]).read_text())["IdentityProvider"]["token"] == token
    # A fixed token is not written there, and the old file goes, since it is no longer good.
    fixed = run("server_config", {**arguments, **more, "token": "fixed-token"}, "--diff")
    assert fixed["changed"] and not token_file.exists() and not fixed["token_generated"]
    assert token not in fixed["output"] and "fixed-token" not in fixed["output"]
    assert not run("server_config", {**arguments, **more, "token": "fixed-token"})["changed"]


def test_check_mode_writes_nothing(arguments: dict[str, Any], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert run("server_config", {**arguments, "token_file": str(tmp_path / "a" / "token")}, "--check")["changed"]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({}, "one of the following is required: password, token, token_file"),
        ({"password": ""}, "password is empty"),
        ({"password": " x"}, "begins or ends with a space"),
        ({"token": "x", "settings": {"ServerApp": {"token": "y"}}}, "settings.ServerApp.token must not be set"),
        ({"token_file": "TMP/short"}, "does not hold a token: remove it"),
        ({"token_file": "TMP/empty"}, "does not hold a token: remove it"),
        ({"token": "x", "path": "TMP/link/config.json"}, "symbolic link"),
        ({"token": "x", "path": "TMP/leaf"}, "symbolic link"),
        ({"token_file": "TMP/leaf"}, "symbolic link"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_input(arguments: dict[str, Any], tmp_path: Path, bad: dict[str, Any], message: str) -> None:
    (tmp_path / "short").write_text("abc")
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "leaf").symlink_to(tmp_path / "short")
    bad = {
        name: value.replace("TMP", str(tmp_path)) if isinstance(value, str) else value for name, value in bad.items()
    }
    answer = run("server_config", {**arguments, **bad})
    assert answer["failed"] and message in answer["msg"], answer
    assert not Path(arguments["path"]).exists() and (tmp_path / "short").read_text() == "abc"
