# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reset must survive. After each: the instance answers, the home is as it was, the state tells what happened."""

from __future__ import annotations

import subprocess
import time

import pytest
import requests

from testbed import hosts
from testbed.load import Load
from testbed.patience import PATIENCE

from .conftest import Play, Site, answers, reset, run_on, sites, until
from .resets import DONE, DOWN, FAILED, HOST, home, push, servers, settings, sound, state, whole

NIGHTLY = f"{hosts.REGISTRY_NAME}/carrel/lab:nightly"
STATE = "/var/lib/carrel/tao/reset"
# a short step may be over between two looks
KILL = f"""
for attempt in 1 2 3 4 5; do
    carrel-reset tao &
    until grep --quiet '"step": "{{step}}"' {STATE}/state.json; do kill -0 $! || continue 2; done
    kill -9 $! && exit
done
exit 1
"""
FULL = f"""
cp -a {STATE} /tmp/aside
mount -t tmpfs -o size=32k,mode=0755 tmpfs {STATE}
chown tao: {STATE}
cp -a /tmp/aside/. {STATE}
head -c 1M /dev/zero > {STATE}/zero || true
"""
EMPTY = f"""
rm -r /tmp/aside {STATE}/zero
cp -a {STATE} /tmp/aside
umount {STATE}
rm -f {STATE}/*
cp -a /tmp/aside/. {STATE}
rm -r /tmp/aside
"""
PRANK = f"""
cd {STATE}
rm -f state.json lock second
ln -s /etc/passwd state.json
ln -s /etc/shadow lock
mkfifo second
"""
JUMP = """
echo +0 > /tmp/clock
chmod 644 /tmp/clock
(sleep 1.5; echo {jump} > /tmp/clock) &
export LD_PRELOAD=$(echo /usr/lib/*/faketime/libfaketime.so.1)
export FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_TIMESTAMP_FILE=/tmp/clock
exec carrel-reset tao --people ignore --no-pull
"""


def load_of(site: Site) -> Load:
    return Load(site.url + "api", site.ca, timeout_seconds=PATIENCE)


@pytest.mark.parametrize("step", ["pull", "switch", "drain"])
def test_kill_at_a_step(tao: Site, step: str) -> None:
    """What needs a registry or Apache; tests/integration/test_reset_kill.py has a kill at everything else."""
    kept = home(tao)
    with settings(tao, drain_seconds=1), load_of(tao) as load:
        run_on(HOST, "bash", "-c", KILL.format(step=step))
        time.sleep(3)
    assert load.failures == []
    assert state(tao)["result"] == "running"
    tao.lab().login(tao.secret)
    whole(tao)
    assert home(tao) == kept


def test_a_reboot_in_the_middle(tao: Site) -> None:
    kept = home(tao)
    with settings(tao, drain_seconds=60):
        process = subprocess.Popen(["docker", "exec", HOST, "carrel-reset", "tao", "--people", "ignore", "--no-pull"])
        until(lambda: state(tao)["step"] == "drain", "two servers run")
        hosts.reboot([HOST])
        process.wait(PATIENCE)
    until(lambda: all(answers(site) for site in sites().values() if site.host == HOST), "the labs are back")
    # killed in the drain, unless systemd stopped the engine first and the old server could not be stopped
    assert (state(tao)["result"], state(tao)["step"]) in (("running", "drain"), ("failed", "stop"))
    whole(tao)
    assert home(tao) == kept


def test_a_registry_that_hangs(tao: Site) -> None:
    """For this host alone: the others use it, too. tests/integration/test_reset_lab.py has one that refuses."""
    before = servers(tao)
    name, _unused, port = hosts.REGISTRY_NAME.partition(":")
    rule = ["OUTPUT", "--destination", name, "--protocol", "tcp", "--dport", port, "--jump", "DROP"]
    run_on(HOST, "iptables", "--insert", *rule)
    try:
        with settings(tao, pull_timeout_seconds=6):
            code, output = reset(tao, "--people", "ignore")
    finally:
        run_on(HOST, "iptables", "--delete", *rule)
    assert code == DONE and "lab:1.0" in output
    assert servers(tao) != before
    said = "did not end within"
    assert any("lab:1.0 was not pulled" in warning and said in warning for warning in state(tao)["warnings"])


def test_a_full_disk_during_the_pull(tao: Site) -> None:
    """Docker downloads layers to DATA_ROOT/tmp (moby, distribution/pull_v2.go)."""
    push("large", "RUN head -c 8000000 /dev/urandom > /opt/large")
    daemon = run_on(HOST, "pgrep", "--euid", "tao", "--exact", "dockerd").split()[0]
    inside = ["nsenter", "--target", daemon, "--mount"]
    folder = "/srv/docker/tao/tmp"
    large, compose = f"{hosts.REGISTRY_NAME}/carrel/lab:large", "/srv/tao/compose.yaml"
    # deployed before by this tag; only what is deployed is pulled
    tao.docker("tag", f"{hosts.REGISTRY_NAME}/carrel/lab:1.0", large)
    before = run_on(HOST, "cat", compose)
    run_on(HOST, *inside, "mount", "-t", "tmpfs", "-o", "size=100k,mode=1777", "tmpfs", folder)
    try:
        run_on(HOST, "tee", compose, input_text=before.replace("carrel/lab:1.0", "carrel/lab:large"))
        with settings(tao, images=[large]):
            code, output = reset(tao, "--people", "ignore")
    finally:
        run_on(HOST, "tee", compose, input_text=before)
        run_on(HOST, *inside, "umount", folder)
    assert code == DONE and "no space left on device" in output
    whole(tao)


def test_no_room_for_the_state(tao: Site) -> None:
    run_on(HOST, "sh", "-euc", FULL)
    try:
        before = servers(tao)
        code, output = reset(tao, "--people", "ignore", "--no-pull")
        found = state(tao)
        tao.lab().login(tao.secret)
    finally:
        run_on(HOST, "sh", "-euc", EMPTY)
    assert (found["exit_code"], found["result"]) == (code, "done" if code == DONE else "failed"), output
    # where Apache does not see what is mounted here, it does not go over, and the old server is started again
    assert (servers(tao)[0].split()[0] != before[0].split()[0]) == (code == DONE)
    whole(tao)


def test_an_engine_that_is_stopped_is_started(tao: Site) -> None:
    run_on(HOST, "systemctl", "--user", "--machine=tao@", "stop", "rootless-docker")
    code, output = reset(tao, "--people", "ignore", "--no-pull")
    assert code == DONE, output
    assert any("engine tao was stopped" in warning for warning in state(tao)["warnings"])
    sound(tao)


def test_an_engine_that_does_not_start_is_reported(tao: Site) -> None:
    control = ["systemctl", "--user", "--machine=tao@"]
    config = "/etc/rootless-docker/tao/daemon.json"
    before = run_on(HOST, "cat", config)
    run_on(HOST, *control, "stop", "rootless-docker")
    run_on(HOST, "tee", config, input_text="{")
    try:
        code, output = reset(tao, "--people", "ignore", "--no-pull")
    finally:
        run_on(HOST, "tee", config, input_text=before)
        run_on(HOST, *control, "reset-failed", "rootless-docker")
        run_on(HOST, *control, "start", "rootless-docker")
    assert code == DOWN and "rootless-docker" in output
    assert state(tao)["result"] == "failed"
    until(lambda: answers(tao), "tao is back")
    whole(tao)


@pytest.mark.parametrize("jump", ["-2d", "+2d"])
def test_a_clock_that_jumps(tao: Site, jump: str) -> None:
    if "faketime" not in run_on(HOST, "ls", "/usr/bin"):
        run_on(HOST, "sh", "-c", "apt-get -qq update && apt-get -qq install -y faketime")
    before = servers(tao)
    run_on(HOST, "bash", "-c", JUMP.format(jump=jump))
    found = state(tao)
    assert found["result"] == "done" and 0 <= found["seconds"] < 600
    assert servers(tao) != before
    whole(tao)


def test_new_images_come_by_night_and_a_bad_one_goes_back(play: Play, tao: Site) -> None:
    def nightly(instances: list[dict[str, object]]) -> None:
        instances[0].update(image=NIGHTLY)

    first = push("nightly", "RUN echo 1 > /opt/version")
    try:
        assert play(HOST, nightly).code == 0
        assert tao.container("cat", "/opt/version").strip() == "1"
        push("nightly", 'CMD ["sleep", "infinity"]')
        before, kept = servers(tao), home(tao)
        with settings(tao, start_timeout_seconds=12), load_of(tao) as load:
            code, output = reset(tao, "--people", "ignore")
        assert code == FAILED and "health" in output
        assert load.failures == [] and servers(tao) == before and home(tao) == kept
        assert state(tao)["result"] == "failed"
        assert tao.docker("image", "inspect", "--format", "'{{.Id}}'", NIGHTLY).strip() == first
        whole(tao)
        assert tao.container("cat", "/opt/version").strip() == "1"

        third = push("nightly", "RUN echo 3 > /opt/version")
        code, output = reset(tao, "--people", "ignore")
        assert code == DONE, output
        assert tao.container("cat", "/opt/version").strip() == "3"
        assert state(tao)["images"][NIGHTLY]["id"] == third
        assert [image["id"] for image in state(tao)["healthy"][:2]] == [third, first]
        before = servers(tao)
        # the page for logging in is made from the new image's
        assert play(HOST, nightly).code == 0
        again = play(HOST, nightly)
        assert (again.code, again.changed) == (0, 0), again.output
        assert servers(tao) == before
    finally:
        assert play(HOST).code == 0
        tao.docker("image", "rm", "--force", NIGHTLY)


def test_files_in_the_accounts_state_directory_affect_no_other_instance(tao: Site) -> None:
    secret = run_on(HOST, "sha256sum", "/etc/shadow", "/etc/passwd")
    run_on(HOST, "su", "tao", "-c", PRANK)
    try:
        requests.get(tao.url + "api", verify=tao.ca, timeout=PATIENCE)
        reset(tao, "--people", "ignore", "--no-pull")
        assert run_on(HOST, "sha256sum", "/etc/shadow", "/etc/passwd") == secret
    finally:
        run_on(HOST, "su", "tao", "-c", f"cd {STATE} && rm -f state.json lock second")
    whole(tao)
