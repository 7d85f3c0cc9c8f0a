# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to an instance over time: check mode, held, absent and back, new settings, resets, interrupted runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from testbed.client import LoginError
from testbed.patience import PATIENCE
from testbed.secrets import SECRETS, Unsafe, environment

from .conftest import ROOT, Play, Playbook, Site, hostvars, reset, run_on, until
from .resets import servers
from .untold import LOUD, untold

Instances = list[dict[str, Any]]
HOST = "carrel-test-1"


def container_id(site: Site) -> str:
    return site.docker("compose", "-f", f"/srv/{site.name}/compose.yaml", "ps", "--quiet", "--no-trunc").strip()


def record(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_on(site.host, "cat", f"/var/lib/carrel/{site.name}/instance.json"))
    return found


def test_check_mode_of_deployed_instances_changes_nothing(play: Play) -> None:
    """The second run itself is molecule's idempotence, and that of the built collection below."""
    run = play(HOST, lambda instances: None, "--check", "--diff")
    assert (run.code, run.changed) == (0, 0), run.output


def test_a_run_reloads_systemd_after_one_that_was_killed(play: Play) -> None:
    run_on(HOST, "touch", "/etc/systemd/system/user@.service.d/delegate.conf")
    ask = ("systemctl", "show", "--property=NeedDaemonReload", "--value", "user@*.service")
    assert "yes" in run_on(HOST, *ask)
    run = play(HOST, lambda instances: None, "--tags", "rootless_docker_configure")
    assert (run.code, run.changed) == (0, 1), run.output
    assert "yes" not in run_on(HOST, *ask)


def test_check_mode_reports_a_change_and_new_instances_and_makes_none(play: Play, tmp_path: Path, tao: Site) -> None:
    """The new ones are in a running engine; one has an image, the other is built."""
    (tmp_path / "Dockerfile").write_text("FROM registry.carrel.test:5000/carrel/lab:1.0\n")
    sources = {"new": {"image": tao.declared["image"]}, "built": {"build": str(tmp_path)}}

    def change(instances: Instances) -> None:
        instances[0].update(environment={"NEW": "1"})
        for name, source in sources.items():
            instances.append({"name": name, "url": f"https://localhost:8461/{name}/", "engine": "tao", **source})

    before = container_id(tao)
    run = play(HOST, change, "--check", "--diff")
    assert run.code == 0 and run.changed > 0
    for path in ("/srv/tao/.env", "/srv/new", "/srv/built"):
        assert path in run.output, path
    assert container_id(tao) == before
    assert "NEW" not in run_on(HOST, "cat", "/srv/tao/.env")
    for name in sources:
        run_on(HOST, "test", "!", "-e", f"/srv/{name}")


def test_a_new_notice_and_a_new_password_arrive_and_files_stay(play: Play, tao: Site) -> None:
    with tao.lab().login(tao.secret) as lab:
        lab.put("kept.txt", "kept")
    port = record(tao)["port"]
    password = Unsafe(SECRETS["quotes"] + SECRETS["braces"])
    new = {"login": {"notice": "Closed on Friday"}, "password": password, "environment": environment()}
    try:
        run = play(HOST, lambda instances: instances[0].update(new), *LOUD)
        assert run.code == 0
        untold(run, HOST)
        assert "Closed on Friday" in requests.get(tao.url + "login", verify=tao.ca, timeout=PATIENCE).text
        with tao.lab().login(password) as lab:
            assert lab.get("kept.txt") == "kept"
            look = "import os; print([os.environ[name] for name in sorted(os.environ) if name.startswith('SHAPE_')])"
            assert lab.run(look).strip() == str(list(SECRETS.values()))
        with pytest.raises(LoginError):
            tao.lab().login(tao.secret)
        assert record(tao)["port"] == port
    finally:
        assert play(HOST).code == 0
    assert "Closed on Friday" not in requests.get(tao.url + "login", verify=tao.ca, timeout=PATIENCE).text
    tao.lab().login(tao.secret)


def test_held_and_back(play: Play, atlas: Site, tao: Site) -> None:
    with atlas.lab().login(atlas.secret) as lab:
        lab.put("kept.txt", "kept")
    # the lock of a reset that is at work
    working = "flock /var/lib/carrel/atlas/reset/lock sh -c 'touch /tmp/working; sleep 40; rm /tmp/working'"
    subprocess.run(["docker", "exec", "--detach", HOST, "su", "atlas", "-c", working], check=True)
    until(lambda: "working" in run_on(HOST, "ls", "/tmp"), "the lock is taken")
    assert play(HOST, lambda instances: instances[1].update(state="held")).code == 0
    run_on(HOST, "test", "!", "-e", "/tmp/working")
    assert len(servers(atlas)) == 1, "holding made a container of the other server"
    answer = requests.get(atlas.url, verify=atlas.ca, timeout=PATIENCE)
    assert answer.status_code == 503 and "hold" in answer.text
    code, output = reset(atlas)
    assert code == 0 and "held" in output
    assert requests.get(atlas.url, verify=atlas.ca, timeout=PATIENCE).status_code == 503
    tao.lab().login(tao.secret)
    again = play(HOST, lambda instances: instances[1].update(state="held"))
    assert (again.code, again.changed) == (0, 0), again.output
    assert play(HOST).code == 0
    with atlas.lab().login(atlas.secret) as lab:
        assert lab.get("kept.txt") == "kept"


def test_no_reset_starts_a_held_instance_though_another_fails(play: Play, tao: Site) -> None:
    def change(instances: Instances) -> None:
        instances[0].update(state="held")
        instances[1].update(image="registry.carrel.test:5000/carrel/missing:9.9")

    try:
        assert play(HOST, change).code != 0
        run_on(HOST, "test", "!", "-e", "/etc/cron.d/carrel-tao")
    finally:
        assert play(HOST).code == 0
    run_on(HOST, "test", "-e", "/etc/cron.d/carrel-tao")
    tao.lab().login(tao.secret)


def test_nobody_can_bind_the_port_of_a_new_instance_though_the_engines_fail(play: Play, tao: Site) -> None:
    """Apache forwards to it already. The role fails before it makes the account."""
    port = 8897
    new = {"name": "new", "url": "https://localhost:8461/new/", "image": tao.declared["image"], "port": port}
    bind = (
        "import os, socket, sys\nos.setuid(65534)\n"
        "try: socket.create_server(('127.0.0.1', int(sys.argv[1])))\nexcept OSError as error: print(error.strerror)"
    )
    try:
        assert play(HOST, lambda all_: all_.append(new), rootless_docker_packages=["no-such-package"]).code != 0
        run_on(HOST, "grep", "--recursive", "--quiet", f"127.0.0.1:{port}/", "/etc/apache2/sites-available")
        assert run_on(HOST, "python3", "-I", "-c", bind, str(port)).startswith("Operation not permitted")
        tao.lab().login(tao.secret)
    finally:
        assert play(HOST).code == 0
    assert run_on(HOST, "python3", "-I", "-c", bind, str(port)) == ""


def test_absent_archives_and_can_be_brought_back(play: Play, atlas: Site, tao: Site) -> None:
    with atlas.lab().login(atlas.secret) as lab:
        lab.put("kept.txt", "kept")
        lab.put("last.txt", "as late as this")
    assert play(HOST, lambda instances: instances[1].update(state="absent")).code == 0
    # what is left below the domain is the other instance, which knows no such path
    assert requests.get(atlas.url + "api", verify=atlas.ca, timeout=PATIENCE).status_code == 404
    archive = run_on(HOST, "sh", "-c", "ls -d /srv/.archive/atlas-*").strip()
    assert run_on(HOST, "cat", f"{archive}/data/notebooks/kept.txt") == "kept"
    tao.lab().login(tao.secret)

    def gone(instances: list[dict[str, Any]]) -> None:
        instances[1].update(state="absent")
        instances.append({"name": "shiny", "state": "absent"})

    run_on(HOST, "mkdir", "/srv/shiny")  # of somebody else
    again = play(HOST, gone)
    assert (again.code, again.changed) == (0, 0) and "shiny: /srv/shiny stays as it is" in again.output, again.output
    run_on(HOST, "rmdir", "/srv/shiny")
    run_on(HOST, "mv", archive, "/srv/atlas")
    # its engine does not run at this moment
    check = play(HOST, lambda instances: None, "--check", "--diff")
    assert check.code == 0 and "atlas would be set up" in check.output
    assert play(HOST).code == 0
    with atlas.lab().login(atlas.secret) as lab:
        assert lab.get("kept.txt") == "kept"
    assert "last.txt" in run_on(HOST, "carrel-backup", "folder", "atlas", "--path", "data/notebooks")
    run_on(HOST, "carrel-backup", "run", "atlas")  # its backups go on


def test_a_purge_deletes_what_is_left_of_a_removed_instance_and_nothing_else(play: Play, tao: Site) -> None:
    """What an engine leaves, without the minute that it takes to start one."""
    script = """
        useradd --create-home --comment 'rootless Docker engine of carrel.jupyter' gone
        mkdir -p /etc/rootless-docker/gone /srv/docker/gone/deep /srv/.archive/gone-20261122T230102Z
        echo '{"data-root": "/srv/docker/gone"}' > /etc/rootless-docker/gone/daemon.json
        mkdir -p /srv/.archive/gone-20261122T230102Z/.backup /srv/backup/gone
        echo '{"repositories": ["/srv/backup/gone"]}' > /srv/.archive/gone-20261122T230102Z/.backup/state.json
        mkdir -p /run/carrel/docker/gone
        install -d -g gone -m 750 /var/lib/carrel/gone/page
        ln -s /srv/tao /srv/docker/gone/link
        ln -s /srv/tao /home/gone/link
        chown -R --no-dereference gone: /srv/docker/gone /home/gone /srv/backup/gone
    """
    run_on(HOST, "sh", "-ec", script)

    def purge(name: str) -> Playbook:
        return play(HOST, lambda instances: None, "-e", f"jupyter_purge={name}", playbook="playbooks/purge.yml")

    refused = purge("tao")
    assert refused.code != 0 and refused.changed == 0 and "tao is on this host" in refused.output
    assert purge("gone").changed == 1
    assert purge("gone").changed == 0
    left = "grep -h ^gone: /etc/passwd /etc/group /etc/subuid /etc/subgid; ls -d /home/gone /etc/rootless-docker/gone"
    left += " /srv/docker/gone /srv/.archive/gone-* /var/lib/carrel/gone /run/carrel/docker/gone 2>/dev/null || true"
    assert run_on(HOST, "sh", "-c", left) == ""
    assert run_on(HOST, "stat", "--format=%U %a", "/srv/backup/gone").strip() == "root 700"
    run_on(HOST, "rmdir", "/srv/backup/gone")
    tao.lab().login(tao.secret)


def test_a_run_that_is_killed_is_completed_by_the_next(play: Play, tmp_path: Path, tao: Site) -> None:
    for seconds in (4, 8):
        kill_a_run(tmp_path, seconds)
        assert play(HOST).code == 0
    again = play(HOST)
    assert (again.code, again.changed) == (0, 0), again.output
    tao.lab().login(tao.secret)


def kill_a_run(folder: Path, seconds: int) -> None:
    mine = json.loads(json.dumps(hostvars()[HOST]))
    mine["jupyter_instances"][0].update(environment={"SECONDS": str(seconds)}, login={"notice": f"after {seconds}"})
    inventory = folder / "killed.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {HOST: mine}}}))
    run = subprocess.Popen(
        ["ansible-playbook", "-i", inventory, "playbooks/site.yml"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(seconds)
    run.send_signal(signal.SIGKILL)
    run.wait()
    _end(str(inventory))
    until(lambda: not _modules(), "the modules that it had started end")


def _end(argument: str) -> None:
    """End the workers of a killed ansible-playbook, which have sessions of their own and may wait for it for ever."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if argument.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)


def _modules() -> str:
    """The processes of Ansible on the host, and those here that start them. Each of its commands ends like this."""
    end = ".*&& sleep 0"
    here = subprocess.run(["pgrep", "-f", f"exec .*{HOST}{end}"], text=True, stdout=subprocess.PIPE, check=False)
    return here.stdout + run_on(HOST, "pgrep", "-f", end, check=False)


def test_the_built_collection_runs_by_its_full_name(tmp_path: Path) -> None:
    subprocess.run(
        ["ansible-galaxy", "collection", "build", "--output-path", tmp_path],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (tarball,) = tmp_path.glob("carrel-jupyter-*.tar.gz")
    environment = {**_without_settings(), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections")}
    install = ["ansible-galaxy", "collection", "install", "--offline", "--no-deps", tarball, "-p", "collections"]
    subprocess.run(install, check=True, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {HOST: hostvars()[HOST]}}}))
    done = subprocess.run(
        ["ansible-playbook", "-i", inventory, "carrel.jupyter.site"],
        cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "changed=0" in done.stdout


def _without_settings() -> dict[str, str]:
    """The environment without the checkout's own Ansible settings and paths."""
    return {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_") and key != "PYTHONPATH"}
