# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`, as the README has it: twice, then README's first lab on one of its hosts, then `make demo-down`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from testbed.demo import at_work

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
NAME = "lab1.example.org"
# As a person does with what the page asks for; only the host itself knows the name.
LOG_IN = f"""
import http.client, json, ssl, sys
connection = http.client.HTTPSConnection("127.0.0.1", context=ssl._create_unverified_context(), timeout=60)
for headers in ({{}}, {{"Authorization": "token " + sys.argv[1]}}):
    connection.request("GET", "/api/contents", headers={{"Host": "{NAME}", **headers}})
    answer = connection.getresponse()
    answer.read()
    print(answer.status)
"""


def make(target: str) -> str:
    done = subprocess.run(
        ["make", target], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def containers() -> list[str]:
    listing = ["docker", "ps", "--all", "--filter", "label=carrel.testbed=demo", "--format", "{{.Names}}"]
    return subprocess.run(listing, text=True, capture_output=True, check=False).stdout.split()


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def playbook(folder: Path, *arguments: str) -> None:
    program = Path(sys.executable).with_name("ansible-playbook")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def first_lab(host: str, folder: Path) -> None:
    """Run the lines of README's first lab as copied. Beside them: how Ansible reaches a container in place of a server,
    and, because quay.io is out of reach, an image of our own under the name of README's.
    """
    (inventory,) = re.findall(r"```yaml\n# hosts\.yml\n(.*?)```", README, re.DOTALL)
    (commands,) = re.findall(r"```\n(ansible-playbook -i hosts\.yml carrel\.jupyter\.plan.*?)```", README, re.DOTALL)
    (folder / "hosts.yml").write_text(inventory)
    reached = {"ansible_connection": "community.docker.docker", "ansible_host": host}
    (folder / "group_vars").mkdir()
    (folder / "group_vars" / "all.yml").write_text(
        yaml.safe_dump({**reached, "ansible_python_interpreter": "/usr/bin/python3"})
    )
    engine = ("rootless_docker_install", "rootless_docker_configure", "rootless_docker_run")
    playbook(folder, "-i", "hosts.yml", "carrel.jupyter.site", "--tags", ",".join(engine))
    image = yaml.safe_load(inventory)["all"]["hosts"][NAME]["jupyter_instances"][0]["image"]
    stand_in = "registry.carrel.test:5000/carrel/lab:1.0"
    docker("exec", host, "su", "-", "tao", "-c", f"docker pull -q {stand_in} && docker tag {stand_in} {image}")

    printed = []
    for command in commands.splitlines():
        program, *arguments = command.split("#")[0].split()
        if program == "ansible-playbook":
            playbook(folder, *arguments)
        else:
            assert [program, arguments[0]] == ["ssh", f"root@{NAME}"]
            printed.append(docker("exec", host, *arguments[1:]).strip())
    (token,) = printed
    assert docker("exec", host, "python3", "-c", LOG_IN, token).split() == ["403", "200"]


def test_demo_twice_and_down(tmp_path: Path) -> None:
    try:
        first = make("demo")
        rows = json.loads((ROOT / ".demo" / "summary.json").read_text())
        people = [(row["name"], row["kind"], row["username"]) for row in rows]
        assert people == [(name, "lab", "") for name in ("tao", "atlas", "geo")] + [
            ("class", "hub", name) for name in ("prof", "ada", "grace", "alan")
        ]
        for row in rows:
            assert set(row) == {"name", "kind", "host", "url", "username", "password", "verify"}
            assert row["url"] in first and row["password"] in first
        # `make demo` itself has done so with all of them.
        for row in (rows[0], rows[-1]):
            with at_work(row) as lab:
                assert lab.run("print(6 * 7)").strip() == "42"
        second = make("demo")
        recaps = [line for line in second.splitlines() if "unreachable=" in line]
        assert len(recaps) == 2 and all("changed=0" in line and "failed=0" in line for line in recaps)
        assert json.loads((ROOT / ".demo" / "summary.json").read_text()) == rows
        # The demo's own instances of this host are done with, and lose their addresses.
        first_lab("carrel-demo-2", tmp_path)
    finally:
        make("demo-down")
    assert containers() == []
    assert not (ROOT / ".demo").exists()
