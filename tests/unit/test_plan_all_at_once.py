# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All problems come at once: several faults bring the messages of each, and what a message advises is accepted."""

from __future__ import annotations

import copy
import re
import time
from typing import Any, NamedTuple

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problem
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_helpers import HOST, hub, lab, plan

OIDC = {
    "type": "oidc", "client_id": "hub", "client_secret": "SECRET", "authorize_url": "https://id.example.org/auth",
    "token_url": "https://id.example.org/token", "userdata_url": "https://id.example.org/me",
}  # fmt: skip


def _good() -> dict[str, Any]:
    """An inventory that says a lot, and nothing wrong."""
    keys = {
        "user": "1000:100", "owner": "1000:100", "command": ["start.sh"], "environment": {"A": "b"}, "memory": "8G",
        "cpus": 2, "pids": 500, "notebooks": "/home/jovyan/work", "persist": {"conda": "/opt/conda"}, "port": 8810,
        "volumes": [{"source": "/data/maps", "target": "/maps"}, {"source": "/data/books", "target": "/books"}],
        "login": {"notice": "hello"}, "password": "SECRET-SECRET", "hsts_seconds": 0,
        "reset": {"at": "01:25", "timezone": "Europe/Berlin", "pull": True},
    }  # fmt: skip
    group = {"members": ["grace"], "admins": ["grace"], "mounts": [{"source": "groups/stat", "target": "stat"}]}
    people = [{"name": "ada", "groups": ["stat"]}, {"name": "grace", "password": "SECRET-SECRET"}, "eve"]
    return {
        "instances": [
            lab(**keys),
            lab(
                name="built", url="https://built.example.org/", image=..., build={"context": "lab", "args": {"A": "b"}}
            ),
            hub(users=people, groups={"stat": group}, limits={"memory": "1G", "swap": "1G"}, users_csv=["class.csv"]),
            hub(name="oidc", url="https://oidc.example.org/", authenticator=dict(OIDC), image={"declared": "stat"}),
        ],
        "images": [{"name": "stat", "build_args": {"A": "b"}}],
        "port_range": [8800, 9799],
        "files": {"/inventory/class.csv": "name,groups,memory\nbob,stat,1G\nzoe,,\n"},
        "current": HOST,
    }


class Fault(NamedTuple):
    where: str  # keys, by dots; those of two faults do not overlap
    value: Any
    advised: Any = None  # what the message says to write instead
    needs: tuple[str, ...] = ()  # further keys without which it would be no fault


LAB, BUILT, CLASS, LOGIN = "instances.0", "instances.1", "instances.2", "instances.3"
GONE = ...
FAULTS = [
    Fault(f"{LAB}.url", "tao.example.org/x", "https://tao.example.org/x"),
    Fault(f"{LAB}.url", "https://me:SECRET@a_b.example.org/"),
    Fault(f"{LAB}.url", "https://tao.example.org/%2e"),
    Fault(f"{LAB}.url", "https://straße.example/", "https://xn--strae-oqa.example/"),
    Fault(f"{LAB}.tls", GONE, "selfsigned", needs=("tls",)),
    Fault(f"{LAB}.tls", {"mode": "files", "certificate": "/c.pem"}),
    Fault(f"{LAB}.hsts", 0),
    Fault(f"{LAB}.user", 1000, "1000:100"),
    Fault(f"{LAB}.owner", "1000"),
    Fault(f"{LAB}.command.0", 7),
    Fault(f"{LAB}.environment.A", 0o22),
    Fault(f"{LAB}.environment.JUPYTER_TOKEN", "SECRET", GONE),
    Fault(f"{LAB}.environment.B-C", "x"),
    Fault(f"{LAB}.memory", "8 gigs", "8G"),
    Fault(f"{LAB}.cpus", 8, 4),
    Fault(f"{LAB}.pids", 1, 16),
    Fault(f"{LAB}.notebooks", "work"),
    Fault(f"{LAB}.persist.conda", "/home/jovyan/work", needs=(f"{LAB}.notebooks",)),
    Fault(f"{LAB}.persist.x/y", "/opt/x"),
    Fault(f"{LAB}.volumes.0.source", "data"),
    Fault(f"{LAB}.volumes.0.target", "/home/jovyan/work", needs=(f"{LAB}.notebooks", f"{LAB}.persist.conda")),
    Fault(f"{LAB}.volumes.1.target", "/maps", needs=(f"{LAB}.volumes.0.target",)),
    Fault(f"{LAB}.volumes.1.read_only", "yes", True),
    Fault(f"{LAB}.reset.at", "25:00", "01:25"),
    Fault(f"{LAB}.reset.at", 685, "11:25"),
    Fault(f"{LAB}.reset.timezone", "new york", "America/New_York"),
    Fault(f"{LAB}.reset.rotate_token", True, GONE),
    Fault(f"{LAB}.reset.prune_days", -1, 0),
    Fault(f"{LAB}.port", 8900, GONE),
    Fault(f"{LAB}.token_file", "/srv/tokens/tao", GONE),
    Fault(f"{LAB}.login", {"notice": "a", "template": "missing.html"}),
    Fault(f"{LAB}.proxy", {"websocket": "ws"}, {"websocket": "upgrade"}),
    Fault(f"{LAB}.idel_shutdown_seconds", -1),
    Fault(f"{LAB}.users", ["ada"], GONE),
    Fault(f"{BUILT}.name", "Built Lab", "built-lab"),
    Fault(f"{BUILT}.url", "https://tao.example.org/", needs=(f"{LAB}.url", f"{LAB}.tls")),
    Fault(f"{BUILT}.kind", "labb", "lab"),
    Fault(f"{BUILT}.build.context", "missing"),
    Fault(f"{BUILT}.build.args.A", 3.1),
    Fault(f"{BUILT}.build.dockerfile", "../x"),
    Fault(f"{BUILT}.image", "lab:1", GONE),
    Fault(f"{BUILT}.pull", "always", GONE),
    Fault(f"{BUILT}.reset", {"pull": True, "people": "kill"}),
    Fault(f"{BUILT}.engine", "root"),
    Fault(f"{CLASS}.users.0.name", "Ada Lovelace", "ada-lovelace"),
    Fault(f"{CLASS}.users.0.groups.0", "sta", "stat"),
    Fault(f"{CLASS}.users.1.password", "short"),
    Fault(f"{CLASS}.users.1.admin", "yes", True),
    Fault(f"{CLASS}.users.2", "Eve", "eve"),
    Fault(f"{CLASS}.users.2", " Eve ", "eve"),
    Fault(f"{CLASS}.users.2", 7),
    Fault(f"{CLASS}.blocked_users", ["X"], ["x"]),
    Fault(f"{CLASS}.groups.stat.admins.0", "gracee", "grace"),
    Fault(f"{CLASS}.groups.stat.memory", "lots", "8G"),
    Fault(f"{CLASS}.groups.stat.mounts.0.source", "/etc"),
    Fault(f"{CLASS}.groups.a/b", {"members": ["grace"]}),
    Fault(f"{CLASS}.limits.memory", GONE),
    Fault(f"{CLASS}.limits.pids", 1, 16),
    Fault(f"{CLASS}.persist", {"x": "/home/jovyan/work/x"}),
    Fault(f"{CLASS}.image", "lab"),
    Fault(f"{CLASS}.memory", "lots"),
    Fault(f"{CLASS}.environment", {"JUPYTERHUB_HOST": "x", "B": True}),
    Fault(f"{CLASS}.database", {"type": "mysql", "image": "db"}),
    Fault(f"{CLASS}.settings", {"themes": {}}),
    Fault(f"{CLASS}.targets", ["opt"], ["/opt/x"]),
    Fault(f"{CLASS}.shared", "yes", True),
    Fault("files./inventory/class.csv", "name,groups,memory\nbob,stat\nzoe,geo,\n"),
    Fault("files./inventory/class.csv", "name,grups,memory\nbob,stat,1 gig\nzoe,,\n"),
    Fault("files./inventory/class.csv", 'name,groups,memory\n"bob"x,stat,1G\nZoe,,\n'),
    Fault(f"{LOGIN}.authenticator.client_id", GONE),
    Fault(f"{LOGIN}.authenticator.token_url", "http://id.example.org/t"),
    Fault(f"{LOGIN}.authenticator.authorize_url", "id.example.org"),
    Fault(f"{LOGIN}.authenticator.type", "oidcc", "oidc"),
    Fault(f"{LOGIN}.users.1", {"name": "grace", "password": "SECRET-SECRET"}),
    Fault(f"{LOGIN}.image.declared", "sta", "stat"),
    Fault(f"{LOGIN}.image.declared", "geo"),
    Fault("images.0.build_args.A", True),
    Fault("images.0.folder", "missing"),
    Fault("port_range", [9000, 8000], [8000, 9000]),
    Fault("port_range", [1, "x"], [8000, 9000]),
    Fault("tls", "letsencrypt", "acme"),
]  # fmt: skip


def _change(inputs: Any, where: str, value: Any) -> None:
    place, last = inputs, where
    if where.startswith("files."):
        place, last = inputs["files"], where.removeprefix("files.")
    else:
        *way, last = where.split(".")
        for key in way:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    if isinstance(place, list):
        place[int(last)] = value
    elif value is GONE:
        place.pop(last, None)
    else:
        place[last] = value


def _with(changes: list[tuple[str, Any]]) -> dict[str, Any]:
    inputs = _good()
    for where, value in changes:
        _change(inputs, where, copy.deepcopy(value))
    return inputs


def _problems(inputs: dict[str, Any]) -> list[Problem]:
    _result, problems = plan(inputs["instances"], **{key: item for key, item in inputs.items() if key != "instances"})
    return problems


def _texts(problems: list[Problem]) -> set[str]:
    """Without the names in paths, which are there only if they are good."""
    return {re.sub(r"(jupyter_instances\[\d+\]) \([a-z0-9-]+\)", r"\1", str(problem)) for problem in problems}


ALONE = {index: _texts(_problems(_with([(fault.where, fault.value)]))) for index, fault in enumerate(FAULTS)}


def _apart(chosen: list[int]) -> list[int]:
    """Those whose keys do not overlap."""
    kept: list[int] = []
    for index in chosen:
        if not any(_touch(FAULTS[index], FAULTS[one]) for one in kept):
            kept.append(index)
    return kept


def _touch(one: Fault, two: Fault) -> bool:
    """Whether one of them changes what the other is about."""
    pairs = [(first, second) for first in (one.where, *one.needs) for second in (two.where, *two.needs)]
    return any(f"{first}.".startswith(f"{second}.") or f"{second}.".startswith(f"{first}.") for first, second in pairs)


def test_nothing_is_wrong_without_a_fault() -> None:
    assert _problems(_good()) == []
    assert all(ALONE.values()), [FAULTS[index] for index, texts in ALONE.items() if not texts]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(range(len(FAULTS))), unique=True, min_size=2, max_size=12).map(_apart))
def test_several_faults_bring_the_messages_of_each(chosen: list[int]) -> None:
    found = _texts(_problems(_with([(FAULTS[index].where, FAULTS[index].value) for index in chosen])))
    assert found == set().union(*(ALONE[index] for index in chosen))


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.advised is not None], ids=lambda fault: fault.where
)
def test_advice_is_accepted(fault: Fault) -> None:
    if isinstance(fault.advised, str):
        (message, *_more) = _texts(_problems(_with([(fault.where, fault.value)])))
        assert re.sub(r"^https://|/$", "", fault.advised) in message
    left = _problems(_with([(fault.where, fault.advised)]))
    assert left == []


@pytest.mark.parametrize(
    "engines",
    [{"a": "b", "b": "c"}, {"a": "b", "b": "c", "c": "d"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "a"}],
)
def test_advice_about_engines_is_accepted_at_once(engines: dict[str, str]) -> None:
    def instances() -> list[dict[str, Any]]:
        names = sorted({*engines, *engines.values()})
        return [lab(name=name, url=f"https://{name}.example.org/", engine=engines.get(name)) for name in names]

    _result, problems = plan(instances())
    assert {problem.id for problem in problems} == {"engine_chain"}
    for problem in problems:
        engines[problem.path.partition("(")[2][0]] = problem.message.rpartition(" ")[2]
    assert plan(instances())[1] == []


def test_an_unreadable_list_of_many_costs_no_time() -> None:
    names = [f"User{number}" for number in range(2000)]
    started = time.process_time()
    _result, problems = plan([hub(users=names, groups={"all": {"members": [name.lower() for name in names]}})])
    assert len(problems) == 2000 and time.process_time() - started < 3
