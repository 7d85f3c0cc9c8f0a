# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resets of labs behind Apache: what people notice, what stays, what is new."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest
import websocket

from testbed.client import LoginError
from testbed.load import Load
from testbed.patience import PATIENCE

from .conftest import Play, Site, hostvars, reset, run_on, until
from .resets import DONE, HOST, PUT_OFF, home, servers, settings, state, whole, work

KEPT = """
import os
with open('kept.bin', 'wb') as stream:
    stream.write(bytes(range(256)) * 4000)
if not os.path.lexists('a link'):
    os.symlink('kept.bin', 'a link')
"""


def test_a_reset_has_no_downtime_and_keeps_only_the_home(tao: Site) -> None:
    with tao.lab().login(tao.secret) as lab:
        lab.run(KEPT)
        tao.docker("exec", "--user", "0", tao.container_name(), "touch", "/opt/gone")
        before, kept = servers(tao), home(tao)
        cookies, url = dict(lab.http.cookies), f"{tao.url}api/contents/kept.bin?content=0"
        with Load(url, tao.ca, cookies, timeout_seconds=PATIENCE) as load:
            time.sleep(2)
            code, output = reset(tao, "--people", "ignore")
            time.sleep(2)
        assert code == DONE, output
        assert load.failures == [] and len(load.answers) > 80
        assert lab.run("print(6 * 7)").strip() == "42", "the same log-in goes on"
    after = servers(tao)
    assert len(after) == 1 and after != before
    assert tao.container("ls", "/opt").split().count("gone") == 0
    assert home(tao) == kept
    found = state(tao)
    assert found["commands"] == {"before": "done", "after": "done"}
    assert (found["result"], found["exit_code"], found["warnings"]) == ("done", 0, [])
    image = found["images"][tao.declared["image"]]
    assert image["digest"].startswith("sha256:")
    assert found["healthy"][0]["id"] == image["id"]


def test_every_step_is_a_line_of_json_in_the_journal_and_a_file_of_the_notices_name_stays(tao: Site) -> None:
    shown = run_on(HOST, "journalctl", "--show-cursor", "--lines", "0", "--quiet")
    cursor = shown.partition("cursor: ")[2].strip()
    with tao.lab().login(tao.secret) as lab:
        lab.put("RESET-NOTICE.txt", "mine")
        try:
            assert reset(tao, "--people", "skip")[0] == DONE
            assert lab.get("RESET-NOTICE.txt") == "mine"
        finally:
            lab.request("DELETE", "api/contents/RESET-NOTICE.txt")
    lines = run_on(HOST, "journalctl", "--after-cursor", cursor, "--identifier", "carrel-reset", "--output", "cat")
    steps = [json.loads(line) for line in lines.splitlines()]
    assert {step["instance"] for step in steps} == {"tao"}
    wanted = ["pull", "tell", "people", "start", "switch", "drain", "stop"]
    assert [step for step in dict.fromkeys(step["step"] for step in steps) if step in wanted] == wanted


def test_open_pages_reconnect_with_new_kernels(tao: Site) -> None:
    with tao.lab().login(tao.secret) as lab:
        kernel = lab.kernel()
        kernel.run("x = 1")
        assert reset(tao, "--people", "ignore", "--no-pull")[0] == DONE
        with pytest.raises((websocket.WebSocketException, ConnectionError)):
            while True:
                kernel.messages.next(PATIENCE)
        assert lab.request("GET", f"api/kernels/{kernel.identifier}", check=False).status_code == 404
        assert lab.run("print('again')").strip() == "again"


def test_a_busy_kernel_puts_a_reset_off_until_the_deadline(tao: Site) -> None:
    with tao.lab().login(tao.secret) as lab:
        work(lab, "import time; time.sleep(600)")
        before = servers(tao)
        code, output = reset(tao, "--people", "skip", "--no-pull")
        assert code == PUT_OFF and "kernel" in output
        assert servers(tao) == before and state(tao)["result"] == "put off"
        with settings(tao, deadline_seconds=5):
            code, output = reset(tao, "--people", "wait", "--no-pull")
        assert code == DONE and "kernel" in output
        assert servers(tao) != before


def test_a_reset_waits_until_a_kernel_is_idle(tao: Site) -> None:
    with tao.lab().login(tao.secret) as lab:
        work(lab, "import time; time.sleep(12); open('result.txt', 'w').write('whole')")
        before = servers(tao)
        assert reset(tao, "--people", "wait", "--no-pull")[0] == DONE
        assert servers(tao) != before
        assert lab.get("result.txt") == "whole"


def test_people_get_a_notice_before(tao: Site) -> None:
    # At least 15 seconds from now, so that the notice is there for a while.
    soon = run_on(HOST, "date", "--date", "75 seconds", "+%H:%M").strip()
    with tao.lab().login(tao.secret) as lab, settings(tao, at=soon, lead_seconds=12, notice_seconds=10):
        terminal = lab.terminal()
        terminal.run("echo $((6 * 7))", "42")
        kept = home(tao)
        process = subprocess.Popen(["docker", "exec", HOST, "carrel-reset", "tao", "--scheduled", "--people", "ignore"])
        try:
            terminal.run("", "reset")
            assert "reset" in lab.get("RESET-NOTICE.txt")
        finally:
            assert process.wait(PATIENCE) == DONE
    assert home(tao) == kept
    assert state(tao)["scheduled_for"]


def test_a_new_token_each_time(play: Play, atlas: Site) -> None:
    old = atlas.secret
    with atlas.lab().login(old) as lab:
        assert reset(atlas, "--people", "ignore", "--no-pull")[0] == DONE
        assert lab.request("GET", "api/contents", check=False).status_code == 403, "whoever was in is out"
    new = atlas.secret
    assert new != old
    atlas.lab().login(new)
    with pytest.raises(LoginError):
        atlas.lab().login(old)
    assert run_on(HOST, "stat", "--format", "%U %a", atlas.token_file).split() == ["atlas", "600"]
    again = play(HOST)
    assert (again.code, again.changed) == (0, 0), again.output
    atlas.lab().login(new)


def test_cron_itself_runs_the_reset(tao: Site) -> None:
    before = servers(tao)
    path = "/etc/cron.d/carrel-tao"
    job = run_on(HOST, "cat", path)
    now = re.sub(r"(?m)^\d+ \d+ \* \* \*", "* * * * *", job)
    assert now != job
    try:
        # Another minute than the last reset's, which may be set for the next one: that would not be due again.
        passed = run_on(HOST, "date", "--date", "1 minute ago", "+%H:%M").strip()
        with settings(tao, at=passed, lead_seconds=0, notice_seconds=0):
            run_on(HOST, "tee", path, input_text=now)
            until(lambda: servers(tao) != before and state(tao)["result"] == "done", "cron resets")
    finally:
        run_on(HOST, "tee", path, input_text=job)
    whole(tao)


def test_the_playbook_resets_the_named_instances(play: Play, tao: Site, atlas: Site) -> None:
    def run(*arguments: str, **variables: str) -> tuple[int, int, str]:
        done = play(HOST, lambda instances: None, *arguments, playbook="playbooks/reset.yml", **variables)
        return done.code, done.changed, done.output

    before = {site.name: servers(site) for site in (tao, atlas)}
    code, changed, output = run("--check", jupyter_instances_only="tao")
    assert code == 0 and servers(tao) == before["tao"], output
    code, changed, output = run(jupyter_instances_only="tao", jupyter_reset_people="ignore")
    assert code == 0 and changed > 0, output
    assert servers(tao) != before["tao"] and servers(atlas) == before["atlas"]
    code, changed, output = run(jupyter_instances_only="taoo")
    assert code != 0 and changed == 0 and "did you mean" in output


def test_the_status_of_all(play: Play, tao: Site, tmp_path: Path) -> None:
    page = tmp_path / "status.html"
    run = play(HOST, playbook="playbooks/status.yml", jupyter_status_html=str(page))
    assert run.code == 0
    text = page.read_text()
    for name in ("tao", "atlas"):
        assert name in run.output and name in text
    assert "<table" in text and "src=" not in text
    assert hostvars()[HOST]["jupyter_instances"][0]["password"] not in text + run.output
