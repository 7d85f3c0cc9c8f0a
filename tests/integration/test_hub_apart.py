# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users' containers do not reach each other, whatever listens in them, and the hub works for all of them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hub_image
import pytest
import requests
from carrel_hub import egress
from hub_site import HubSite, person
from module_runner import open_to_all

from testbed.client import Lab
from testbed.hub_client import Hub
from testbed.patience import until
from testbed.run import run

USERS = ("ada", "grace")
PORT = 9999
LISTEN = ("python3", "-m", "http.server", "--bind", "0.0.0.0", "--directory", "/usr/share", str(PORT))
# Which of the addresses take a connection. What is filtered says nothing, and a refusal is an answer, too.
TRY = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def answers(pair):
    try:
        socket.create_connection(pair, timeout=2).close()
    except ConnectionRefusedError:
        return "refuses"
    except OSError:
        return "nothing"
    return "takes it"
pairs = json.loads(sys.argv[1])
with ThreadPoolExecutor(32) as pool:
    print(json.dumps(list(pool.map(answers, map(tuple, pairs)))))
"""
Pairs = list[tuple[str, int]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubSite]:
    images = (hub_image.build(), os.environ["CARREL_TEST_LAB_IMAGE"])
    site = HubSite(open_to_all(tmp_path_factory.mktemp("apart")), f"carrel-test-apart-{os.getpid()}", images)
    site.people = {name: person(name) for name in USERS}
    site.passwords = {name: f"first-{name}" for name in USERS}
    try:
        site.up()
        yield site
    finally:
        site.down()


@pytest.fixture(scope="module")
def servers(site: HubSite) -> Iterator[dict[str, tuple[Hub, Lab]]]:
    sessions = {name: site.session().login(name, site.passwords[name]) for name in USERS}
    try:
        found = {name: (session, session.spawn()) for name, session in sessions.items()}
        for name in USERS:
            run("docker", "exec", "--detach", site.container(name), *LISTEN)
        yield found
    finally:
        for session in sessions.values():
            session.http.close()


def tried(container: str, pairs: Pairs) -> dict[tuple[str, int], str]:
    """What comes of connections out of a container."""
    said = run("docker", "exec", container, "python3", "-c", TRY, json.dumps(pairs))
    return dict(zip(pairs, json.loads(said)))


def addresses(container: str) -> dict[str, str]:
    """Of a container, by its networks; IPv6 as well."""
    networks = json.loads(run("docker", "inspect", container))[0]["NetworkSettings"]["Networks"]
    found = {name: each["IPAddress"] for name, each in networks.items()}
    return found | {
        f"{name} 6": each["GlobalIPv6Address"] for name, each in networks.items() if each["GlobalIPv6Address"]
    }


def gateways(container: str) -> list[str]:
    networks = json.loads(run("docker", "inspect", container))[0]["NetworkSettings"]["Networks"]
    return [each["Gateway"] for each in networks.values() if each["Gateway"]]


def test_each_server_has_a_network_with_the_hub_and_its_proxy(
    site: HubSite, servers: dict[str, tuple[Hub, Lab]]
) -> None:
    for name in USERS:
        network = f"{site.name}_users_{name}"
        inside = json.loads(run("docker", "network", "inspect", network))[0]["Containers"].values()
        assert sorted(each["Name"] for each in inside) == sorted(
            [site.container(name), f"{site.name}-hub", f"{site.name}-proxy"]
        )
        assert list(addresses(site.container(name))) == [network]
        assert servers[name][1].run("print(6 * 7)").strip() == "42"
        assert servers[name][0].user(name)["servers"][""]["ready"]


def test_nobody_reaches_anothers_ports(site: HubSite, servers: dict[str, tuple[Hub, Lab]]) -> None:
    mine, other = (site.container(name) for name in USERS)
    pairs = [(host, port) for host in [*addresses(other).values(), other] for port in (PORT, 8888)]
    until(lambda: set(tried(other, pairs).values()) == {"takes it"}, "the other one listens")
    assert set(tried(mine, pairs).values()) == {"nothing"}
    of_engine = [(host, port) for host in (*gateways(other), *gateways(mine)) for port in (PORT, 8888)]
    assert len(of_engine) == 4 and set(tried(mine, of_engine).values()) <= {"nothing", "refuses"}
    # What keeps them apart is the network: in one that both have, they meet.
    run("docker", "network", "connect", f"{site.name}_users_{USERS[1]}", mine)
    try:
        assert set(tried(mine, pairs).values()) == {"takes it"}
    finally:
        run("docker", "network", "disconnect", f"{site.name}_users_{USERS[1]}", mine)


def test_of_the_hub_and_the_proxy_only_what_people_have_is_in_reach(
    site: HubSite, servers: dict[str, tuple[Hub, Lab]]
) -> None:
    mine = site.container(USERS[0])
    own = f"{site.name}_users_{USERS[0]}"
    hub, proxy = addresses(f"{site.name}-hub"), addresses(f"{site.name}-proxy")
    assert tried(mine, [("hub", 8081), ("proxy", 8000), (hub[own], 8081), (proxy[own], 8001), ("proxy", 8001)]) == {
        ("hub", 8081): "takes it", ("proxy", 8000): "takes it", (hub[own], 8081): "takes it",
        (proxy[own], 8001): "refuses", ("proxy", 8001): "refuses",
    }  # fmt: skip
    others = [address for found in (hub, proxy) for name, address in found.items() if name != own]
    assert len(others) == 4
    pairs = [(address, port) for address in others for port in (8000, 8001, 8081)]
    assert set(tried(mine, pairs).values()) == {"nothing"}
    assert tried(f"{site.name}-hub", [("proxy." + f"{site.name}_users", 8001)]) == {
        (f"proxy.{site.name}_users", 8001): "takes it"
    }


def test_servers_survive_new_containers_of_hub_and_proxy(site: HubSite, servers: dict[str, tuple[Hub, Lab]]) -> None:
    _session, lab = servers[USERS[0]]
    kernel = lab.kernel()
    kernel.run("kept = 1")
    site.replace_hub()
    assert kernel.run("print(kept)").strip() == "1"
    site.replace_proxy()

    def answers() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            answer: requests.Response = lab.request("GET", "api/status", check=False, allow_redirects=False)
            return answer.status_code == 200
        return False

    until(answers, "the new proxy reaches the server")
    assert not {"takes it"} & set(tried(site.container(USERS[0]), [(site.container(USERS[1]), PORT)]).values())


def test_a_network_goes_with_its_server_and_a_remaining_one_with_the_next_start(site: HubSite) -> None:
    name = USERS[1]
    network = f"{site.name}_users_{name}"

    def is_there() -> bool:
        return network in run("docker", "network", "ls", "--format", "{{.Name}}").split()

    with site.session().login(name, site.passwords[name]) as session:
        assert is_there()
        session.stop()
        assert not is_there()
        session.spawn()
        # as after a crash
        run("docker", "rm", "--force", site.container(name))
        until(lambda: not session.user(name)["servers"], "the hub sees that the server ended")
        assert is_there()
        with session.spawn() as lab:
            assert lab.run("print(1)").strip() == "1"
        run("docker", "rm", "--force", site.container(name))
        # A proxy that is stopped must start again without that network.
        run("docker", "stop", "--time", "2", f"{site.name}-proxy")
        site.in_hub("python3", "-c", f"from carrel_hub.networks import Networks; Networks({site.name!r}).settle()")
        assert not is_there()
        run("docker", "start", f"{site.name}-proxy")
        site.wait()


GATEWAY, ALLOWED, OTHER = "203.0.113.1", "203.0.113.2", "203.0.113.9"
POOLED = "198.19.255.250"  # as if a site had the addresses that servers' networks have
EGRESS = {"mirror": [f"{ALLOWED}/32"], "web": [f"{OTHER}/32"], "all": ["0.0.0.0/0"]}  # of groups


@pytest.fixture(scope="module")
def outside(site: HubSite) -> Iterator[Pairs]:
    """Addresses beyond the engine, of a network namespace behind it, where somebody listens."""
    assert "203.0.113." not in run("ip", "-oneline", "address"), "this machine has addresses for documentation"
    name = f"{site.name}-outside"
    run("docker", "run", "--detach", "--name", name, "--network", "none", site.hub_image, *LISTEN)
    pid = run("docker", "inspect", "--format", "{{.State.Pid}}", name).strip()
    there = ["nsenter", "--net", "--target", pid, "ip"]
    link, peer = f"carrel{pid}", f"carrel{pid}p"
    run("ip", "link", "add", link, "type", "veth", "peer", "name", peer, "netns", pid)
    try:
        run("ip", "address", "add", f"{GATEWAY}/30", "dev", link)
        run("ip", "link", "set", link, "up")
        run(*there, "address", "add", f"{ALLOWED}/30", "dev", peer)
        run(*there, "link", "set", peer, "up")
        for address in (OTHER, POOLED):
            run(*there, "address", "add", f"{address}/32", "dev", peer)
            run("ip", "route", "add", f"{address}/32", "via", ALLOWED)
        yield [(ALLOWED, PORT), (OTHER, PORT), (POOLED, PORT)]
    finally:
        run("ip", "link", "delete", link, check=False)
        run("docker", "rm", "--force", name, check=False)
        without_rules(site)


def without_rules(site: HubSite) -> None:
    """Remove all rules, as a restart of the engine does."""
    of = [names for count in range(len(EGRESS) + 1) for names in itertools.combinations(sorted(EGRESS), count)]
    tables = [f"carrel_{egress.prefix(site.name, names).rstrip('-')}" for names in of]
    host = ["--network", "host", "--cap-add", "NET_ADMIN", site.hub_image, "nft"]
    # nft deletes no table that is not there, so it makes each of them first.
    run(
        "docker", "run", "--rm", *host, "".join(f"add table inet {each}; delete table inet {each}; " for each in tables)
    )


@pytest.mark.parametrize(
    ("allow", "expected"),
    [
        (None, {"takes it"}),
        ({"allow": [f"{ALLOWED}/32"]}, {"takes it", "nothing"}),
        ({"allow": []}, {"nothing"}),
    ],
    ids=["everywhere", "a network", "nowhere"],
)
def test_servers_connect_where_egress_allows_and_to_the_hub(
    site: HubSite, outside: Pairs, allow: dict[str, list[str]] | None, expected: set[str]
) -> None:
    site.config["egress"] = allow
    site.replace_hub()
    name = USERS[0]
    with site.session().login(name, site.passwords[name]) as session:
        session.stop()
        with session.spawn() as lab:
            found = tried(site.container(name), [*outside, ("hub", 8081), ("proxy", 8000), ("1.1.1.1", 53)])
            assert {found[pair] for pair in outside} == expected
            if allow and allow["allow"]:
                assert found[ALLOWED, PORT] == "takes it"
                assert found[OTHER, PORT] == found[POOLED, PORT] == found["1.1.1.1", 53] == "nothing"
            assert (found["hub", 8081], found["proxy", 8000]) == ("takes it", "takes it")
            assert lab.run("print(6 * 7)").strip() == "42"
    assert tried(f"{site.name}-hub", outside) == dict.fromkeys(outside, "takes it"), "the hub connects as before"


def started(site: HubSite, name: str, pairs: Pairs) -> list[str]:
    """What comes of connections out of a new server."""
    with site.session().login(name, site.passwords[name]) as session:
        session.stop()
        with session.spawn() as lab:
            assert lab.run("print(6 * 7)").strip() == "42"
    return list(tried(site.container(name), pairs).values())


def test_a_group_has_its_own_egress_and_several_allow_what_one_allows(site: HubSite, outside: Pairs) -> None:
    ada, grace = USERS
    groups = {name: {"members": [], "admins": [], "mounts": []} for name in EGRESS}
    site.mounts["groups"] = groups
    site.config.update(egress={"allow": []}, group_egress={name: {"allow": nets} for name, nets in EGRESS.items()})
    groups["mirror"]["members"] = [ada]
    site.replace_hub()
    assert started(site, ada, outside) == ["takes it", "nothing", "nothing"]
    assert set(started(site, grace, outside)) == {"nothing"}, "the hub's own counts for who is in no group"
    servers = [(server, 53) for server in egress.resolvers(Path("/etc/resolv.conf").read_text())]
    assert tried(site.container(ada), servers) == tried(f"{site.name}-hub", servers)
    assert set(tried(site.container(grace), servers).values()) <= {"nothing"}

    # from the next start of a server, without a new hub
    groups["web"]["admins"], groups["all"]["members"] = [ada], [grace]
    site.write()
    assert started(site, ada, outside) == ["takes it", "takes it", "nothing"]
    assert set(started(site, grace, outside)) == {"takes it"}

    # Changed networks count for servers that run, and so does what a restart of the engine took away.
    site.config["group_egress"]["web"] = {"allow": [f"{POOLED}/32"]}
    site.replace_hub()
    changed = ["takes it", "nothing", "takes it"]
    assert list(tried(site.container(ada), outside).values()) == changed
    without_rules(site)
    assert set(tried(site.container(ada), outside).values()) == {"takes it"}, "it is the rules that limit"
    run("docker", "restart", f"{site.name}-hub")
    site.wait()
    assert list(tried(site.container(ada), outside).values()) == changed

    del site.config["group_egress"]["mirror"], site.config["group_egress"]["web"]
    site.replace_hub()
    assert set(started(site, ada, outside)) == {"nothing"}, "the hub's own again"


@pytest.mark.parametrize(("option", "works"), [("--cap-add", True), ("--cap-drop", False)])
def test_what_nft_says_is_how_the_program_ends(site: HubSite, option: str, works: bool) -> None:
    """In a network namespace of its own, with and without the right to set rules."""
    command = ["docker", "run", "--rm", "--network", "none", option, "NET_ADMIN", site.hub_image]
    command += ["python3", "-m", "carrel_hub.egress", "cabc-=192.0.2.0/24,192.0.2.7/32", "cdef-=0.0.0.0/0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode == 0) is works and ("Operation not permitted" in done.stderr) is not works


def test_a_hub_that_cannot_limit_does_not_start(site: HubSite) -> None:
    """With a network that the program for the rules refuses, which no inventory can say."""
    site.config["egress"] = {"allow": ["0.0.0.0/99"]}
    site.write()
    command = ["docker", "run", "--rm", "--volume", f"{site.folder}/hub:/etc/carrel/hub:ro"]
    command += ["--volume", "/var/run/docker.sock:/var/run/docker.sock", "--network", f"{site.name}_users"]
    done = subprocess.run([*command, site.hub_image, "hub"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "egress cannot be limited" in done.stderr
