# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import re
import stat
import time
from pathlib import Path

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._apache import sites as apache
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.sites import (
    ApacheError,
    Change,
    File,
    Link,
    Listen,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._host import apache as host
from ansible_collections.carrel.jupyter.plugins.module_utils._host.apache import write
from ansible_collections.carrel.jupyter.plugins.module_utils._host.process import Done
from hypothesis import given
from hypothesis import strategies as st

DUMP = """# In file: /etc/apache2/ports.conf
Listen 80
  listen [::]:8443 https
# In file: /etc/apache2/sites-enabled/foreign.conf
<VirtualHost *:80>
  # Listen 1
</VirtualHost>
Listen 192.0.2.1:8080
"""
PORTS_CONF = """# Listen 9
Listen 80
<IfModule ssl_module>
\tListen 443
</IfModule>
Listen 4430
"""
LOAD = {
    "ssl.load": "# Depends: setenvif mime socache_shmcb\nLoadModule ssl_module x\n",
    "ssl.conf": "",
    "setenvif.load": "",
    "setenvif.conf": "",
    "mime.load": "# Depends: ssl\n",  # a circle ends
    "socache_shmcb.load": "",
    "md.load": "",
}
PROC_NET_TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F91 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
"""
PROC_NET_TCP6 = """  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 4713 1
   1: B80D0120000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 4714 1
   2: 0000000000000000FFFF00000100007F:01BC 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 4715 1
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("443", Listen("*", 443)),
        ("*:443", Listen("*", 443)),
        ("192.0.2.1:443", Listen("192.0.2.1", 443)),
        ("[2001:db8::1]:443", Listen("[2001:db8::1]", 443)),
    ],
)
def test_parse_listen(text: str, expected: Listen) -> None:
    assert apache.parse_listen(text) == expected


@pytest.mark.parametrize("text", ["", "0", "65536", "http", "example.org:80", "80:x"])
def test_parse_listen_refuses(text: str) -> None:
    with pytest.raises(ApacheError, match="listen: "):
        apache.parse_listen(text)


@given(st.sampled_from(["*", "192.0.2.1", "[2001:db8::1]"]), st.integers(1, 65535))
def test_listen_is_read_as_it_is_written(address: str, port: int) -> None:
    assert apache.parse_listen(str(Listen(address, port))) == Listen(address, port)


def test_listens_of_dump() -> None:
    assert [(str(listen), listen.source.rpartition("/")[2]) for listen in apache.listens_of_dump(DUMP)] == [
        ("80", "ports.conf"),
        ("[::]:8443", "ports.conf"),
        ("192.0.2.1:8080", "foreign.conf"),
    ]


def test_missing_listens_repeats_nothing() -> None:
    wanted = [Listen("*", 8443), Listen("*", 80), Listen("*", 8080), Listen("*", 8080)]
    present = [Listen("*", 80), Listen("[::]", 8443)]
    assert apache.missing_listens(wanted, present) == [Listen("*", 8080)]


@pytest.mark.parametrize("pair", [("*", "192.0.2.1"), ("192.0.2.1", "*")])
def test_missing_listens_refuses_an_overlap(pair: tuple[str, str]) -> None:
    with pytest.raises(ApacheError, match=r"/etc/f\.conf has 'Listen"):
        apache.missing_listens([Listen(pair[0], 80)], [Listen(pair[1], 80, "/etc/f.conf")])


def test_missing_listens_takes_two_addresses() -> None:
    assert apache.missing_listens([Listen("192.0.2.1", 80)], [Listen("192.0.2.2", 80)]) == [Listen("192.0.2.1", 80)]


def test_restricted_ports_conf() -> None:
    wanted = [Listen("192.0.2.1", 443), Listen("*", 80)]
    once = apache.restricted_ports_conf(PORTS_CONF, wanted)
    assert once == PORTS_CONF.replace("\tListen 443\n", "\t#carrel# Listen 443\n")
    assert apache.restricted_ports_conf(once, wanted) == once


def test_module_links_follow_dependencies() -> None:
    links = apache.module_links(["ssl", "md"], LOAD)
    assert {path.rpartition("/")[2] for path in links} == set(LOAD)
    assert links["/etc/apache2/mods-enabled/ssl.conf"] == Link("../mods-available/ssl.conf")


def test_unknown_module() -> None:
    with pytest.raises(ApacheError, match="no module 'nope'"):
        apache.module_links(["nope"], LOAD)


def test_site_tree_prunes_only_ours() -> None:
    existing = ["carrel-old.org-443", "000-default", "mine", "carrel-a.org-443"]
    tree = apache.site_tree({"carrel-a.org-443": "x"}, existing, prune=True)
    assert {path.rpartition("/")[2]: node for path, node in tree.items() if "available" in path} == {
        "carrel-a.org-443.conf": apache.file("x"),
        "carrel-old.org-443.conf": None,
    }
    assert apache.site_tree({}, existing, prune=False) == {}


@pytest.mark.parametrize("name", ["default", "carrel-../x", "carrel-", "carrel-a/b"])
def test_site_tree_refuses_other_names(name: str) -> None:
    with pytest.raises(ApacheError, match="sites: the name"):
        apache.site_tree({name: ""}, [], prune=False)


NODES = st.one_of(
    st.none(), st.builds(apache.file, st.sampled_from("ab")), st.builds(Link, st.sampled_from(["../x", "../y"]))
)
TREES = st.dictionaries(st.sampled_from(["/a", "/b", "/c", "/d"]), NODES)


@given(TREES, TREES)
def test_changes_lead_from_current_to_desired(desired: apache.Tree, current: apache.Tree) -> None:
    tree = dict(current)
    for change in apache.changes(desired, current):
        assert tree.get(change.path) == change.before != change.after
        tree[change.path] = change.after
    assert {path: tree.get(path) for path in desired} == desired
    assert not apache.changes(desired, tree)


def test_changes_never_leave_a_link_to_nothing() -> None:
    desired = {**apache.fragment("sites", "carrel-new", "x"), **apache.fragment("sites", "carrel-old", None)}
    current = apache.fragment("sites", "carrel-old", "x")
    order = [change.path.rpartition("apache2/")[2] for change in apache.changes(desired, current)]
    assert order.index("sites-available/carrel-new.conf") < order.index("sites-enabled/carrel-new.conf")
    assert order.index("sites-enabled/carrel-old.conf") < order.index("sites-available/carrel-old.conf")


OLD, NEW = apache.file("old key", 0o644), apache.file("new key", 0o600)


@pytest.mark.parametrize(("before", "after"), [(OLD, NEW), (None, NEW), (NEW, None)])
def test_diff_hides_secrets(before: apache.Node, after: apache.Node) -> None:
    found = [Change("/k", before, after)]
    (hidden,), (shown,) = apache.diff(found, {"/k"}), apache.diff(found, {"/other"})
    assert "key" not in hidden["before"] + hidden["after"] and "key" in shown["before"] + shown["after"]


@given(st.binary(max_size=50))
def test_bytes_of_any_encoding_survive(content: bytes) -> None:
    assert apache.file(apache.text(File(content))) == File(content)


def test_a_complaint_names_the_site() -> None:
    output = "AH00558: noise\nAH00526: Syntax error on line 2 of /tmp/stage/sites-enabled/carrel-bad.conf:\n"
    output += "Invalid command\n"
    text = apache.relevant(output, "/tmp/stage")
    assert text == "AH00526: Syntax error on line 2 of /etc/apache2/sites-enabled/carrel-bad.conf: Invalid command."
    assert apache.site_of(text) == "carrel-bad"


def test_parse_proc_net() -> None:
    assert apache.parse_proc_net(PROC_NET_TCP) == [(Listen("127.0.0.1", 8081), 4711)]
    assert [(found.address, found.port, inode) for found, inode in apache.parse_proc_net(PROC_NET_TCP6)] == [
        ("::", 80, 4713),
        ("2001:db8::1", 443, 4714),
        ("127.0.0.1", 444, 4715),
    ]


@pytest.mark.parametrize(
    ("held", "overlaps"), [("::", True), ("0.0.0.0", True), ("192.0.2.1", True), ("192.0.2.2", False)]
)
def test_overlaps(held: str, overlaps: bool) -> None:
    assert Listen("192.0.2.1", 80).overlaps(Listen(held, 80)) is overlaps
    assert not Listen("192.0.2.1", 81).overlaps(Listen(held, 80))


@pytest.mark.skipif(os.geteuid() != 0, reason="what Apache reads belongs to root")
def test_a_file_takes_a_links_place_and_leaves_alone_where_it_led(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "new" / "ports.conf"
    victim.write_text("kept")
    write(str(path), Link(str(victim)))
    assert path.read_text() == "kept" and stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    write(str(path), apache.file("Listen 80\n", 0o640))
    assert not path.is_symlink() and path.read_text() == "Listen 80\n" and victim.read_text() == "kept"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    write(str(path), None)
    assert os.listdir(path.parent) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="what Apache reads belongs to root")
def test_what_is_dated_in_the_future_counts_once(tmp_path: Path) -> None:
    """Nothing can date a file in the future, so here it is another clock that says when now is."""
    site, link, supplied = (tmp_path / name for name in ("site.conf", "enabled.conf", "own.crt"))
    site.write_text("Listen 80")
    os.chown(site, 12345, 54321)
    link.symlink_to(site)
    read, others = [str(site), str(link), str(tmp_path / "missing")], [str(supplied), str(tmp_path / "missing")]
    time.sleep(0.02)  # file systems have a coarse clock
    supplied.write_text("a certificate")
    before = {path: path.lstat() for path in (site, link)}
    latest = max(status.st_ctime for status in before.values())
    earlier = min(status.st_ctime for status in before.values()) - 1
    assert host.newest(read, others, time.time() + 1) == (supplied.stat().st_ctime, str(supplied))
    assert host.newest(read, others, earlier)[0] == latest, "the certificate's content is compared"

    host.date_now(read, latest)
    assert {path: path.lstat() for path in before} == before, "they are of the past"
    host.date_now(read, earlier)
    for path, status in before.items():
        now = path.lstat()
        assert now.st_ctime > status.st_ctime
        assert (now.st_uid, now.st_gid, now.st_mode, now.st_mtime_ns, now.st_ino) == (
            status.st_uid, status.st_gid, status.st_mode, status.st_mtime_ns, status.st_ino,
        )  # fmt: skip


def test_what_strangers_ask_for_is_no_complaint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "error.log"
    log.write_text(
        "before\n"
        "[ssl:warn] [pid 1] AH01909: a.test:443:0\n"
        "[core:error] [pid 1] [client 192.0.2.1:5] AH00127: Cannot map GET /b.test:443 HTTP/1.1\n"
        "[ssl:emerg] [pid 1] AH02572: c.test:443\n"
    )
    monkeypatch.setattr(host, "ERROR_LOG", str(log))
    monkeypatch.setattr(host, "run", lambda command: Done(0, "", ""))
    said = host.complaint(len("before\n"))
    assert "c.test" in said and "a.test" not in said and "b.test" not in said


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["yes"], "yes printed more than 16777216 bytes and was killed"),
        (["sleep", "60"], "sleep did not end within 1 s and was killed"),
        (["/nobody/has/this"], "/nobody/has/this cannot be run: No such file or directory"),
    ],
)
def test_a_program_that_cannot_be_waited_for_is_an_error_with_a_message(command: list[str], said: str) -> None:
    with pytest.raises(ApacheError, match=re.escape(said)):
        host.run(command, seconds=1)
