# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the networks of users' servers are called and given. tests/integration/test_hub_apart.py has real ones."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import yaml
from carrel_hub import __main__ as hub
from carrel_hub import egress, networks, provider_groups, spawner, spawning
from carrel_hub.people import Roster
from docker.errors import APIError, NotFound
from dockerspawner import DockerSpawner

ALL = 16384
LIMIT = egress.Limit("cabc-", ("192.0.2.0/24", "198.51.100.7/32"))
BRIDGED = "network, internal False, bridge ['com.docker.network.bridge.name']"
ABSENT = Path(__file__).resolve().parents[2] / "roles" / "hub" / "tasks" / "absent.yml"


def refusal(status: int, text: str) -> APIError:
    answer = requests.Response()
    answer.status_code = status
    return (NotFound if status == 404 else APIError)(text, answer, text)


class Engine:
    """In place of Docker: the hub, its proxy, and networks, of which some calls fail."""

    def __init__(self) -> None:
        self.networks_: dict[str, dict[str, str]] = {}  # those in each, by how Docker lists them
        self.of: dict[str, set[str]] = {"hub": set(), "proxy": set()}
        self.fails: dict[tuple[str, ...], APIError] = {}
        self.made: dict[str, Any] = {}
        self.status = 0
        self.calls: list[str] = []

    def _call(self, *what: str) -> None:
        if what in self.fails:
            raise self.fails[what]

    def _container(self, name: str) -> dict[str, Any]:
        return {"Id": name, "Image": "image", "NetworkSettings": {"Networks": dict.fromkeys(self.of[name])}}

    def containers(self, **options: Any) -> list[dict[str, Any]]:
        return [self._container("proxy")] if options.get("all") else []

    def inspect_container(self, _name: str) -> dict[str, Any]:
        return self._container("hub")

    def networks(self, **_options: Any) -> list[dict[str, Any]]:
        return [{"Name": name, "IPAM": {"Config": None}} for name in self.networks_]

    def inspect_network(self, name: str) -> dict[str, Any]:
        if name not in self.networks_:
            raise refusal(404, f"network {name} not found")
        return {"Containers": {key: {"Name": each} for key, each in self.networks_[name].items()}}

    def connect_container_to_network(self, container: str, name: str, aliases: list[str]) -> None:
        self._call("connect", container, name)
        assert aliases == [container]
        self.of[container].add(name)

    def disconnect_container_from_network(self, container: str, name: str, force: bool) -> None:
        self._call("disconnect", container, name)
        self.of.get(container, set()).discard(name)
        there = self.networks_[name]
        for key in [key for key, each in there.items() if each == container]:
            del there[key]

    def remove_network(self, name: str) -> None:
        self._call("remove", name)
        if self.networks_[name]:
            raise refusal(403, f"network {name} has active endpoints")
        del self.networks_[name]

    def create_network(self, name: str, **options: Any) -> None:
        self.calls.append(f"network, internal {options['internal']}, bridge {list(options['options'] or {})}")
        self.networks_[name] = {}

    def create_host_config(self, **options: Any) -> dict[str, Any]:
        return options

    def create_container(self, image: str, command: list[str], **options: Any) -> dict[str, str]:
        if options["name"] in self.made:
            raise refusal(409, "is already in use by container")
        self.made[options["name"]] = options["labels"]
        self.calls.append(" ".join(command[3:]))
        return {"Id": options["name"]}

    def start(self, name: str) -> None:
        assert name in self.made

    def wait(self, _name: str) -> dict[str, int]:
        return {"StatusCode": self.status}

    def logs(self, _name: str, tail: int) -> bytes:
        return b"Operation not permitted"

    def remove_container(self, name: str, force: bool) -> None:
        if self.made.pop(name, None) is None:
            raise refusal(404, f"No such container: {name}")

    def close(self) -> None:
        pass


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr(networks.docker, "APIClient", lambda version: engine)
    monkeypatch.setattr(networks, "_LIMITED", set())
    return engine


def first(taken: list[str], count: int = 2) -> list[str]:
    return list(itertools.islice(networks.free_subnets(taken), count))


@pytest.mark.parametrize(
    ("taken", "free"),
    [
        ([], ["198.18.0.0/29", "198.18.0.8/29"]),
        (["198.18.0.0/29", "172.17.0.0/16", "fd00::/64"], ["198.18.0.8/29", "198.18.0.16/29"]),
        (["198.18.0.9/32", "198.18.0.16/28"], ["198.18.0.0/29", "198.18.0.32/29"]),
        (["198.18.0.0/16"], ["198.19.0.0/29", "198.19.0.8/29"]),
        (["198.0.0.0/8"], []),
    ],
)
def test_subnets_that_no_network_of_the_engine_has(taken: list[str], free: list[str]) -> None:
    assert first(taken) == free


def test_there_are_networks_for_all() -> None:
    assert len(first([], ALL + 1)) == ALL


@pytest.mark.parametrize("user", ["ada", "0", "ä@uni.example", "-"])
def test_the_hub_s_own_network_comes_first_in_the_alphabet(user: str) -> None:
    """By that, Docker chooses through which of its networks a container goes out."""
    assert min("class101_users", networks.name_of("class101_users", user)) == "class101_users"


def test_bridges_have_names_that_the_kernel_takes_and_the_rules_know() -> None:
    bridges = {
        networks._bridge(egress.prefix("class101"), subnet)
        for subnet in ("198.18.0.0/29", "198.18.0.8/29", "198.19.255.248/29")
    }
    assert len(bridges) == 3
    assert all(name.startswith(egress.prefix("class101")) and len(name) <= 15 for name in bridges)
    assert len({egress.prefix(*of) for of in [("class101",), ("class102",), ("class101", ["a"])]}) == 3


HUB = {"allow": ["192.0.2.0/24"]}
MIRROR, WEB, NOTHING = {"allow": ["198.51.100.7/32"]}, {"allow": ["203.0.113.0/24"]}, {"allow": []}


@pytest.mark.parametrize(
    ("of_hub", "groups", "allowed"),
    [
        (None, ["none"], None),
        (HUB, [], ("192.0.2.0/24",)),
        (HUB, ["none", "not declared"], ("192.0.2.0/24",)),
        (HUB, ["mirror"], ("198.51.100.7/32",)),
        (HUB, ["nothing"], ()),
        (None, ["nothing", "none"], ()),
        (NOTHING, ["web", "nothing", "mirror"], ("198.51.100.7/32", "203.0.113.0/24")),
    ],
)  # fmt: skip
def test_groups_count_before_the_hub_and_the_widest_of_them(
    of_hub: dict[str, list[str]] | None, groups: list[str], allowed: tuple[str, ...] | None
) -> None:
    config = {"name": "class", "egress": of_hub, "group_egress": {"mirror": MIRROR, "web": WEB, "nothing": NOTHING}}
    assert egress.limit(config, groups).allowed == allowed


def test_bridges_keep_their_names_when_networks_change() -> None:
    config = {"name": "class", "egress": HUB, "group_egress": {"a": MIRROR, "b": WEB}}
    before = egress.limit(config, ["b", "a"])
    config["group_egress"] = {"a": MIRROR, "b": NOTHING}
    assert egress.limit(config, ["a", "b"]).prefix == before.prefix
    assert egress.limit(config).prefix == egress.prefix("class")


def test_a_hub_sets_the_rules_of_all_who_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    people = {"a": ["ada", "grace"], "b": ["grace"], "not declared": ["alan"]}
    monkeypatch.setattr(hub, "read_roster", lambda: Roster({}, frozenset(), people, {"a": ["cn=a"], "b": ["cn=b"]}))
    monkeypatch.setattr(provider_groups, "recent", lambda: {"linus": ["cn=a"], "alan": ["cn=z"]})
    # Her server has run since she was in the group, two days ago.
    monkeypatch.setattr(provider_groups, "ever", lambda: {**provider_groups.recent(), "mary": ["cn=b"]})
    config: dict[str, Any] = {"name": "class", "egress": HUB, "group_egress": {"a": MIRROR, "b": WEB}}
    assert hub.limits(config) == {egress.limit(config, groups) for groups in ([], ["a"], ["b"], ["a", "b"])}
    assert provider_groups.by_person(hub.read_roster())["linus"] == {"a"}
    config["group_egress"] = {}
    monkeypatch.setattr(hub, "read_roster", lambda: pytest.fail("no group needs it"))
    assert hub.limits(config) == {egress.limit(config)}


def test_rules_allow_the_networks_and_the_name_servers_alone() -> None:
    text = egress.rules("cabc-", ["192.0.2.0/24", "192.0.2.7/32"], {"10.0.2.3"})
    assert 'iifname != "cabc-*" accept' in text
    assert "ip daddr { 192.0.2.0/24 } accept" in text, "nft refuses networks that overlap"
    assert 'oifname "cabc-*" accept' in text and "198.18" not in text, "most of the pool is not on this engine"
    assert "ip daddr { 10.0.2.3 } meta l4proto { tcp, udp } th dport 53 accept\n    drop" in text
    assert "dport" not in egress.rules("cabc-", ["192.0.2.0/24"], set())


def test_name_servers_in_reach() -> None:
    text = (
        "# a comment\nsearch uni.example\nnameserver 10.0.2.3\nnameserver 127.0.0.53\nnameserver fd00::3\nnameserver\n"
    )
    assert egress.resolvers(text) == {"10.0.2.3"}


@pytest.mark.parametrize("status", [404, 409])
def test_a_proxy_that_is_being_replaced_does_not_fail_a_start(engine: Engine, status: int) -> None:
    engine.networks_["n"] = {}
    engine.fails["connect", "proxy", "n"] = refusal(status, "the container is marked for removal")
    networks.Networks("class").join("n")
    assert engine.of == {"hub": {"n"}, "proxy": set()}
    engine.fails["connect", "hub", "n"] = refusal(status, "network n not found")
    engine.of["hub"].clear()
    with pytest.raises(APIError):
        networks.Networks("class").join("n")


def test_a_network_that_fails_keeps_the_hub_from_no_other(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    engine.networks_ = {name: {} for name in "abc"}
    engine.of["hub"] = set("abc")
    engine.fails["connect", "proxy", "b"] = refusal(500, "no joining")
    networks.Networks("class").join_all()
    assert engine.of["proxy"] == set("ac")
    assert "the server in the network b is not reached: " in caplog.text and "no joining" in caplog.text
    engine.fails["remove", "b"] = refusal(500, "no removing")
    networks.Networks("class").settle()
    assert set(engine.networks_) == {"b"}
    assert "the network b is not removed: " in caplog.text and "no removing" in caplog.text


def test_what_a_container_left_in_a_network_goes_by_its_name(engine: Engine) -> None:
    engine.networks_["n"] = {"ep-1f": "class_ada"}
    networks.Networks("class").remove("n")
    assert engine.networks_ == {}


def test_a_network_goes_although_the_proxy_has_just_gone(engine: Engine) -> None:
    engine.networks_["n"] = {}
    engine.of["proxy"] = {"n"}
    engine.fails["disconnect", "proxy", "n"] = refusal(404, "No such container: proxy")
    networks.Networks("class").remove("n")
    assert engine.networks_ == {}
    networks.Networks("class").remove("n")


def test_a_hub_that_was_killed_while_it_set_the_rules_leaves_nothing_that_stays(engine: Engine) -> None:
    engine.made["class-egress"] = {}
    networks.Networks("class").limit([LIMIT])
    assert engine.made == {}
    engine.status = 1
    with pytest.raises(networks.NoNetwork, match=r"egress cannot be limited.*Operation not permitted"):
        networks.Networks("class").limit([LIMIT])
    assert engine.made == {}


def test_rules_are_set_before_the_first_network_and_once(engine: Engine) -> None:
    ours = networks.Networks("class")
    for user in ("ada", "grace"):
        ours.make(user, user, LIMIT)
    assert engine.calls == ["cabc-=192.0.2.0/24,198.51.100.7/32", BRIDGED, BRIDGED]
    engine.calls.clear()
    ours.make("alan", "alan", egress.Limit("cabc-", None))
    ours.make("linus", "linus", egress.Limit("cabc-", ()))
    assert engine.calls == ["network, internal False, bridge []", "network, internal True, bridge []"]
    engine.calls.clear()
    engine.status = 1
    with pytest.raises(networks.NoNetwork, match="egress cannot be limited"):
        ours.make("ada", "ada", LIMIT._replace(prefix="cdef-"))
    assert engine.calls == ["cdef-=192.0.2.0/24,198.51.100.7/32"], "and no network"


def test_the_container_that_sets_the_rules_is_known_as_the_instance_s(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "start", lambda name: labels.append(engine.made[name]))
    labels: list[dict[str, str]] = []
    networks.Networks("class").limit([LIMIT])
    assert labels == [{"carrel.instance": "class"}], "and not as a user's server"


def test_networks_are_removed_after_the_hub_that_is_in_them() -> None:
    """A run that is killed in between leaves nothing that does not start again."""
    tasks = yaml.safe_load(ABSENT.read_text(encoding="utf-8"))
    by_module = {module: number for number, task in enumerate(tasks) for module in task}
    assert by_module["community.docker.docker_compose_v2"] < by_module["carrel.jupyter.hub_servers"]
    stopping = yaml.safe_load(ABSENT.with_name("stop.yml").read_text(encoding="utf-8"))
    assert [
        task["carrel.jupyter.hub_servers"]["state"] for task in stopping if "carrel.jupyter.hub_servers" in task
    ] == ["stopped"]


def test_a_start_comes_to_its_end_if_the_network_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """JupyterHub then stops what has started, and would miss what starts afterwards."""
    address = ("198.18.0.4", 8888)
    calls: list[str] = []
    errors: dict[str, Exception] = {}

    async def step(what: str, seconds: float = 0) -> None:
        await asyncio.sleep(seconds)
        if what in errors:
            raise errors[what]
        calls.append(what)

    async def start(_spawner: Any) -> tuple[str, int]:
        await step("start", 0.02)
        return address

    async def in_thread(_instance: str, what: Any) -> None:
        """What the spawner wants of Networks."""
        wanted: list[str] = []
        ours = SimpleNamespace(make=lambda *_: wanted.append("make"), join=lambda *_: wanted.append("join"))
        what(ours)
        await step(*wanted)

    class Spawner(spawner.CarrelSpawner):  # type: ignore[misc]
        _egress = None

        def _prepare(self) -> None:
            pass

        async def _wait_for(self, host: str, port: int) -> None:
            calls.append(f"{host}:{port}")

    async def started() -> Any:
        calls.clear()
        return await Spawner(instance="class101", network="n", user=SimpleNamespace(name="ada")).start()

    monkeypatch.setattr(DockerSpawner, "start", start)
    monkeypatch.setattr(spawner.networks, "in_thread", in_thread)
    assert asyncio.run(started()) == address
    assert calls == ["make", "join", "start", "198.18.0.4:8888"]
    errors["join"] = ConnectionError("join")
    with pytest.raises(ConnectionError, match="join"):
        asyncio.run(started())
    assert calls == ["make", "start"]
    errors["start"] = ValueError("start")
    with pytest.raises(ValueError, match="start"):
        asyncio.run(started())


def test_who_waits_too_long_for_a_server_reads_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """JupyterHub gives up by asyncio's own TimeoutError, whose text is empty."""
    ended: list[str] = []

    class Spawner(spawner.CarrelSpawner):  # type: ignore[misc]
        async def _start(self) -> tuple[str, int]:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(self.user.name)
            return "198.18.0.4", 8888

    with pytest.raises(spawning.SpawnRefused, match="did not answer in time") as told:
        asyncio.run(Spawner(instance="class101", start_timeout=2, user=SimpleNamespace(name="ada")).start())
    assert told.value.jupyterhub_message == spawning.TOO_SLOW and ended == ["ada"]
