# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches of hosts, and chosen instances: decisions, and how site.yml applies them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import rollout
from plan_helpers import HOST, good, host, hub, lab, plan, two
from test_plan_action import AWAY, HERE, run

from testbed import ssh

ROOT = Path(__file__).parents[2]
GROUPS = {"all": ["a", "b", "c", "d", "e"], "early": ["c", "d"], "ungrouped": []}


def decided(hosts: str = "abcde", **keys: Any) -> rollout.Rollout:
    declared = good([lab()], rollout=keys)
    return rollout.decide(dict.fromkeys(hosts, declared), GROUPS)


def test_without_a_rollout_all_go_at_once() -> None:
    plans = dict.fromkeys("ab", good([lab()]))
    assert rollout.decide(plans, GROUPS) == rollout.Rollout(["a", "b"], ["!all"], [0], 100, 0, None)


def test_without_instances_nobody_goes() -> None:
    assert rollout.decide({}, GROUPS) == rollout.Rollout(["!all"], ["!all"], [0], 100, 0, None)


def test_canaries_go_first() -> None:
    found = decided(canaries=["e", "early"], batch="30%", max_failures="10%", pause_seconds=5)
    assert found == rollout.Rollout(["c", "d", "e", "a", "b"], ["!all"], [3, 1], 10, 5, ["c", "d", "e"])


def test_hubs_after_the_first_batch_get_access_before_it() -> None:
    keys = {"rollout": {"canaries": ["c"], "batch": 1}}
    plans = {**dict.fromkeys("abc", good([hub()], **keys)), "d": good([lab()], **keys)}
    assert rollout.decide(plans, GROUPS).access == ["a", "b"]
    assert rollout.decide({"c": plans["c"]}, GROUPS).access == ["!all"]
    assert rollout.decide({"a": good([hub()]), "b": good([hub()])}, GROUPS).access == ["!all"]


def test_a_batch_has_one_host_at_least() -> None:
    assert decided(batch="1%").serial == [1]
    assert decided(batch=2).serial == [2]
    assert decided().serial == [5]


def test_canaries_that_are_left_out_of_a_run_are_no_mistake() -> None:
    without = decided("ab", canaries=["early"], batch=1)
    assert without == rollout.Rollout(["a", "b"], ["!all"], [1], 0, 0, [])
    assert "Batch 1 of 2: a. None of the canaries is in this run. If" in rollout.begin(without._asdict(), "a", [], {})
    assert "canaries" not in rollout.begin(without._asdict(), "b", [], {}), "once is enough"
    assert "canaries" not in rollout.begin(decided("ab", batch=1)._asdict(), "a", [], {}), "there are none"
    assert decided("cd", canaries=["early"], batch=1).serial == [2]


def test_a_canary_that_no_host_has() -> None:
    with pytest.raises(ValueError, match="no host and no group 'erly'; did you mean early"):
        decided(canaries=["erly"])


def test_a_group_of_canaries_without_hosts() -> None:
    """As of a dynamic inventory that found none: all would go at once."""
    with pytest.raises(ValueError, match="canaries: ungrouped has no hosts"):
        decided(canaries=["ungrouped"])
    assert decided(canaries=["ungrouped", "a"]).canaries == ["a"]


def test_a_rollout_is_the_same_for_all() -> None:
    with pytest.raises(ValueError, match=r"another for b than for a; write it in group_vars/all"):
        rollout.decide({"a": good([lab()], rollout={"batch": 1}), "b": good([lab()])}, GROUPS)


@pytest.mark.parametrize("batch", [0, -1, "0%", "101%", "some", True, 1.5, []])
def test_a_batch_of_nothing(batch: Any) -> None:
    _none, (problem,) = plan([lab()], rollout={"batch": batch})
    assert problem.path == "jupyter_rollout.batch" and "a number of hosts from 1" in problem.message


def test_a_batch_with_failures() -> None:
    chosen = decided(canaries=["a"], batch=2, max_failures="50%")._asdict()
    assert rollout.outcome(chosen, "b", [], {}, {}) == ""
    assert rollout.outcome(chosen, "b", ["a"], {}, {}) == ""  # of a batch before
    within = rollout.outcome(chosen, "c", ["b"], {}, {})
    assert "b failed, 1 of 2 hosts" in within and within.endswith(
        "For the failed hosts after the canaries: --limit a,b"
    )
    assert not rollout.stops(chosen, "c", ["b"])
    beyond = rollout.outcome(chosen, "c", ["b", "c"], {}, {})
    assert "the rollout stops, 2 hosts stay as they are" in beyond and beyond.endswith(
        "For the rest after the canaries: --limit a,b,c,d,e"
    )
    assert rollout.stops(chosen, "c", ["b", "c"]) and rollout.stops(chosen, "a", ["a"])
    assert not rollout.stops(rollout.Rollout(["a"], ["!all"], [0], 100, 0, None)._asdict(), "a", ["a"])
    assert rollout.outcome(chosen, "d", ["b", "e"], {}, {}).endswith("--limit a,b,e")


def test_before_a_batch_it_is_said_how_to_go_on_without_its_hosts() -> None:
    chosen = decided(canaries=["a"], batch=2, max_failures="50%")._asdict()
    first = rollout.begin(chosen, "a", [], {})
    assert first.startswith("Batch 1 of 3: a. If the run ends") and first.endswith(
        "For the rest alone: --limit a,b,c,d,e"
    )
    last = rollout.begin(chosen, "e", ["b"], {"d": "build"})
    assert last.startswith("Batch 3 of 3: d, e. ") and last.endswith("after the canaries: --limit a,b,d,e,build")
    assert rollout.begin(rollout.Rollout(["a"], ["!all"], [0], 100, 0, None)._asdict(), "a", [], {}).startswith(
        "Batch 1 of 1"
    )


def test_the_advice_names_the_host_that_builds_images() -> None:
    chosen = decided(batch=2, max_failures="50%")._asdict()
    builders = {"a": "", "b": "build", "c": "build", "d": "build", "e": "build"}
    assert rollout.outcome(chosen, "a", ["a"], builders, {}).endswith("--limit a")
    assert rollout.outcome(chosen, "a", ["b"], builders, {}).endswith("--limit b,build")
    assert rollout.outcome(chosen, "a", ["a", "b"], builders, {}).endswith("--limit a,b,c,d,e,build")


def test_a_batch_that_failed_as_a_whole_stops_the_rollout_whatever_the_limit() -> None:
    chosen = decided("abc", batch=1, max_failures="100%")._asdict()
    assert rollout.stops(chosen, "a", ["a"]) and not rollout.stops(chosen, "c", ["c"]), "nobody is left"
    assert "That is the whole batch: the rollout stops, 2 hosts stay" in rollout.outcome(chosen, "a", ["a"], {}, {})


@pytest.mark.parametrize(
    ("access", "stay"),
    [
        ({}, "2 hosts stay as they are."),
        ({"a": True, "b": "", "c": ""}, "2 hosts stay as they are."),
        ({"a": "", "b": True, "c": ""}, "2 hosts stay as they are, except for access to hubs."),
        (
            {"a": "", "b": False, "c": True},
            "2 hosts stay as they are, except for access to hubs, which could not be updated on b.",
        ),
        ({"b": False, "c": False}, "as they are, except for access to hubs, which could not be updated on b, c."),
    ],
)
def test_what_a_rollout_that_stops_has_changed_all_the_same(access: dict[str, bool | str], stay: str) -> None:
    chosen = decided("abc", batch=1)._asdict()
    assert f"{stay} Correct what is reported" in rollout.outcome(chosen, "a", ["a"], {}, access)


def test_one_host_stays_as_it_is() -> None:
    chosen = decided("ab", batch=1)._asdict()
    assert "the rollout stops, 1 host stays as it is. Correct" in rollout.outcome(chosen, "a", ["a"], {}, {})


def test_chosen_instances_leave_the_host_as_it_is() -> None:
    both = two({}, {"name": "geo", "url": "https://geo.example.org/"})
    whole, chosen = good(both), good(both, only=["geo"])
    assert [item["name"] for item in chosen["lab_instances"]] == ["geo"]
    assert [item["name"] for item in chosen["reset_jobs"]] == ["geo"]
    assert [item["name"] for item in chosen["backup_jobs"]] == ["geo"]
    for kept in ("apache_vhosts", "engine_ports", "rootless_docker_engines", "instances"):
        assert chosen[kept] == whole[kept]


def test_instances_that_are_left_out_are_as_they_run() -> None:
    there = {"engine": "tao", "port": 8850, "url": "https://tao.example.org/", "state": "present", "second_port": 8801}
    both = two({"memory": "1G"}, {})
    vhosts = good(both, only=["geo"], current=host(instances={"tao": there}))["apache_vhosts"]
    (kept,) = (vhost["locations"][0] for vhost in vhosts if vhost["server_name"] == "tao.example.org")
    assert (kept["backend"], kept["second"]["backend"]) == ("http://127.0.0.1:8850", "http://127.0.0.1:8801")
    changed = two({"port": 8860, "state": "held"}, {})
    assert plan(changed, only=["geo"], current=host(instances={"tao": there}))[0] is None
    assert good(changed, only=["tao", "geo"], current=host(instances={"tao": there}))
    assert good(two({"state": "absent"}, {}), only=["geo"], current=HOST), "gone is gone"


def site(
    folder: Path, hosts: dict[str, Any], *arguments: str, playbook: Path = ROOT / "playbooks/site.yml"
) -> tuple[int, str]:
    """site.yml as far as it only reads: with a tag that no task has. Variables that are `...` are left out."""
    absent = {"jupyter_instances": [{"name": "tao", "state": "absent"}]}
    shown = {
        name: {key: value for key, value in {**absent, **keys}.items() if value is not ...}
        for name, keys in hosts.items()
    }
    done = run(folder, shown, playbook, "--tags", "reads_only", "-f", "2", *arguments)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def gone_through(said: str) -> list[str]:
    reading = said.partition("TASK [Read what is on the host]")[2].partition("PLAY RECAP")[0]
    return sorted(set(re.findall(r"(?:ok|fatal): \[(\w+)\]", reading)))


def test_a_broken_canary_stops_the_rollout_with_advice(tmp_path: Path) -> None:
    keys = {"jupyter_rollout": {"canaries": ["h3", "h4"], "batch": 1}}
    hosts = {"h1": {**HERE, **keys}, "h2": {**HERE, **keys}, "h3": {**AWAY, **keys}, "h4": {**HERE, **keys}}
    code, said = site(tmp_path, hosts)
    assert code and gone_through(said) == ["h3", "h4"]
    assert "h3 failed, 1 of 2 hosts in this batch. That is more than 0%: the rollout stops" in said
    assert "2 hosts stay as they are. Correct" in said, "there are no hubs"
    assert "For the rest after the canaries: --limit h4,h3,h1,h2" in said


def test_hosts_go_in_batches_and_failures_within_the_limit_stop_nobody(tmp_path: Path) -> None:
    keys = {"jupyter_rollout": {"canaries": ["h3"], "batch": 2, "max_failures": "50%"}}
    hosts = {"h1": {**HERE, **keys}, "h2": {**AWAY, **keys}, "h3": {**HERE, **keys}}
    code, said = site(tmp_path, hosts)
    assert code and gone_through(said) == ["h1", "h2", "h3"]
    assert said.count("PLAY [Set up the instances]") == 2
    first = said.partition("PLAY [Set up the instances]")[2].partition("PLAY [Set up the instances]")[0]
    assert "[h3]" in first and "[h1]" not in first
    assert "h2 failed, 1 of 2 hosts in this batch" in said and "--limit h3,h2" in said


NONE = {"jupyter_instances": ...}


def test_a_host_without_instances_is_in_no_batch(tmp_path: Path) -> None:
    keys = {"jupyter_rollout": {"canaries": ["h1", "h2"], "batch": 1}}
    hosts = {"h1": {**HERE, **keys}, "h2": {**HERE, **keys, **NONE}, "h3": {**HERE, **keys}}
    code, said = site(tmp_path, hosts)
    assert code == 0 and gone_through(said) == ["h1", "h3"] and "failed," not in said
    dead = {**hosts, "h1": {**AWAY, **keys}}
    code, said = site(tmp_path, dead)
    assert code and "UNREACHABLE" in said and gone_through(said) == ["h1"], "h2 does not hide the dead canary"


def test_hosts_without_instances_alone_are_no_run_over_all(tmp_path: Path) -> None:
    hosts = {"h1": {**HERE, "jupyter_rollout": {"batch": 1}}, "h2": {**HERE, **NONE}}
    code, said = site(tmp_path, hosts, "-e", "jupyter_hosts=h2")
    assert code == 0 and gone_through(said) == []


def test_a_batch_that_failed_as_a_whole_is_reported(tmp_path: Path) -> None:
    keys = {"jupyter_rollout": {"batch": 1, "max_failures": "100%"}}
    failed = {"__jupyter_failures": [{"task": "Set up Apache", "message": "broken"}]}
    code, said = site(tmp_path, {"h1": {**HERE, **keys, **failed}, "h2": {**HERE, **keys}})
    assert code and gone_through(said) == ["h1"]
    assert "h1 failed, 1 of 1 hosts in this batch. That is the whole batch: the rollout stops, 1 host stays" in said


@pytest.mark.parametrize(
    ("keys", "done", "advice"),
    [
        ({"batch": 2, "max_failures": "50%"}, ["h2", "h3"], "For the failed hosts alone: --limit h1"),
        # Alone in its batch: nobody is left who could say it afterwards.
        ({"canaries": ["h2"], "batch": 1}, ["h2"], "For the rest after the canaries: --limit h2,h1,h3"),
        ({"batch": 2, "canaries": ["h2", "h3"]}, ["h2", "h3"], "For the rest after the canaries: --limit h2,h3,h1"),
    ],
)
def test_a_host_that_is_lost_in_the_middle_is_one_failure(
    tmp_path: Path, keys: dict[str, Any], done: list[str], advice: str
) -> None:
    rollout_keys = {"jupyter_rollout": keys}
    # The second call is in the middle: the task Read what is on the host now.
    lost = {**HERE, **ssh.breaks("sh -c", 2, tmp_path), **rollout_keys}
    code, said = site(tmp_path, {"h1": lost, "h2": {**HERE, **rollout_keys}, "h3": {**HERE, **rollout_keys}})
    assert code and gone_through(said) == sorted({"h1", *done})
    assert "fatal: [h1]: UNREACHABLE!" in said.partition("TASK [Read what is on the host now]")[2]
    ends = re.findall(r"TASK \[Record whether this host failed\] (.*?) (?:TASK|PLAY)", said)
    assert sorted(re.findall(r"ok: \[(h\d)\]", " ".join(ends))) == done
    assert advice in re.findall(r"For the [a-z ]+: --limit [h0-9,]+", said)


WRAPPED = """
- hosts: all
  gather_facts: false
  tasks: [{{fail: {{msg: lost}}, when: inventory_hostname == "h1", tags: [always]}}]
- import_playbook: {site}
"""


@pytest.mark.parametrize("batches", [True, False])
def test_a_host_that_failed_in_an_earlier_play_is_left_out_or_stops_the_rollout(tmp_path: Path, batches: bool) -> None:
    """As in a playbook that builds images first."""
    keys = {"jupyter_rollout": {"canaries": ["h1"], "batch": 1}} if batches else {}
    hosts = {name: {**HERE, **keys} for name in ("h1", "h2", "h3")}
    (tmp_path / "wrapped.yml").write_text(WRAPPED.format(site=ROOT / "playbooks/site.yml"))
    code, said = site(tmp_path, hosts, playbook=tmp_path / "wrapped.yml")
    assert code
    if batches:
        assert "h1 failed earlier in this run, so the rollout does not begin" in said and gone_through(said) == []
    else:
        assert gone_through(said) == ["h2", "h3"] and "has no attribute" not in said


def test_what_to_do_next_is_said_once(tmp_path: Path) -> None:
    keys = {"jupyter_rollout": {"batch": 2, "max_failures": "50%"}}
    hosts = {"h1": {**AWAY, **keys}, **{name: {**HERE, **keys} for name in ("h2", "h3", "h4")}}
    _code, said = site(tmp_path, hosts)
    assert gone_through(said) == ["h1", "h2", "h3", "h4"] and "msg: ''" not in said
    assert said.count("h1 failed, 1 of 2 hosts in this batch") == 1


def test_a_pause_may_be_longer_than_the_limit_of_a_task(tmp_path: Path) -> None:
    (play,) = (play for play in yaml.safe_load((ROOT / "playbooks" / "site.yml").read_text()) if "serial" in play)
    kept = ("gather_facts", "serial", "vars")
    (task,) = (task for task in play["pre_tasks"] if "ansible.builtin.pause" in task)
    pause = {**{key: play[key] for key in kept}, "hosts": "all", "timeout": 1, "tasks": [task]}
    decision = {"hosts": "localhost", "gather_facts": False, "tasks": [
        {"ansible.builtin.set_fact": {"__jupyter_rollout": {"serial": [1], "pause_seconds": 3}}},
    ]}  # fmt: skip
    playbook = tmp_path / "pause.yml"
    playbook.write_text(yaml.safe_dump([decision, pause]), encoding="utf-8")
    done = run(tmp_path, {"h1": HERE, "h2": HERE}, playbook)
    assert done.returncode == 0 and "Pausing for 3 seconds" in done.stdout, done.stdout + done.stderr


def test_people_who_are_blocked_do_not_wait_for_a_canary(tmp_path: Path) -> None:
    keys = {"jupyter_rollout": {"canaries": ["h1"], "batch": 1}, "jupyter_instances": [hub(tls="selfsigned")]}
    hosts = {"h1": {**AWAY, **keys}, "h2": {**HERE, **keys}, "h3": {**AWAY, **keys}}
    done = run(tmp_path, hosts, ROOT / "playbooks/site.yml", "--check", "--tags", "hub_configure")
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode and re.search(r"Access \| Update access to the deployed hubs\] \*+ ok: \[h2\]", said)
    assert gone_through(said) == ["h1"], "the canary stops the rest"


def test_access_that_cannot_be_updated_is_reported_even_if_the_rollout_stops(tmp_path: Path) -> None:
    (tmp_path / "class101").mkdir()
    (tmp_path / "class101" / "hub").symlink_to(tmp_path)
    there = {"name": "class101", "directory": f"{tmp_path}/class101", "roster": "", "mounts": "{}"}
    broken = {"__hub_access_there": {"hubs": [{**there, "owner": 1, "group": 1}], "passwords": {}}}
    rollout_keys = {"jupyter_rollout": {"canaries": ["h1"], "batch": 1}}
    keys = {**rollout_keys, "jupyter_instances": [hub(tls="selfsigned")]}
    canary = {"__jupyter_failures": [{"task": "Set up Apache", "message": "broken"}], **rollout_keys}
    hosts = {"h1": {**HERE, **canary}, "h2": {**HERE, **keys}, "h3": {**AWAY, **keys}}
    code, said = site(tmp_path, hosts, "--check", "--tags", "hub_configure")
    assert code and gone_through(said) == ["h1"], "the canary stops the rest"
    assert "2 hosts stay as they are, except for access to hubs, which could not be updated on h3. Correct" in said
    code, said = site(tmp_path, hosts, "--check", "--tags", "hub_configure", "-e", json.dumps(broken))
    assert code and gone_through(said) == ["h1"]
    reported = said.partition("TASK [Report hubs whose access could not be updated]")[2].partition("PLAY [")[0]
    assert "1 of 1 instances of kind hub on h2 failed" in reported and "...ignoring" in reported
    assert f"{tmp_path}/class101/hub is a symbolic link" in reported
    assert "2 hosts stay as they are, except for access to hubs, which could not be updated on h2, h3. Correct" in said


def test_bad_input_touches_nothing(tmp_path: Path) -> None:
    for keys, arguments, message in (
        ({"jupyter_rollout": {"canaries": ["h9"]}}, (), "no host and no group 'h9'"),
        ({}, ("-e", "jupyter_instances_only=tao,goe"), "no instance is called 'goe'"),
    ):
        code, said = site(tmp_path, {"h1": {**HERE, **keys}}, *arguments)
        assert code and message in said and "Nothing was touched" in said
        assert "Read what is on the host" not in said


def test_the_filters_are_loaded_once_and_not_by_each_task() -> None:
    """Ansible loads those of a collection in the process that first uses one; each task has a process of its own."""
    (play,) = (play for play in yaml.safe_load((ROOT / "playbooks" / "site.yml").read_text()) if "serial" in play)
    assert "| carrel.jupyter._" in play["serial"]
