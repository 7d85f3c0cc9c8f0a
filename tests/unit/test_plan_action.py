# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""plan, instance_info and mapped_id as Ansible runs them, on this machine and on hosts that are not there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import ansible_collections.carrel.jupyter as collection
import pytest
import yaml

from testbed.patience import PATIENCE

ROOT = Path(__file__).parents[2]
COLLECTIONS = Path(next(iter(collection.__path__))).parents[2]
HERE = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
# Nothing listens on port 1: the connection is refused at once.
AWAY = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}

PROBE = """
- hosts: all
  gather_facts: false
  tasks:
    - carrel.jupyter.plan:
      register: planned
    - ansible.builtin.assert:
        that:
          - planned.plan.lab_instances[0].password == 'xq7SECRET' ~ '-vaulted'
          - planned.plan.lab_instances[0].environment.API_KEY == 'xq7SECRET' ~ '-env'
          - "1000 | carrel.jupyter.mapped_id(1001, {'start': 165536, 'count': 65536}) == 166535"
        quiet: true
"""

HUB_PROBE = """
- hosts: all
  gather_facts: false
  tasks:
    - carrel.jupyter.plan:
      register: planned
    - ansible.builtin.assert:
        that:
          - planned.plan.hub_instances[0].users | map(attribute='name') == ['ada', 'prof']
          - planned.plan.hub_instances[0].users[0].password == 'xq7SECRET' ~ '-csv'
          - planned.plan.hub_instances[0].users[1].password == 'xq7SECRET' ~ '-user'
          - planned.plan.hub_instances[0].groups[0].members == ['ada']
        quiet: true
"""


def run(folder: Path, hosts: dict[str, Any], playbook: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}), encoding="utf-8")
    return subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(playbook), *arguments],
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_LOG_PATH": str(folder / "log"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOST_KEY_CHECKING": "false",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        cwd=folder,
    )


def lab(**keys: Any) -> dict[str, Any]:
    return {"name": "tao", "url": "https://tao.example.org", "image": "lab:1.0", "tls": "acme", **keys}


def test_the_registered_plan_is_whole_and_nothing_is_printed(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("vault password", encoding="utf-8")
    vault = ["--vault-password-file", str(tmp_path / "password")]
    encrypted = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-vault")),
            "encrypt_string",
            *vault,
            "xq7SECRET-vaulted",
            "-n",
            "v",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    variables = tmp_path / "host_vars" / "h1.yml"
    variables.parent.mkdir()
    variables.write_text(
        f"{encrypted}\nkey: xq7SECRET-env\n"
        + yaml.safe_dump({"jupyter_instances": [lab(password="{{ v }}", environment={"API_KEY": "{{ key }}"})]}),
        encoding="utf-8",
    )
    probe = tmp_path / "probe.yml"
    probe.write_text(PROBE, encoding="utf-8")
    done = run(tmp_path, {"h1": HERE}, probe, "-vvv", *vault)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout + done.stderr + (tmp_path / "log").read_text(encoding="utf-8")
    assert "xq7SECRET" not in printed
    assert "censored" in printed


def test_all_problems_in_one_message_without_a_secret(tmp_path: Path) -> None:
    bad = lab(
        imag="x",
        password="{{ nowhere }}",
        token="{{ 'xq7SECRET' | from_json }}",
        environment={"A": "xq7SECRET\0"},
        build="images/missing",
        image=None,
    )
    # lua is the host's own, r the collection's.
    lua = {"title": "Lua", "language": "lua", "argv": ["lua"], "smoke": {"code": "1", "output": "1"}, "tested": True}
    images = [{"name": "geo", "kernels": ["r", "lua", "{{ 'luaa' }}"], "push": "R"}]
    built = lab(name="geo", url="https://geo.example.org", image={"declared": "geo"})
    host = {**HERE, "jupyter_instances": [bad, built], "jupyter_images": images, "image_kernels": {"lua": lua}}
    probe = tmp_path / "probe.yml"
    probe.write_text(PROBE, encoding="utf-8")
    done = run(tmp_path, {"h1": host}, probe, "-vvv")
    assert done.returncode == 2
    printed = done.stdout + done.stderr
    assert "xq7SECRET" not in printed
    assert "h1: 7 problems in its variables" in printed
    assert printed.count("(tao).imag: unknown key") == 1
    for line in (
        "jupyter_images[0]: push: 'R' is not a registry; write",
        "jupyter_images[0]: kernels: there is no kernel luaa; did you mean lua?",
        "jupyter_instances[0] (tao).password: could not be rendered: 'nowhere' is undefined",
        "jupyter_instances[0] (tao).token: could not be rendered: Ansible",
        "jupyter_instances[0] (tao).imag: unknown key; did you mean 'image'?",
        "jupyter_instances[0] (tao).environment.A: contains a line break",
    ):
        assert line in printed
    assert re.search(r"jupyter_instances\[0\] \(tao\)\.build\.context: '/.*' is not a folder", printed)


def test_only_the_host_that_builds_has_to_know_the_kernels(tmp_path: Path) -> None:
    probe = tmp_path / "probe.yml"
    probe.write_text("- hosts: all\n  gather_facts: false\n  tasks: [carrel.jupyter.plan: {}]\n", encoding="utf-8")
    images = [{"name": "geo", "kernels": ["lua"]}]
    host = {**HERE, "jupyter_instances": [lab(image={"declared": "geo"})], "jupyter_images": images}
    hosts = {
        "builds": host,
        "pulls": {**host, "image_pull_from": "{{ 'build' }}s", "image_kernels": ["ignored"]},
        # known in a later play
        "unknown": {**host, "image_kernels": {"lua": "{{ nowhere }}"}},
        "unused": {**host, "jupyter_instances": [lab()], "image_kernels": "{{ nowhere }}"},
    }
    done = run(tmp_path, hosts, probe)
    assert "builds: 1 problem in its variables" in done.stdout
    assert "jupyter_images[0]: kernels: there is no kernel lua" in done.stdout
    assert re.findall(r"^(\w+) .*failed=(\d)", done.stdout, re.MULTILINE) == [
        ("builds", "1"), ("pulls", "0"), ("unknown", "0"), ("unused", "0"),
    ]  # fmt: skip


BRACES = r"""
mark: 'ab{#cd#}ef'
nested: ['{{ mark }}']
fine: !unsafe 'ab{#cd#}e{{f}} {% x'
dollars: 'pa$$w0rd $HOME "x" \ ''y'' #z'
piece: 'ab{{xq7SECRET}}cd'
unfinished: 'xq7SECRET{{def ghi'
jupyter_instances:
  - {name: a, <<: &lab {image: "lab:1.0", tls: acme}, url: "https://a.example.org/", password: "{{ fine }}"}
  - {name: b, <<: *lab, url: "https://b.example.org/", password: "{{ dollars }}"}
  - {name: c, <<: *lab, url: "https://c.example.org/", password: "{{ nested[0] }}"}
  - {name: d, <<: *lab, url: "https://d.example.org/", password: 'ab{#cd#}efgh', login: {notice: "a {# b"}}
  - {name: e, <<: *lab, url: "https://e.example.org/", password: "{{ piece }}", environment: {A: 'x{{ xq7SECRET }}'}}
  - {name: f, <<: *lab, url: "https://f.example.org/", password: "{{ unfinished }}"}
  - {name: g, <<: *lab, url: "https://g.example.org/", password: "{{ '{#' ~ lookup('vars', 'mark') }}"}
"""


def test_braces_in_texts_are_kept_or_refused_and_never_cut(tmp_path: Path) -> None:
    variables = tmp_path / "host_vars" / "h1.yml"
    variables.parent.mkdir()
    probe = tmp_path / "probe.yml"
    probe.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - carrel.jupyter.plan:\n      register: planned\n"
        "    - ansible.builtin.assert:\n        that: planned.plan.lab_instances | map(attribute='password') == "
        "[fine, dollars]\n",
        encoding="utf-8",
    )
    variables.write_text(BRACES, encoding="utf-8")
    wrong = run(tmp_path, {"h1": HERE}, probe)
    found = dict(re.findall(r"^ *jupyter_instances\[\d\] \((\S+): (.*)$", wrong.stdout, re.MULTILINE))
    assert "7 problems" in wrong.stdout and "xq7SECRET" not in wrong.stdout + wrong.stderr
    for key, start in [
        ("c).password", "contains '{#'"), ("d).password", "contains '{#'"), ("d).login.notice", "contains '{#'"),
        ("e).password", "could not be rendered: a variable"), ("e).environment.A", "could not be rendered: a variable"),
        ("f).password", "could not be rendered"), ("g).password", "contains '{#'"),
    ]:  # fmt: skip
        assert found[key].startswith(start) and "!unsafe" in found[key]
    variables.write_text("".join(BRACES.splitlines(keepends=True)[:10]), encoding="utf-8")
    done = run(tmp_path, {"h1": HERE}, probe)
    assert done.returncode == 0, done.stdout + done.stderr


def test_numbers_of_the_command_line_count_as_numbers(tmp_path: Path) -> None:
    probe = tmp_path / "probe.yml"
    probe.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - carrel.jupyter.plan:\n      register: planned\n"
        "    - ansible.builtin.assert:\n        that:\n"
        "          - planned.plan.lab_instances[0].limits.pids == 500\n"
        "          - planned.plan.lab_instances[0].limits.cpus == 1.5\n"
        "          - planned.plan.lab_instances[0].collaboration is true\n"
        "          - planned.plan.lab_instances[0].password == '12345678'\n",
        encoding="utf-8",
    )
    keys = {"pids": "{{ n }}", "cpus": "{{ c }}", "collaboration": "{{ t }}", "password": "{{ p }}"}
    given = ("-e", "n=500", "-e", "c=1.5", "-e", "t=true", "-e", "p=12345678")
    done = run(tmp_path, {"h1": {**HERE, "jupyter_instances": [lab(**keys)]}}, probe, *given)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_hub_reads_its_roster_beside_the_inventory_and_shows_no_secret(tmp_path: Path) -> None:
    (tmp_path / "class.csv").write_text("name,groups,password\nada,stat,xq7SECRET-csv\n", encoding="utf-8")
    keys = {
        "users": [{"name": "prof", "password": "{{ key }}-user"}],
        "users_csv": "class.csv",
        "groups": {"stat": {"admins": ["prof"]}},
    }
    probe = tmp_path / "probe.yml"
    probe.write_text(HUB_PROBE, encoding="utf-8")
    variables = {**HERE, "key": "xq7SECRET", "jupyter_instances": [lab(kind="hub", **keys)]}
    done = run(tmp_path, {"h1": variables}, probe, "-vvv")
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "class.csv").write_text("name,groups,password\nAda,stat,xq7SECRET\nbob,x\n", encoding="utf-8")
    keys["authenticator"] = {"type": "github", "client_id": "x", "client_secret": "{{ key | from_json }}"}
    wrong = run(tmp_path, {"h1": {**variables, "jupyter_instances": [lab(kind="hub", **keys)]}}, probe, "-vvv")
    assert wrong.returncode == 2
    for line in (
        "jupyter_instances[0] (tao).users_csv (class.csv line 2): the user 'Ada' is not in lower case",
        "jupyter_instances[0] (tao).users_csv (class.csv line 3): has 2 fields, the first line has 3",
        "jupyter_instances[0] (tao).users_csv (class.csv line 2).password: is for type native",
        "jupyter_instances[0] (tao).authenticator.client_secret: could not be rendered",
    ):
        assert line in wrong.stdout
    assert "h1: 5 problems" in wrong.stdout
    assert "xq7SECRET" not in done.stdout + done.stderr + wrong.stdout + wrong.stderr


def test_the_playbook_shows_the_plan_of_every_host(tmp_path: Path) -> None:
    (tmp_path / "login.html").write_text("<form></form>", encoding="utf-8")
    hosts = {
        "here": {**HERE, "jupyter_instances": [lab(login={"template": "login.html"})]},
        "away": {**AWAY, "jupyter_instances": [lab(name="geo", url="http://geo.example.org", tls=None)]},
        "bare": HERE,
        "snake": {**HERE, "ansible_python_interpreter": "/nowhere/python3", "jupyter_instances": [lab()]},
    }
    done = run(tmp_path, hosts, ROOT / "playbooks" / "plan.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    printed = " ".join(done.stdout.split())
    assert "tao: present; https://tao.example.org/; image lab:1.0; engine tao; port 9" in printed
    assert "geo: present; http://geo.example.org/; image lab:1.0; engine geo; port not known yet" in printed
    assert "warning: geo: http:// sends passwords" in printed
    unread = "the host could not be read, so ports and what is on it are not known: "
    assert printed.count(unread) == 2
    assert re.search(rf"{unread}.{{,20}}Failed to connect", printed)
    assert f"{unread}The module interpreter '/nowhere/python3' was not found" in printed.replace("''", "'")
    assert "no instances" in printed


def test_the_playbook_asks_the_host_for_names_that_it_may_not_list(tmp_path: Path) -> None:
    good = {**HERE, "jupyter_instances": [lab(engine="shared"), {"name": "old", "state": "absent"}]}
    odd = {**HERE, "jupyter_instances": ["text", {"name": 5, "engine": "bad\0"}], "jupyter_defaults": {"engine": "all"}}
    done = run(tmp_path, {"good": good, "odd": odd}, ROOT / "playbooks" / "plan.yml", "-vvv")
    asked = re.findall(r"module_args:\n\s+names:((?:\n\s+- .*)+)", done.stdout)
    assert len(asked) == 2, done.stdout + done.stderr
    assert {*re.findall(r"- (.*)", asked[0])} | {*re.findall(r"- (.*)", asked[1])} >= {"tao", "old", "shared", "all"}
    assert "could not be read" not in done.stdout
    assert re.search(r"odd: \d problems in its variables", done.stdout), "the plan says what is wrong with them"


EXAMPLE = ROOT / "inventories" / "example"


def test_the_example_inventory_is_a_good_one(tmp_path: Path) -> None:
    probe = tmp_path / "probe.yml"
    probe.write_text("- hosts: all\n  gather_facts: false\n  tasks:\n    - carrel.jupyter.plan:\n", encoding="utf-8")
    done = run(tmp_path, {}, probe, "-i", str(EXAMPLE / "hosts.yml"))
    assert done.returncode == 0 and "hub1.example.org" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("configuration", "folder", "hosts"),
    [
        (EXAMPLE, EXAMPLE, ["hub1.example.org", "lab1.example.org", "lab2.example.org"]),
        (ROOT, EXAMPLE, ["hub1.example.org", "lab1.example.org", "lab2.example.org"]),
        (ROOT, EXAMPLE.with_name("campus"), ["hub1.uni.example", "lab1.uni.example", "lab2.uni.example"]),
    ],
)
def test_an_example_is_an_inventory_as_a_folder_too(configuration: Path, folder: Path, hosts: list[str]) -> None:
    listed = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(folder), "--list"],
        env={**os.environ, "ANSIBLE_CONFIG": str(configuration / "ansible.cfg")},
        capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    assert sorted(json.loads(listed.stdout)["_meta"]["hostvars"]) == hosts
    assert listed.stderr == ""


@pytest.mark.parametrize("arguments", ["", "--check"])
def test_instance_info_reads_this_machine(tmp_path: Path, arguments: str) -> None:
    probe = tmp_path / "probe.yml"
    probe.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - carrel.jupyter.instance_info:\n      register: info\n"
        "    - ansible.builtin.assert:\n        that:\n"
        "          - not info.changed and info.accounts.root == 0 and info.cpus >= 1 and info.memory_bytes > 2 ** 27\n",
        encoding="utf-8",
    )
    done = run(tmp_path, {"h1": HERE}, probe, *arguments.split())
    assert done.returncode == 0, done.stdout + done.stderr
