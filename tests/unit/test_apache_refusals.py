# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which virtual hosts keep their earlier configuration, or have none, and how this is reported."""

from __future__ import annotations

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._apache import refusals
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.certificates import Pair
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.refusals import Refusals
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.sites import ApacheError, Tree, fragment

ONE, TWO = Pair("a.test", "/one.crt", "/one.key"), Pair("b.test", "/one.crt", "/two.key")


def site(server_name: str, port: int = 443, pair: Pair = ONE, more: str = "") -> str:
    return f"""<VirtualHost *:{port}>
    ServerName {server_name}
    SSLCertificateFile "{pair.certificate}"
    SSLCertificateKeyFile {pair.private_key}
    {more}
</VirtualHost>
"""


def both(**more: str) -> dict[str, str]:
    return {"carrel-a": site("a.test", more="new"), "carrel-b": site("b.test", 8443, TWO, "new"), **more}


def live(**sites: str) -> Tree:
    return {
        path: node
        for name in ("a", "b")
        for path, node in fragment("sites", f"carrel-{name}", sites.get(f"carrel_{name}")).items()
    }


A_BEFORE = site("a.test", more="old")


def test_the_earlier_configuration_of_a_refused_site_stays() -> None:
    found = Refusals(both(), live(carrel_a=A_BEFORE))
    assert found.tree() == {}
    assert found.refuse("carrel-a", "Line 5.")
    assert found.tree() == fragment("sites", "carrel-a", A_BEFORE)
    assert (found.ports(), found.switched_off()) == ({443}, set())
    assert found.told(applied=True) == [{"site": "carrel-a", "problem": "Line 5. Its earlier configuration stays."}]


def test_a_site_whose_earlier_configuration_is_refused_too_is_switched_off() -> None:
    found = Refusals(both(), live(carrel_a=A_BEFORE))
    assert [found.refuse("carrel-a", problem) for problem in ("New.", "Old.", "None.")] == [True, True, False]
    assert found.tree() == fragment("sites", "carrel-a", None)
    assert (found.ports(), found.switched_off()) == (set(), set(fragment("sites", "carrel-a", None)))
    assert found.told(applied=True)[0]["problem"].startswith("New. It is switched off, because")
    assert found.told(applied=False)[0]["problem"].startswith("New. Apache keeps what it has loaded")


def test_a_new_site_is_left_out() -> None:
    found = Refusals(both(), live(carrel_a=A_BEFORE))
    assert [found.refuse("carrel-b", "New.") for _unused in range(2)] == [True, False]
    assert found.tree() == fragment("sites", "carrel-b", None)
    assert (found.ports(), found.switched_off()) == (set(), set())
    assert found.told(applied=True) == [{"site": "carrel-b", "problem": "New. It is not served yet."}]


def test_a_site_that_is_there_and_not_enabled_is_not_served() -> None:
    tree = live(carrel_a=A_BEFORE)
    tree["/etc/apache2/sites-enabled/carrel-a.conf"] = None
    found = Refusals(both(), tree)
    found.refuse("carrel-a", "New.")
    assert found.told(applied=True)[0]["problem"] == "New. It is not served yet."


def test_only_the_sites_of_a_pair_are_refused() -> None:
    """Another may have the same certificate and its right key."""
    found = Refusals(both(), live(carrel_b=site("b.test", 8443, TWO)))
    assert found.refuse_pair(TWO, "Wrong key.", loadable=False)
    assert list(found.problems) == ["carrel-b"]
    assert found.tree() == fragment("sites", "carrel-b", None)  # what is there has the same pair


def test_an_expired_pair_takes_no_site_down() -> None:
    before = live(carrel_b=site("b.test", 8443, TWO))
    found = Refusals(both(), before)
    found.refuse_pair(TWO, "Expired.", loadable=True)
    assert found.tree() == {path: before[path] for path in fragment("sites", "carrel-b", None)}


def test_only_the_site_with_names_below_is_refused_for_them() -> None:
    before = site("a.test", more="old")
    wanted = {
        "carrel-a": site("a.test", more="ServerAlias *.a.test"),
        "carrel-b": site("b.test", more="ServerAlias *.b.test"),
        "carrel-c": site("c.test"),
        "carrel-redirect": "<VirtualHost *:80>\n    ServerName a.test\n    ServerAlias *.a.test\n</VirtualHost>\n",
    }
    found = Refusals(wanted, live(carrel_a=before))
    found.refuse_subdomains(ONE, "Not for those.")
    assert found.problems == {"carrel-a": "Not for those."}
    assert found.tree() == fragment("sites", "carrel-a", before)


def test_a_pair_is_not_another_that_begins_alike() -> None:
    content = site("a.test", pair=Pair("a.test", "/one.crt.old", "/one.key"))
    assert not refusals.uses(content, ONE) and refusals.uses(site("a.test"), ONE)


def test_a_taken_port_refuses_its_sites_once() -> None:
    found = Refusals(both(**{"carrel-c": site("c.test", 8443)}), live(carrel_b=site("b.test", 9443, ONE)))
    found.refuse("carrel-c", "Nonsense.")
    found.refuse_port(8443, "Taken.")
    found.refuse_port(8443, "Taken.")
    assert found.problems == {"carrel-c": "Nonsense.", "carrel-b": "Taken."}
    assert found.ports() == {9443}  # where the earlier one is served
    assert found.unserved_ports() == {8443}


def test_a_port_that_another_site_has_is_served() -> None:
    found = Refusals(both(**{"carrel-c": site("c.test", 8443)}), {})
    found.refuse("carrel-b", "Nonsense.")
    assert found.unserved_ports() == set()


@pytest.mark.parametrize("name", ["carrel-server", "carrel-unknown"])
def test_nothing_goes_on_without_what_holds_for_the_whole_host(name: str) -> None:
    found = Refusals({"carrel-server": "ServerTokens Prod\n"}, {})
    with pytest.raises(ApacheError, match="Nothing was changed"):
        found.refuse(name, "Nonsense.")


def test_a_pair_or_port_of_no_site_is_not_passed_over() -> None:
    found = Refusals({"carrel-a": site("a.test")}, {})
    with pytest.raises(ApacheError, match="Nothing was changed"):
        found.refuse_port(80, "Taken.")
    assert not found.refuse_pair(TWO, "Wrong key.", loadable=False)


@pytest.mark.parametrize(
    ("complaint", "names"),
    [
        ("AH02565: Certificate and private key b.test:443:0 from /one.crt and /two.key do not match", ["carrel-b"]),
        ("(2)No such file: AH02297: … at /etc/apache2/sites-enabled/carrel-a.conf:3", ["carrel-a"]),
        ("AH02565: Certificate and private key sub.b.test:443:0", []),
        ("/etc/apache2/sites-enabled/carrel-a.conf.save:1", []),
        ("AH00020: Configuration Failed, exiting", []),
    ],
)
def test_who_a_complaint_is_about(complaint: str, names: list[str]) -> None:
    assert Refusals(both(), {}).named_in(complaint) == names


@pytest.mark.parametrize(
    ("content", "ports"),
    [
        ("<VirtualHost *:443>", {443}),
        ("# <VirtualHost *:1>\n  <virtualhost 192.0.2.1:80 [2001:db8::1]:8080>\n", {80, 8080}),
        ("<VirtualHost *>", set()),
        ("Listen 80\n", set()),
    ],
)
def test_ports_of_virtual_hosts(content: str, ports: set[int]) -> None:
    assert refusals.virtual_hosts(content) == ports


def test_the_report_names_the_instances() -> None:
    vhosts = [
        {"server_name": "Labs.example.org", "port": 8443, "locations": [{"instance": "tao"}, {"instance": "atlas"}]},
        {"server_name": "plain.example.org", "port": 80, "locations": [{"path": "/"}]},
    ]
    names = ["carrel-labs.example.org-8443", "carrel-plain.example.org-80", "carrel-labs.example.org-80"]
    told = refusals.report([{"site": name, "problem": "Nonsense."} for name in names], vhosts)
    assert told.split("\n\n")[1:] == [
        "tao, atlas (Labs.example.org:8443): Nonsense.",
        "plain.example.org:80: Nonsense.",
        "carrel-labs.example.org-80: Nonsense.",
    ]


@pytest.mark.parametrize(
    ("server_name", "name"), [("A.test", "carrel-a.test-443"), ("[2001:db8::1]", "carrel-_2001_db8__1_-443")]
)
def test_the_name_of_a_site(server_name: str, name: str) -> None:
    assert refusals.site_name(server_name, 443) == name
