# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role reset installs, and what the playbook says; the module is in test_instance_reset.py."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import filled
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.reset import RESET
from ansible_collections.carrel.jupyter.plugins.module_utils._site import reset
from carrel_reset import settings
from carrel_reset.schedule import due
from hypothesis import given
from hypothesis import strategies as st

DOCUMENT = Path(__file__).parents[2] / "docs" / "howto" / "reset.md"
PACKAGE = {"__init__.py": "", "run.py": "text"}
ENGINES = {"tao": {"uid": 1001, "gid": 1002, "socket": "/run/user/1001/docker.sock"}, "new": {"uid": None, "gid": None}}
JOB: dict[str, Any] = {
    "name": "tao", "kind": "lab", "state": "present", "engine": "tao", "directory": "/srv/tao",
    "url": "https://example.org/tao/", "base_url": "/tao/", "ports": [8801, 8802], "images": ["lab:1"],
    "notebooks": "/home/jovyan/work", "at": "01:25", "timezone": None, "spread_minutes": 0, "pull": True,
    "pull_timeout_seconds": 1800, "people": "wait", "deadline_seconds": 3600, "notice_seconds": 300,
    "drain_seconds": 10, "start_timeout_seconds": 120, "rotate_token": False, "token_file": "/srv/tao/token",
    "prune_days": 14,
    "before": None,
    "after": None,
    "command_seconds": 300,
    "smoke_seconds": 0,
}  # fmt: skip
CRON_D, DAILY, SETTINGS = "/etc/cron.d/carrel-tao", "/etc/cron.daily/carrel-tao", "/etc/carrel/reset/tao.json"
TIME = re.compile(r"(\d+(?:,\d+)*) (\d+|\*) \* \* \* tao /usr/local/sbin/carrel-reset tao --scheduled")

times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
hosts = st.text("abc.123", min_size=1, max_size=12)


def install(host: str = "h1", mailto: str = "root", **changes: Any) -> dict[str, Any]:
    return reset.install([{**JOB, **changes}], ENGINES, (), host, mailto, "program", PACKAGE)


def files(installed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {file["path"]: file for file in installed["files"]}


def written(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(files(install(**changes))[SETTINGS]["content"])
    return content


@pytest.mark.parametrize("mailto", ["", "root", "ops@example.org", "root,a.b+c@mail.example.org", "_x=y"])
def test_who_gets_crons_mail(mailto: str) -> None:
    assert f'MAILTO="{mailto}"\n' in files(install(mailto=mailto))[CRON_D]["content"]


@pytest.mark.parametrize(
    "mailto",
    [
        "root\n* * * * * root id",
        "root\n",
        'root"',
        "-X/etc/passwd",
        "root, ada",
        "a b",
        ",",
        "root,",
        ",root",
        "a@",
        "a@-b",
        "ä@x",
        "%",
    ],
)
def test_an_invalid_mailto_is_refused(mailto: str) -> None:
    with pytest.raises(ValueError, match="reset_mailto is"):
        install(mailto=mailto)


def test_how_long_a_reset_may_be_at_work() -> None:
    assert reset.longest({}) == reset.longest(JOB) == 2050
    assert reset.longest({**JOB, "pull_timeout_seconds": 60, "deadline_seconds": 7200}) == 310
    assert reset.longest({**JOB, "smoke_seconds": 300}) == 2350
    hub = {**JOB, "smoke_seconds": 300, "kind": "hub", "images": ["a:1", "b:1"]}
    assert reset.longest(hub) == 2350 - 300 + 2 * (300 + reset.TRIAL_SECONDS)


def cron(**changes: Any) -> tuple[list[int], str]:
    """Minutes and hour of the job."""
    last = files(install(**changes))[CRON_D]["content"].splitlines()[-1]
    match = TIME.fullmatch(last)
    assert match, last
    return [int(minute) for minute in match[1].split(",")], match[2]


def test_the_commands_around_a_reset_are_waited_for() -> None:
    commands = {"before": ["a"], "after": ["b"], "command_seconds": 60}
    assert reset.longest({**JOB, **commands}) == 2050 + 120
    assert reset.longest({**JOB, **commands, "before": []}) == 2050 + 60


def test_the_program_and_its_package() -> None:
    found = files(install())
    assert found["/usr/local/sbin/carrel-reset"] == {
        "path": "/usr/local/sbin/carrel-reset", "content": "program", "mode": "0755",
    }  # fmt: skip
    assert found["/usr/local/lib/carrel/carrel_reset/run.py"]["content"] == "text"


def test_what_came_before_is_removed() -> None:
    assert {"/usr/local/lib/carrel/reset.py", "/srv/tao/reset.json"} <= set(install()["absent"])


def test_the_state_directory_is_the_accounts() -> None:
    assert install()["directories"] == [{"path": "/var/lib/carrel/tao/reset", "owner": 1001, "group": 1002}]


@pytest.mark.parametrize(
    ("changes", "stays"),
    [
        ({}, {SETTINGS, CRON_D}),
        ({"timezone": "Europe/Berlin"}, {SETTINGS, CRON_D}),
        ({"at": "daily"}, {SETTINGS, DAILY}),
        ({"at": None}, {SETTINGS}),
        ({"state": "held"}, {SETTINGS}),
        ({"state": "held", "at": "daily"}, {SETTINGS}),
        ({"state": "absent", "url": None, "ports": []}, set()),
    ],
)
def test_unwanted_files_are_removed(changes: dict[str, Any], stays: set[str]) -> None:
    installed = install(**changes)
    assert {SETTINGS, CRON_D, DAILY} & set(files(installed)) == stays
    assert {SETTINGS, CRON_D, DAILY} & set(installed["absent"]) == {SETTINGS, CRON_D, DAILY} - stays


def test_an_instance_whose_engine_is_missing_is_left_out() -> None:
    for engine in ("new", "unheard-of"):
        installed = install(engine=engine)
        assert installed["without_engine"] == ["tao"]
        assert not {SETTINGS, CRON_D} & {*files(installed), *installed["absent"]}


def test_an_absent_instance_needs_no_engine() -> None:
    assert install(state="absent", engine="unheard-of")["without_engine"] == []


def test_the_program_accepts_the_settings() -> None:
    for changes in ({}, {"kind": "hub", "ports": [8803], "token_file": None}, {"at": None}, {"state": "held"}):
        content = written(**changes)
        assert settings.problems(content) == []
        assert set(content) - {"version", "account", "socket", "state_directory", "compose_files", "lead_seconds"} == (
            set(JOB) - {"state"}
        )


def test_the_settings_say_where_things_are() -> None:
    content = written()
    assert (content["account"], content["socket"]) == ("tao", "/run/user/1001/docker.sock")
    assert content["state_directory"] == "/var/lib/carrel/tao/reset"
    assert content["compose_files"] == ["/srv/tao/compose.yaml", "/srv/tao/login/compose.yaml"]
    assert written(kind="hub")["compose_files"] == ["/srv/tao/compose.yaml"]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"notice_seconds": 0}, ([25], "1")),
        ({}, ([20], "1")),
        ({"notice_seconds": 301}, ([19], "1")),
        ({"at": "00:04"}, ([59], "23")),
        ({"at": "00:00", "notice_seconds": 0}, ([0], "0")),
        ({"at": "09:08", "notice_seconds": 90000}, ([8], "8")),  # more than a day
        ({"timezone": "Asia/Kathmandu"}, ([5, 20, 35, 50], "*")),
        ({"timezone": "Europe/Berlin", "at": "00:04"}, ([14, 29, 44, 59], "*")),
    ],
)
def test_cron_starts_it_early(changes: dict[str, Any], wanted: tuple[list[int], str]) -> None:
    assert cron(**changes) == wanted


@given(times, hosts, st.integers(0, 180), st.integers(0, 7200))
def test_the_programs_lead_and_crons_time_agree(at: str, host: str, spread: int, notice: int) -> None:
    lead = written(host=host, at=at, spread_minutes=spread, notice_seconds=notice)["lead_seconds"]
    assert notice <= lead < notice + 60 * (spread + 1)
    (minutes, hour) = cron(host=host, at=at, spread_minutes=spread, notice_seconds=notice)
    start = datetime(2026, 6, 2, int(hour), minutes[0])
    assert f"{start + timedelta(seconds=lead):%H:%M}" == at


@given(times, st.sampled_from(["Europe/Berlin", "Asia/Kathmandu", "Australia/Adelaide", "UTC"]), hosts)
def test_with_a_zone_one_start_of_a_day_is_due(at: str, zone: str, host: str) -> None:
    changes = {"host": host, "at": at, "timezone": zone, "spread_minutes": 60}
    lead = written(**changes)["lead_seconds"]
    minutes, hour = cron(**changes)
    assert hour == "*"
    midnight = datetime(2026, 6, 2, tzinfo=timezone.utc)
    starts = [midnight + timedelta(hours=hours, minutes=minute) for hours in range(24) for minute in minutes]
    found = [slot for start in starts if (slot := due(start, at, zone, lead, None))]
    assert [f"{slot:%H:%M}" for slot in found] == [at]


def test_hosts_share_the_spread_evenly_and_always_in_the_same_way() -> None:
    leads = [written(host=f"lab{number}", spread_minutes=9, notice_seconds=0)["lead_seconds"] for number in range(200)]
    assert set(leads) == {60 * minute for minute in range(10)}
    assert max(leads.count(lead) for lead in set(leads)) < 40
    # a hash that Python salts would move the job at each run of the playbook
    assert leads[:4] == [240, 240, 180, 120]


def test_the_job_in_cron_d() -> None:
    content = files(install(mailto="ops@example.org"))[CRON_D]["content"]
    assert content.splitlines()[2:] == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        'MAILTO="ops@example.org"',
        "20 1 * * * tao /usr/local/sbin/carrel-reset tao --scheduled",
    ]


def test_the_job_in_cron_daily(tmp_path: Path) -> None:
    job = files(install(at="daily", spread_minutes=9, host="lab0"))[DAILY]
    assert job["mode"] == "0755"
    assert job["content"].splitlines()[2:] == ["sleep 240", "exec /usr/local/sbin/carrel-reset tao --scheduled"]
    assert written(at="daily", spread_minutes=9, host="lab0")["lead_seconds"] == 300
    assert "sleep" not in files(install(at="daily"))[DAILY]["content"]
    script = tmp_path / Path(DAILY).name
    script.write_text(job["content"])
    script.chmod(0o755)
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    listed = subprocess.run(["run-parts", "--test", tmp_path], capture_output=True, text=True, check=True).stdout
    assert listed.strip() == str(script)  # run-parts passes over names that it does not like


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, ["cron"]),
        ({"at": "daily"}, ["cron"]),
        ({"timezone": "Europe/Berlin"}, ["cron", "tzdata"]),
        ({"at": None}, []),
        ({"state": "held"}, []),
        ({"state": "absent"}, []),
    ],
)
def test_cron_is_there_only_for_jobs_with_a_time(changes: dict[str, Any], wanted: list[str]) -> None:
    assert reset.packages([{**JOB, **changes}]) == wanted


def test_the_report_has_a_line_for_each_instance() -> None:
    registered = {
        "results": [
            {"item": "a", "changed": True, "msg": "a was reset in 3 s"},
            {"item": "b", "skipped": True, "msg": "b is held and is left as it is"},
            {"item": "c", "put_off": True, "msg": "c was put off: a kernel is busy"},
            {"item": "d", "failed": True, "exit_code": 1, "msg": "no\nroom"},
            {"item": "e", "failed": True, "module_stderr": "Traceback"},
            {"item": "f", "unreachable": True, "msg": "no route"},
        ]
    }
    assert reset.report("h1", ["a", "b", "c", "d", "e", "f", "g"], registered) == [
        {"line": "h1: a was reset in 3 s", "failed": False},
        {"line": "h1: b is held and is left as it is", "failed": False},
        {"line": "h1: c was put off: a kernel is busy", "failed": False},
        {"line": "h1: d FAILED: it runs as before", "failed": True},
        {"line": "h1: e FAILED: see the message above", "failed": True},
        {"line": "h1: f NOT RESET: the host was not reached", "failed": True},
        {"line": "h1: g NOT RESET: the host was not reached", "failed": True},
    ]


def test_the_document_has_every_key_with_its_default() -> None:
    table = DOCUMENT.read_text().partition("## Keys")[2].partition("\n## ")[0]
    shown = {"None": "none", "False": "false"}
    wanted = {key: shown.get(str(value), str(value)) for key, value in filled(RESET, {}).items()}
    assert dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.MULTILINE)) == {**wanted, "timezone": "the host's"}


def test_the_document_has_every_exit_code() -> None:
    page = DOCUMENT.parents[1] / "reference" / "exit-codes.md"
    table = page.read_text().partition("## carrel-reset")[2].partition("\n## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d) \|", table, re.MULTILINE)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "damaged",
    ["", "[]", "{}", '{"healthy": 1}', '{"healthy": [1]}', "[" * 100_000, '{"healthy": [{"id": "../x"}, {"id": [1]}]}'],
)
def test_no_image_has_worked_by_a_damaged_state(damaged: str) -> None:
    assert reset.healthy(damaged) == []


def test_the_images_that_have_worked_are_each_named_once() -> None:
    one, other = (f"sha256:{letter * 64}" for letter in "ab")
    entries = [{"image": tag, "id": image_id} for tag, image_id in (("a:1", other), ("b:1", one), ("c:1", other))]
    assert reset.healthy(json.dumps({"healthy": entries})) == [one, other]
