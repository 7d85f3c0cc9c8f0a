# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every name, address, port, id and input."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.carrel.jupyter.plugins.filter.mapped_id import FilterModule
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.ids import mapped_id
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.defaults import KEYS as INSTANCE
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.names import read_name, reserved, taken
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.ports import allocate
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.reset import RESET
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.url import Url, read_url
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_helpers import HOST, host, lab, plan

NAMES = st.from_regex(r"\A[a-z][a-z0-9-]{0,6}[a-z0-9]\Z").filter(lambda name: not (reserved(name) or taken(name)))
NAME_LIKE = st.text("abz019-_.A \n", max_size=40) | st.text(max_size=10)
LABELS = st.from_regex(r"\A[a-z]([a-z0-9-]{0,8}[a-z0-9])?\Z")
SEGMENTS = st.from_regex(r"\A[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,8}\Z")
URL_LIKE = st.text("https:/.[]@%?#ab0-_\\ ü:ÄB~", max_size=40) | st.text(max_size=20)
PORTS = st.integers(8800, 8830)
RANGE = {"start": 165536, "count": 65536}


# The rest of the address is good.
SOME_PART_IS_LOST = ("url_scheme", "url_character", "url_userinfo", "url_query")


def url_of(text: Any) -> tuple[Any, Problems]:
    problems = Problems()
    return read_url(text, "url", problems), problems


@given(NAME_LIKE | NAMES)
def test_a_name_is_taken_or_refused_with_one_problem(name: str) -> None:
    problems = Problems()
    result = read_name(name, "name", problems)
    assert (result == name) == (not problems.items)
    assert len(problems.items) == (result is INVALID)
    if result == name:
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?", name)


@given(NAME_LIKE)
def test_a_suggested_name_is_a_good_one(name: str) -> None:
    problems = Problems()
    read_name(name, "name", problems)
    for problem in problems.items:
        if ", for example " in problem.message and problem.id == "name":
            assert read_name(problem.message.rpartition(" ")[2], "name", Problems()) is not INVALID


@settings(max_examples=500)
@given(
    URL_LIKE | URL_LIKE.map("https://".__add__) | st.from_regex(r"\Ahttps?://[a-z.\[\]:0-9@]{1,12}(/[a-z./%]{0,9})?\Z")
)
def test_any_text_is_a_normal_url_or_a_problem(text: str) -> None:
    url, problems = url_of(text)
    assert (INVALID in url) == bool(problems.items) or problems.items[0].id in SOME_PART_IS_LOST
    if not problems.items:
        assert url_of(str(url))[0] == url
        parts = urlsplit(str(url))
        assert (parts.scheme, parts.hostname, parts.path) == (url.scheme, url.host, url.path)
        assert parts.port in (None, url.port)
        assert url.path.startswith("/") and url.path.endswith("/") and "/../" not in url.path


@given(
    st.sampled_from(["http", "HTTPS"]),
    st.lists(LABELS, min_size=1, max_size=4).map(".".join),
    st.none() | st.integers(1, 65535).filter(lambda port: port not in (80, 443)),
    st.lists(SEGMENTS, max_size=3),
    st.booleans(),
)
def test_good_urls_are_taken(scheme: str, name: str, port: int | None, segments: list[str], slash: bool) -> None:
    text = f"{scheme}://{name.upper()}" + (f":{port}" if port else "") + "".join(f"/{part}" for part in segments)
    url, problems = url_of(text + ("/" if slash else ""))
    assert problems.items == []
    default = 443 if scheme == "HTTPS" else 80
    assert url == Url(scheme.lower(), name, port or default, "/" + "".join(f"{part}/" for part in segments))


@given(
    st.sets(NAMES, max_size=20),
    st.dictionaries(NAMES, PORTS, max_size=5),
    st.dictionaries(NAMES, PORTS, max_size=10),
    st.sets(PORTS, max_size=10),
)
def test_ports_never_collide(names: set[str], fixed: dict[str, int], known: dict[str, int], taken: set[int]) -> None:
    by_port = {port: name for name, port in fixed.items()}
    fixed = {name: port for port, name in by_port.items()}  # given ports are unique: port_twice
    ports = allocate(names, fixed, known, taken, 8800, 8830)
    assert set(ports) == names
    held = [port for port in ports.values() if port is not None]
    assert len(held) == len(set(held))
    foreign = {port for name, port in known.items() if name not in names and name not in fixed} | set(fixed.values())
    for name, port in ports.items():
        if name in fixed:
            assert port == fixed[name]
        elif port is None:
            assert foreign | taken | set(held) | set(known.values()) >= set(range(8800, 8831))
        else:
            assert port not in set(fixed.values())
            assert port == known.get(name) or (8800 <= port <= 8830 and port not in taken and port not in foreign)


@given(st.lists(NAMES, unique=True, min_size=1, max_size=15), st.sets(PORTS, max_size=5), st.data())
def test_ports_are_stable(names: list[str], taken: set[int], data: st.DataObject) -> None:
    first = allocate(names, {}, {}, taken, 8800, 8830)
    assert allocate(data.draw(st.permutations(names)), {}, {}, taken, 8800, 8830) == first
    known = {name: port for name, port in first.items() if port is not None}
    others = data.draw(st.lists(NAMES, max_size=10))
    kept = data.draw(st.lists(st.sampled_from(names), unique=True))
    # By now they listen themselves.
    later = allocate([*others, *kept], {}, known, taken | set(known.values()), 8800, 8830)
    assert all(later[name] == known[name] for name in kept if name in known)


RECORDS = st.fixed_dictionaries(
    {"engine": st.just("shared"), "port": PORTS}, optional={"second_port": PORTS, "kind": st.just("lab")}
)


@settings(max_examples=200)
@given(
    st.lists(NAMES, unique=True, min_size=1, max_size=8),
    st.dictionaries(NAMES, RECORDS, max_size=6),
    st.sets(PORTS, max_size=10),
    st.none() | PORTS,
)
def test_both_ports_of_labs_never_collide_and_stay(
    names: list[str], records: dict[str, Any], listening: set[int], own: int | None
) -> None:
    instances = [lab(name=name, url=f"https://{name}.example.org", engine="shared") for name in names]
    instances[0]["port"] = own
    current = host(instances=records, engines={"shared": {}}, listening_ports=sorted(listening))
    result, problems = plan(instances, current=current, port_range=[8800, 8830])
    if result is None:
        assert {problem.id for problem in problems} <= {"port_taken", "port_none_free", "engine_chain"}
        return
    ports = {item["name"]: (item["port"], item["second_port"]) for item in result["lab_instances"]}
    used = [port for pair in ports.values() for port in pair]
    used += [record[key] for name, record in records.items() if name not in ports for key in record if "port" in key]
    assert all(used.count(port) == 1 for pair in ports.values() for port in pair)
    known = {name: {"engine": "shared", "port": one, "second_port": two} for name, (one, two) in ports.items()}
    current = host(instances={**records, **known}, engines={"shared": {}}, listening_ports=used)
    again, problems = plan([*reversed(instances)], current=current, port_range=[8800, 8830])
    assert again is not None, problems
    assert {item["name"]: (item["port"], item["second_port"]) for item in again["lab_instances"]} == ports


@given(
    st.integers(0, 70000), st.integers(0, 70000), st.integers(1, 2**31), st.integers(1, 65536), st.integers(0, 2**31)
)
def test_mapped_ids_are_one_to_one_and_in_the_range(one: int, two: int, start: int, count: int, account: int) -> None:
    if one > count:
        with pytest.raises(ValueError, match=f"{one} is outside of the {count} ids"):
            mapped_id(one, account, start, count)
        return
    mapped = mapped_id(one, account, start, count)
    assert mapped == account if one == 0 else start <= mapped < start + count
    if one > 0 and 0 < two <= count:
        assert mapped - mapped_id(two, account, start, count) == one - two


def test_mapped_id_of_the_jupyter_user() -> None:
    assert mapped_id(1000, 1001, 165536, 65536) == 166535
    with pytest.raises(ValueError, match="-1 is outside"):
        mapped_id(-1, 1001, 165536, 65536)


@given(st.sampled_from(sorted(INSTANCE)), st.data())
def test_a_typo_finds_its_key(key: str, data: st.DataObject) -> None:
    if len(key) < 5:
        return
    place = data.draw(st.integers(1, len(key) - 1))
    slip = key[:place] + key[place + 1 :]
    if slip not in INSTANCE:
        assert nearest(slip, INSTANCE) is not None


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | URL_LIKE
KEYS = st.sampled_from(
    [*INSTANCE, *RESET, "source", "target", "mode", "context", "declared", "notice", "max_body"]
) | st.text(max_size=5)
YAML = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(
    st.lists(st.dictionaries(KEYS, YAML, max_size=5).map(lambda keys: lab(**keys)) | YAML, max_size=3) | YAML,
    st.dictionaries(
        st.sampled_from(["defaults", "base_dir", "port_range", "tls", "images", "current"]), YAML, max_size=2
    ),
)
def test_any_input_is_planned_or_refused_and_never_an_exception(instances: Any, inputs: dict[str, Any]) -> None:
    result, problems = plan(instances, **{"current": HOST, **inputs})
    assert (result is None) == bool(problems)
    assert all("\n" not in str(problem) for problem in problems)


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["instances", "engines", "accounts", "listening_ports", "memory_bytes", "cpus"]), YAML
    )
)
def test_any_answer_of_a_host_is_understood_or_refused(parts: dict[str, Any]) -> None:
    result, problems = plan([lab()], current=host(**parts))
    assert (result is None) == bool(problems)


HIDDEN = "xq7SECRET"
SECRETS = st.sampled_from(
    [HIDDEN, f" {HIDDEN}\n", [HIDDEN], {HIDDEN: HIDDEN}, {f"A={HIDDEN}": "b"}, {"A": [HIDDEN]}, [f"A={HIDDEN}"]]
)


@given(
    st.dictionaries(st.sampled_from(["password", "token", "environment"]), SECRETS, min_size=1),
    st.sampled_from(
        [{}, {"image": f"me:{HIDDEN}@x.org/a"}, {"url": f"https://me:{HIDDEN}@x.org/"}, {"command": [HIDDEN, None]}]
    ),
)
def test_no_message_shows_a_secret(secrets: dict[str, Any], more: dict[str, Any]) -> None:
    _result, problems = plan([lab(**secrets, **more)])
    for problem in problems:
        assert HIDDEN not in str(problem)


@pytest.mark.parametrize(
    "arguments",
    [("1000", 1001, RANGE), (True, 1001, RANGE), (1000, 1001, {"start": 1}), (1000, None, RANGE), (65537, 1001, RANGE)],
)
def test_the_filter_refuses_invalid_ids(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(AnsibleFilterError, match="mapped_id: "):
        FilterModule().filters()["mapped_id"](*arguments)
