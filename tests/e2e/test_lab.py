# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people do at each instance, through its public URL."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re

import pytest
import requests

from testbed.client import LoginError
from testbed.patience import PATIENCE

from .conftest import Site, run_on, sites


def test_a_kernel_answers(site: Site) -> None:
    with site.lab().login(site.secret) as lab:
        assert lab.run("print(6 * 7)").strip() == "42"


def test_a_terminal_answers(site: Site) -> None:
    with site.lab().login(site.secret) as lab:
        shown = lab.terminal().run("echo $((6 * 7))-done", until="42-done")
    assert "42-done" in shown


@pytest.mark.parametrize("wrong", ["wrong", "", "' or 1=1"])
def test_a_wrong_password_is_refused(site: Site, wrong: str) -> None:
    with pytest.raises(LoginError, match="refused the password with status 401"):
        site.lab().login(wrong)


def test_nobody_gets_in_without_logging_in(site: Site) -> None:
    answer = requests.get(site.url + "api/contents", verify=site.ca, timeout=PATIENCE)
    assert answer.status_code == 403


def test_one_browser_is_logged_in_to_two_labs_of_one_domain(tao: Site, atlas: Site) -> None:
    with tao.lab().login(tao.secret) as first, atlas.lab() as second:
        second.http = first.http
        second.login(atlas.secret)
        for lab in (first, second, first):
            lab.request("GET", "api/contents")


def test_a_name_with_an_encoded_slash(site: Site) -> None:
    with site.lab().login(site.secret) as lab:
        lab.request("PUT", "api/contents/folder", json={"type": "directory"})
        assert lab.put("folder/a name & ünïcode.txt", "there").status_code in (200, 201)
        assert lab.get("folder/a name & ünïcode.txt") == "there"


def test_a_large_upload(tao: Site) -> None:
    content = os.urandom(100 * 2**20)
    with tao.lab(timeout=300).login(tao.secret) as lab:
        body = {"type": "file", "format": "base64", "content": base64.b64encode(content).decode()}
        lab.request("PUT", "api/contents/large.bin", json=body)
        answer = lab.request("GET", "files/large.bin")
        assert hashlib.sha256(answer.content).digest() == hashlib.sha256(content).digest()
        lab.request("DELETE", "api/contents/large.bin")


def test_files_belong_to_the_mapped_id_on_the_host(site: Site) -> None:
    with site.lab().login(site.secret) as lab:
        ids = lab.run(
            "import os, pathlib; pathlib.Path.home(); open('owned', 'w').close(); print(os.getuid(), os.getgid())"
        )
    uid, gid = (int(part) for part in ids.split())
    expected = tuple(_mapped(site, number, kind) for number, kind in ((uid, "uid"), (gid, "gid")))
    owner = run_on(site.host, "stat", "-c", "%u %g", f"/srv/{site.name}/data/notebooks/owned").split()
    assert tuple(int(part) for part in owner) == expected


def _mapped(site: Site, number: int, kind: str) -> int:
    """The host's id by /etc/subuid or /etc/subgid, computed by other code than the collection's."""
    account = str(site.declared.get("engine", site.name))
    if number == 0:
        return int(run_on(site.host, "id", "-u" if kind == "uid" else "-g", account))
    line = re.search(rf"^{account}:(\d+):(\d+)$", run_on(site.host, "cat", f"/etc/sub{kind}"), re.MULTILINE)
    assert line
    return int(line.group(1)) + number - 1


def test_secrets_are_readable_by_the_account_alone(site: Site) -> None:
    modes = run_on(site.host, "find", f"/srv/{site.name}", "-maxdepth", "2", "-type", "f", "-printf", "%p %m\n")
    by_name = dict(line.rsplit(" ", 1) for line in modes.splitlines())
    assert by_name[f"/srv/{site.name}/.env"] == "640"
    for path in (".env", "compose.yaml", "login/compose.yaml"):  # root's docker compose reads them
        assert run_on(site.host, "stat", "--format=%U", f"/srv/{site.name}/{path}").strip() == "root"
    assert by_name[f"/srv/{site.name}/server/jupyter_server_config.json"] == "400"
    if "password" not in site.declared:
        assert run_on(site.host, "stat", "--format", "%a", site.token_file).strip() == "600"


def test_secrets_are_in_no_other_file_and_no_command_line(site: Site) -> None:
    secret = site.secret
    found = run_on(
        site.host, "grep", "--recursive", "--fixed-strings", "--files-with-matches", "--exclude-dir=data", "--",
        secret, f"/srv/{site.name}", "/etc/apache2", "/etc/cron.d", "/etc/carrel", "/var/lib/carrel", check=False,
    ).split()  # fmt: skip
    allowed = {site.token_file, f"/srv/{site.name}/server/jupyter_server_config.json"}
    assert set(found) <= allowed
    commands = run_on(site.host, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert secret not in commands


def test_parents_of_data_belong_to_root(site: Site) -> None:
    for path in (f"/srv/{site.name}", f"/srv/{site.name}/data"):
        assert run_on(site.host, "stat", "-c", "%u %a", path).split() == ["0", "711"]


def test_the_port_is_published_on_the_loopback_alone(site: Site) -> None:
    record = json.loads(run_on(site.host, "cat", f"/var/lib/carrel/{site.name}/instance.json"))
    tables = run_on(site.host, "cat", "/proc/net/tcp", "/proc/net/tcp6")
    listening = [line.split()[1] for line in tables.splitlines() if " 0A " in line]
    ports = {record["port"], record["second_port"]}  # a reset goes over to the other
    addresses = {address.split(":")[0] for address in listening if int(address.split(":")[1], 16) in ports}
    assert addresses == {"0100007F"}


def test_the_container_is_healthy(site: Site) -> None:
    states = site.docker("compose", "-f", f"/srv/{site.name}/compose.yaml", "ps", "--format", "'{{.Health}}'").split()
    assert states == ["healthy"]


def test_the_environment_arrives_unchanged(geo: Site) -> None:
    with geo.lab().login(geo.secret) as lab:
        seen = json.loads(lab.run("import json, os; print(json.dumps(dict(os.environ)))"))
    assert seen["GREETING"] == geo.declared["environment"]["GREETING"]
    assert seen["ANSWER"] == "42"
    assert seen["JUPYTER_AUTOSHUTDOWN_TIMEOUT"] == "86400"
    # images of the Carto-Lab kind would end idle kernels
    assert "JUPYTER_WEBURL" not in seen
    assert not any(geo.secret in value for value in seen.values())


@pytest.mark.parametrize(("name", "disabled"), [("tao", False), ("atlas", False), ("geo", True)])
def test_collaboration_is_as_the_image_has_it_or_as_declared(name: str, disabled: bool) -> None:
    with sites()[name].lab().login(sites()[name].secret) as lab:
        page = lab.request("GET", "lab").text
    config = re.search(r'id="jupyter-config-data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert config and json.loads(config[1])["disableRTC"] is disabled


def test_build_arguments_volumes_and_persistent_directories(geo: Site) -> None:
    with geo.lab().login(geo.secret) as lab:
        code = """
            import os, pathlib
            print(pathlib.Path('/opt/app-version').read_text().strip())
            print(pathlib.Path('/home/jovyan/work/licenses/GPL-3').exists())
            pathlib.Path('/root/.jupyter/lab/kept').write_text('kept')
            try:
                pathlib.Path('/home/jovyan/work/licenses/new').touch()
            except OSError as error:
                print(error.strerror)
        """
        lines = lab.run("\n".join(line[12:] for line in code.splitlines())).split("\n")
    assert lines[:3] == ["3.1", "True", "Read-only file system"]
    assert run_on(geo.host, "cat", "/srv/geo/data/settings/kept") == "kept"


def test_a_fixed_token_works_beside_the_password(geo: Site) -> None:
    with geo.lab().login(geo.declared["token"]) as lab:
        assert lab.run("print('token')").strip() == "token"


def test_the_notice_is_on_the_login_page_as_it_was_written(geo: Site) -> None:
    page = requests.get(geo.url + "login", verify=geo.ca, timeout=PATIENCE).text
    assert "The service restarts daily at 01:25. {{ Only your home folder is kept. }}" in _unescaped(page)
    assert "<your>" not in page and "&lt;your&gt;" in page


def test_a_notice_of_html_is_on_the_login_page(atlas: Site) -> None:
    assert (
        "<h2 id='atlas-notice'>Atlas</h2>" in requests.get(atlas.url + "login", verify=atlas.ca, timeout=PATIENCE).text
    )


def _unescaped(text: str) -> str:
    return text.replace("&#123;", "{").replace("&#125;", "}")
