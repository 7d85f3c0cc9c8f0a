# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every message of a plan, with the input that brings it about and the key path that it names."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.compose_keys import INSTEAD, volume_hint
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import LAB
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.plan import Inputs, make_plan
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import MESSAGES, Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID
from plan_backup_cases import BACKUP_CASES
from plan_helpers import CLASS, GEO, HOST, TAO, Control, at_hub, here, host, lab, plan, two
from plan_hub_cases import HUB_CASES
from plan_image_cases import IMAGE_CASES
from plan_move_cases import MOVE_CASES
from plan_own_cases import OWN_CASES
from plan_people_cases import PEOPLE_CASES
from plan_reset_cases import RESET_CASES
from plan_several_cases import SEVERAL_CASES
from plan_smoke_cases import SMOKE_CASES

DAY = datetime.date(2026, 1, 1)


# Every place of texts by their name.
TEXTS: list[tuple[str, Any]] = [
    (f"{TAO}.environment", lambda value="x", key="A": here(environment={key: value})),
    (f"{TAO}.build.args", lambda value="x", key="A": here(image=..., build={"context": "lab", "args": {key: value}})),
    (f"{CLASS}.environment", lambda value="x", key="A": at_hub(environment={key: value})),
    ("jupyter_defaults.environment", lambda value="x", key="A": {"defaults": {"environment": {key: value}}}),
    (
        "jupyter_images[0].build_args",
        lambda value="x", key="A": {"images": [{"name": "s", "build_args": {key: value}}]},
    ),
    ("jupyter_images[0].labels", lambda value="x", key="A": {"images": [{"name": "s", "labels": {key: value}}]}),
]

OPEN_COMMAND = "exec jupyter-lab --NotebookApp.token '' --no-browser"
OPEN_PASSWORD = "--PasswordIdentityProvider.hashed_password="
OPEN_ARGS = {"NOTEBOOK_ARGS": "--no-browser --IdentityProvider.token="}
# (id, path, what the message must contain, inputs)
CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("wrong_type", "jupyter_instances", "is a mapping; write a list", {"instances": {"tao": {}}}),
    ("wrong_type", "jupyter_instances[0]", "is text; write a mapping", {"instances": ["tao"]}),
    ("wrong_type", f"{TAO}.url", "is a list; write an address", here(url=["https://x.org"])),
    ("wrong_type", f"{TAO}.port", "is text; write a whole number from 1024", here(port="8801")),
    ("wrong_type", f"{TAO}.port", "is true or false", here(port=True)),
    ("wrong_type", f"{TAO}.cpus", "is text; write a number", here(cpus="2")),
    ("wrong_type", f"{TAO}.collaboration", "write true or false", here(collaboration="yes")),
    ("wrong_type", f"{TAO}.state", "is true or false; write present, held or absent", here(state=True)),
    ("wrong_type", f"{TAO}.memory", "write a size in quotes", here(memory=1.5)),
    ("wrong_type", f"{TAO}.image", "write an image reference", here(image=1.0)),
    ("wrong_type", f"{TAO}.command", "is text; write a list", here(command="start.sh")),
    ("wrong_type", f"{TAO}.command[1]", "is empty (null)", here(command=["start.sh", None])),
    ("wrong_type", f"{TAO}.environment", "is a list", here(environment=["A=b"])),
    ("wrong_type", f"{TAO}.environment.A", "is empty (null)", here(environment={"A": None})),
    ("wrong_type", f"{TAO}.persist", "is a list", here(persist=[])),
    ("wrong_type", f"{TAO}.notebooks", "is a date", here(notebooks=datetime.date(2026, 1, 1))),
    ("wrong_type", f"{TAO}.reset.at", "is a number; write HH:MM", here(reset={"at": 1.25})),
    (
        "wrong_type",
        f"{TAO}.volumes[0].read_only",
        "write true",
        here(volumes=[{"source": "/d", "target": "/d", "read_only": 1}]),
    ),
    ("wrong_type", "jupyter_instances[0].name", "is a whole number; write a name in quotes", here(name=7)),
    ("wrong_type", "jupyter_port_range", "is a list of 1", {"port_range": [8800]}),
    ("wrong_type", "jupyter_allow_downgrade", "is text; write true", {**here(), "allow_downgrade": "yes"}),
    ("wrong_type", "jupyter_defaults", "is text", {"defaults": "x"}),
    ("wrong_type", "current", "the result of carrel.jupyter.instance_info", {"current": {"msg": "failed"}}),
    ("unknown_key", f"{TAO}.imagee", "did you mean 'image'?", here(imagee="x")),
    ("unknown_key", f"{TAO}.idle-shutdown-seconds", "'idle_shutdown_seconds'", here(**{"idle-shutdown-seconds": 1})),
    ("unknown_key", f"{TAO}.reset.pul", "did you mean 'pull'?", here(reset={"at": "01:00", "pul": True})),
    (
        "unknown_key",
        f"{TAO}.volumes[0].sorce",
        "did you mean 'source'?",
        here(volumes=[{"sorce": "/d", "target": "/d"}]),
    ),
    ("unknown_key_far", f"{TAO}.zzz", "the keys here are: name, kind", here(zzz=1)),
    ("unknown_key_far", "jupyter_defaults.a whole number", "the keys here are", {"defaults": {1: 2}}),
    *[
        ("compose_key", f"{TAO}.{key}", f"not of this inventory; {instead}", here(**{key: "SECRET"}))
        for key, instead in INSTEAD.items()
    ],
    ("compose_key", f"{CLASS}.mem_limit", "write memory, for a hub in limits", at_hub(mem_limit="16g")),
    ("compose_key", "jupyter_defaults.restart", "leave it out", {"defaults": {"restart": "unless-stopped"}}),
    *[
        ("volume_text", f"{TAO}.volumes[0]", f"is text; write {hint}", here(volumes=[text]))
        for text, hint in [
            ("/data:/data:ro", "{source: /data, target: /data, read_only: true}"),
            ("/data/maps:/maps:z,ro", "{source: /data/maps, target: /maps, read_only: true}"),
            ("/data:/data", "{source: /data, target: /data}"),
            ("./work:/home/jovyan/work", "notebooks: /home/jovyan/work or persist: {work: /home/jovyan/work}"),
            ("conda_envs:/opt/envs", "notebooks: /opt/envs or persist: {conda-envs: /opt/envs}"),
            ("~/x:/x", "a mapping, for example {source: /data/maps"),
            ("/x", "a mapping, for example"),
            ("a:SECRET b", "a mapping, for example"),
        ]
    ],
    ("ids", f"{TAO}.user", 'for example "0:0"', here(user="root")),
    ("missing", "jupyter_instances[0].name", "write a name", here(name=...)),
    ("missing", f"{TAO}.url", "write the public address", here(url=...)),
    ("missing", f"{TAO}.volumes[0].target", "write a folder in the container", here(volumes=[{"source": "/d"}])),
    ("missing", f"{TAO}.build.context", "the Dockerfile", here(image=..., build={"no_cache": True})),
    ("empty", f"{TAO}.password", "leave the key out", here(password="")),
    ("empty", f"{TAO}.login.notice", "leave the key out", here(login={"notice": " \n"})),
    ("choice", f"{TAO}.state", "'stopped' is not one of", here(state="stopped")),
    ("choice", f"{TAO}.kind", "write lab or hub", here(kind="notebook")),
    ("choice", f"{TAO}.proxy.websocket", "write upgrade or wstunnel", here(proxy={"websocket": "ws"})),
    ("choice", "jupyter_tls.mode", "files, selfsigned, acme or none", {"tls": "letsencrypt"}),
    ("range", f"{TAO}.port", "from 1024 to 65535", here(port=80)),
    ("range", f"{TAO}.pids", "a number of more than 18 digits", here(pids=10**5000)),
    ("range", f"{TAO}.cpus", "nan is out of range", here(cpus=float("nan"))),
    ("range", f"{TAO}.proxy.timeout_seconds", "from 31", here(proxy={"timeout_seconds": 30})),
    ("control_character", f"{TAO}.token", "without", here(token="SECRET\n")),
    ("control_character", f"{TAO}.environment.A", "without", here(environment={"A": "SECRET\0"})),
    ("not_a_default", "jupyter_defaults.port", "move it", {"defaults": {"port": 8801}}),
    ("not_a_default", "jupyter_defaults.token_file", "move it", {"defaults": {"token_file": "/srv/tokens/all"}}),
    ("not_a_default", "jupyter_defaults.url", "move it", {"defaults": {"url": "https://x.org"}}),
    ("name", "jupyter_instances[0].name", "'Tao Lab' is not a name", here(name="Tao Lab")),
    ("name", "jupyter_instances[0].name", "for example tao-lab", here(name="Tao Lab")),
    ("name", "jupyter_instances[0].name", "is not a name", here(name="tao-")),
    ("name", "jupyter_instances[0].name", "is not a name", here(name="a" * 32)),
    ("name", "jupyter_instances[0].name", "is not a name", here(name="tao\n")),
    ("name", f"{TAO}.engine", "is not a name", here(engine="9lives")),
    ("name_reserved", "jupyter_instances[0].name", "root's rights", here(name="docker")),
    ("name_reserved", "jupyter_instances[0].name", "system account", here(name="www-data")),
    ("name_reserved", "jupyter_instances[0].name", "system group", here(name="users")),
    ("name_reserved", "jupyter_instances[0].name", "systemd", here(name="systemd-lab")),
    ("name_reserved", f"{TAO}.engine", "'root'", here(engine="root")),
    ("name_reserved", "jupyter_instances[0] (backup-a).name", "the backups of a would", here(name="backup-a")),
    (
        "name_twice",
        "jupyter_instances[1] (tao).name",
        f"also the name of {TAO}",
        {"instances": two({}, {"name": "tao"})},
    ),
    (
        "rollout_share",
        "jupyter_rollout.batch",
        "is 0; write a number of hosts from 1",
        {**here(), "rollout": {"batch": 0}},
    ),
    (
        "rollout_share",
        "jupyter_rollout.max_failures",
        "is 'half'; write a share of a batch",
        {**here(), "rollout": {"max_failures": "half"}},
    ),
    (
        "merge_differs",
        "jupyter_instances_b[0] (tao).url",
        "another value in jupyter_instances_a[0] (tao); write it in one of the two, or in jupyter_instances",
        {
            "groups": {
                "jupyter_instances_a": [lab()],
                "jupyter_instances_b": [lab(url="https://b.example.org")],
            },
            "instances": None,
        },
    ),
    (
        "engine_chain",
        f"{TAO}.engine",
        "write engine: shared",
        {"instances": two({"engine": "geo"}, {"engine": "shared"})},
    ),
    ("url_scheme", f"{TAO}.url", "write the full address: https://tao.example.org", here(url="tao.example.org")),
    ("url_scheme", f"{TAO}.url", "https:// or http://", here(url="ftp://tao.example.org")),
    ("url_character", f"{TAO}.url", "a space", here(url="https://tao.example.org/a b")),
    ("url_character", f"{TAO}.url", "a control character", here(url="https://tao.example.org/\n")),
    ("url_userinfo", f"{TAO}.url", "before '@'", here(url="https://me:SECRET@tao.example.org/")),
    ("url_query", f"{TAO}.url", "write what comes before", here(url="https://tao.example.org/?token=SECRET")),
    ("url_query", f"{TAO}.url", "'#'", here(url="https://tao.example.org/#top")),
    ("url_host", f"{TAO}.url", "'a_b.org' is not a host name", here(url="https://a_b.org/")),
    ("url_host", f"{TAO}.url", "'1.2.3.256'", here(url="https://1.2.3.256/")),
    ("url_host", f"{TAO}.url", "'' is not", here(url="https:///tao/")),
    ("url_host_unicode", f"{TAO}.url", "in punycode: xn--bcher-kva.example", here(url="https://bücher.example/")),
    ("url_host_unicode", f"{TAO}.url", "in punycode: xn--strae-oqa.example", here(url="https://straße.example/")),
    ("url_host_unicode", f"{TAO}.url", "in punycode: xn--fa-hia.example", here(url="https://FAß.example/")),
    ("url_host_unicode", f"{TAO}.url", "in punycode: tao.example", here(url="https://ta\uff4f.example/")),
    ("url_host_unicode", f"{TAO}.url", "the host name in punycode", here(url="https://a_ü.example/")),
    ("url_ipv6", f"{TAO}.url", "IPv6", here(url="https://[::1]/")),
    ("url_port", f"{TAO}.url", "'65536' is not a port", here(url="https://tao.example.org:65536/")),
    ("url_port", f"{TAO}.url", "is not a port", here(url="https://tao.example.org:٨/")),
    ("url_port_scheme", f"{TAO}.url", "https on port 80", here(url="https://tao.example.org:80/")),
    ("url_port_scheme", f"{TAO}.url", "http on port 443", here(url="http://tao.example.org:443/", tls=...)),
    ("url_path", f"{TAO}.url", "'/../x'", here(url="https://tao.example.org/../x")),
    ("url_path", f"{TAO}.url", "single slashes", here(url="https://tao.example.org//x/")),
    ("url_path_encoded", f"{TAO}.url", "'%'", here(url="https://tao.example.org/%2e/")),
    (
        "url_twice",
        f"{GEO}.url",
        f"also the address of {TAO}",
        {"instances": two({}, {"url": "https://TAO.example.org:443"})},
    ),
    ("url_shadow", f"{GEO}.url", "'/lab/' hides", {"instances": two({}, {"url": "https://tao.example.org/lab"})}),
    (
        "url_plain_and_tls",
        f"{GEO}.url",
        "write https://",
        {"instances": two({}, {"url": "http://tao.example.org/x", "tls": ...})},
    ),
    (
        "url_mixed_port",
        f"{GEO}.url",
        "port 8443 speaks both",
        {"instances": two({"url": "https://tao.example.org:8443"}, {"url": "http://geo.example.org:8443", "tls": ...})},
    ),
    ("tls_missing", f"{TAO}.tls", "files, selfsigned, acme, none", here(tls=...)),
    ("tls_none", f"{TAO}.tls", "begins with https://", here(tls="none")),
    ("tls_none", f"{TAO}.tls", "begins with https://", {**here(tls=...), "tls": "none"}),
    ("tls_on_http", f"{TAO}.tls", "is acme, but", here(url="http://tao.example.org", tls="acme")),
    ("tls_pair", f"{TAO}.tls", "certificate and private_key", here(tls={"mode": "files", "certificate": "/c.pem"})),
    ("tls_no_pair", f"{TAO}.tls", "mode acme", here(tls={"mode": "acme", "certificate": "/c.pem"})),
    ("tls_acme_host", f"{TAO}.tls", "public host name", here(url="https://localhost/", tls="acme")),
    ("tls_acme_host", f"{TAO}.tls", "10.0.0.1", here(url="https://10.0.0.1/", tls="acme")),
    (
        "tls_differs",
        f"{GEO}.tls",
        f"differs from {TAO}",
        {"instances": two({}, {"url": "https://tao.example.org/geo", "tls": "acme"})},
    ),
    ("hsts_on_http", f"{TAO}.hsts_seconds", "write 0", here(url="http://tao.example.org", tls=..., hsts_seconds=60)),
    (
        "hsts_differs",
        f"{GEO}.hsts_seconds",
        f"differs from {TAO}",
        {"instances": two({}, {"url": "https://tao.example.org/geo", "hsts_seconds": 60})},
    ),
    ("image", f"{TAO}.image", "in lower case", here(image="example.org/Lab:1")),
    ("image", f"{TAO}.image", "is not an image reference", here(image="lab:1\n")),
    ("image", f"{TAO}.image", "is not an image reference", here(image="a" * 64)),
    ("image", f"{TAO}.image", "is not an image reference", here(image="me:SECRET@example.org/lab:1")),
    (
        "image_tag_for_pull",
        f"{TAO}.image",
        "no tag",
        here(image="localhost:5000/lab", reset={"at": "01:00", "pull": True}),
    ),
    ("image_and_build", f"{TAO}.build", "keep one", here(build="images/lab")),
    ("image_or_build", f"{TAO}.image", "write image: NAME:TAG", here(image=...)),
    (
        "build_pull",
        f"{TAO}.reset.pull",
        "leave pull out",
        here(image=..., build="lab", reset={"at": "01:00", "pull": True}),
    ),
    ("build_context", f"{TAO}.build.context", "'/inventory/missing'", here(image=..., build="missing")),
    (
        "build_dockerfile",
        f"{TAO}.build.dockerfile",
        "'/inventory/lab/nofile'",
        here(image=..., build={"context": "lab", "dockerfile": "nofile"}),
    ),
    ("not_text", f"{TAO}.password", "write it in quotes", here(password=987654321)),
    *[
        ("not_text", f"{path}.A", f"is {kind}, not text; write it in quotes", inputs(value))
        for value, kind in [(987654321, "a whole number"), (3.1, "a number"), (True, "true or false"), (DAY, "a date")]
        for path, inputs in TEXTS
    ],
    *[("key_not_text", path, "a key that is true or false", inputs(key=True)) for path, inputs in TEXTS],
    ("not_text", f"{TAO}.token", "is a list, not text", here(token=["SECRET"])),
    ("password_short", f"{TAO}.password", "at least 8", here(password="SECRET1")),
    ("password_short", f"{TAO}.token", "at least 16", here(token="SECRET-SECRET-1")),
    ("secret_space", f"{TAO}.password", "write it without", here(password=" SECRET")),
    ("secret_space", f"{TAO}.token", "write it without", here(token="SECRET\u00a0")),
    ("size", f"{TAO}.memory", "'8 gigs' is not a size", here(memory="8 gigs")),
    ("size", f"{TAO}.proxy.max_body", "is not a size", here(proxy={"max_body": "-1G"})),
    ("size_range", f"{TAO}.memory", "8 is out of range; write a size from 6M", here(memory=8)),
    ("size_range", f"{TAO}.memory", "to 64T", here(memory="65T")),
    ("size_range", f"{TAO}.proxy.max_body", "0 for no limit", here(proxy={"max_body": 5})),
    ("ids", f"{TAO}.user", '"1000:100"', here(user=60010)),
    ("ids", f"{TAO}.owner", "0 to 65535", here(owner="65536:0")),
    ("device", f"{TAO}.devices[0]", "nvidia.com/gpu=0", here(devices=["/dev/nvidia0"])),
    ("device", f"{TAO}.devices[1]", "VENDOR/CLASS=NAME", here(devices=["nvidia.com/gpu=0", "nvidia.com/gpu=0,1"])),
    ("device", f"{TAO}.devices[0]", "VENDOR/CLASS=NAME", here(devices=[0])),
    ("device_twice", f"{TAO}.devices", "keep one", here(devices=["nvidia.com/gpu=0", "nvidia.com/gpu=0"])),
    ("compose_key", f"{TAO}.gpus", "in devices", here(gpus="all")),
    ("environment_name", f"{TAO}.environment.A-B", "no digit first", here(environment={"A-B": "SECRET"})),
    ("environment_name", f"{TAO}.environment", "no digit first", here(environment={"A=SECRET": "x"})),
    (
        "environment_reserved",
        f"{TAO}.environment.JUPYTER_TOKEN",
        "use the key token",
        here(environment={"JUPYTER_TOKEN": "SECRET"}),
    ),
    ("login_option", f"{TAO}.command[1]", "has --ServerApp.token,", here(command=["x", "--ServerApp.token=''"])),
    ("login_option", f"{TAO}.command[2]", "has --NotebookApp.token,", here(command=["sh", "-c", OPEN_COMMAND])),
    ("login_option", f"{TAO}.command[0]", ".hashed_password, which", here(command=[OPEN_PASSWORD])),
    ("login_option", f"{TAO}.environment.NOTEBOOK_ARGS", "use the keys", here(environment=OPEN_ARGS)),
    ("container_path", f"{TAO}.notebooks", "'work' is not a folder", here(notebooks="work")),
    ("container_path", f"{TAO}.notebooks", "other than '/'", here(notebooks="/")),
    ("container_path", f"{TAO}.persist.conda", "/proc", here(persist={"conda": "/proc/self"})),
    (
        "host_path",
        f"{TAO}.volumes[0].source",
        "'data' is not a path",
        here(volumes=[{"source": "data", "target": "/d"}]),
    ),
    ("host_path", f"{TAO}.volumes[0].source", "without '..'", here(volumes=[{"source": "/d/../etc", "target": "/d"}])),
    (
        "host_path",
        f"{TAO}.tls.certificate",
        "absolute",
        here(tls={"mode": "files", "certificate": "c", "private_key": "/k"}),
    ),
    (
        "source_forbidden",
        f"{TAO}.volumes[0].source",
        "configuration",
        here(volumes=[{"source": "/etc/x", "target": "/d"}]),
    ),
    (
        "source_forbidden",
        f"{TAO}.volumes[0].source",
        "socket",
        here(volumes=[{"source": "/var//run/", "target": "/d"}]),
    ),
    (
        "source_forbidden",
        f"{TAO}.volumes[0].source",
        "gives control of the whole engine",
        here(volumes=[{"source": "/srv/docker.sock", "target": "/d"}]),
    ),
    ("source_forbidden", "jupyter_base_dir", "root's home", {"base_dir": "/root/labs"}),
    ("base_dir", "jupyter_base_dir", "cron's lines", {"base_dir": "/srv/our labs"}),
    ("base_dir", "jupyter_base_dir", "cron's lines", {"base_dir": "/srv/100%"}),
    (
        "relative_path",
        f"{TAO}.build.dockerfile",
        "'../Dockerfile'",
        here(image=..., build={"context": "lab", "dockerfile": "../Dockerfile"}),
    ),
    (
        "target_twice",
        f"{TAO}.volumes[0].target",
        "where notebooks is mounted",
        here(volumes=[{"source": "/d", "target": "/home/jovyan/work/"}]),
    ),
    ("target_twice", f"{TAO}.persist.b", "where persist.a is mounted", here(persist={"a": "/opt/x", "b": "/opt//x"})),
    ("persist_name", f"{TAO}.persist", "'notebooks' is not a name", here(persist={"notebooks": "/opt/x"})),
    ("persist_name", f"{TAO}.persist", "'../x'", here(persist={"../x": "/opt/x"})),
    ("login_one", f"{TAO}.login", "has 2 of", here(login={"notice": "a", "notice_html": "b"})),
    ("login_one", f"{TAO}.login", "has none of", here(login={})),
    ("login_template", f"{TAO}.login.template", "No such file", here(login={"template": "missing.html"})),
    ("login_template", f"{TAO}.login.template", "not UTF-8", here(login={"template": "binary.html"})),
    ("port_range_order", "jupyter_port_range", "9000 is above the last 8000", {"port_range": [9000, 8000]}),
    ("port_twice", f"{GEO}.port", f"also the port of {TAO}", {"instances": two({"port": 8801}, {"port": 8801})}),
    (
        "port_public",
        f"{TAO}.port",
        "8443 is a port on which Apache",
        here(url="https://tao.example.org:8443", port=8443),
    ),
    ("port_taken", f"{TAO}.port", "by another program", {**here(port=8900), "current": HOST}),
    (
        "port_taken",
        f"{TAO}.port",
        "by instance old",
        {**here(port=8901), "current": host(instances={"old": {"engine": "old", "port": 8901}})},
    ),
    ("port_ephemeral", f"{TAO}.port", "the ports 32768 to 60999", {**here(port=40000), "current": HOST}),
    ("port_none_free", f"{TAO}.port", "from 8900 to 8900", {**here(), "port_range": [8900, 8900], "current": HOST}),
    (
        "account_foreign",
        "jupyter_instances[0] (ada).name",
        "has an account 'ada'",
        {**here(name="ada"), "current": HOST},
    ),
    ("account_foreign", f"{TAO}.engine", "has an account 'ada'", {**here(engine="ada"), "current": HOST}),
    (
        "engine_moved",
        f"{TAO}.engine",
        "write engine: old",
        {**here(), "current": host(instances={"tao": {"engine": "old", "port": 8801}})},
    ),
    (
        "taken_in_part",
        TAO,
        "the takeover of tao, or its way back, is not",
        {**here(), "current": host(taken_in_part=["tao"])},
    ),
    ("group_foreign", f"{TAO}.name", "has a group 'tao'", {**here(), "current": host(groups=["tao"])}),
    (
        "directory_moved",
        "jupyter_base_dir",
        "tao lives in /data/tao",
        {**here(), "current": host(instances={"tao": {"engine": "tao", "port": 8801, "directory": "/data/tao"}})},
    ),
    (
        "downgrade",
        "jupyter_allow_downgrade",
        "version 10.0.0 of the collection set up geo, tao, and this is",
        {
            **here(),
            "current": host(instances={"tao": {"collection": "9.1.0"}, "geo": {"collection": "10.0.0"}, "old": {}}),
        },
    ),
    *(
        (
            "left_out_differs",
            f"{GEO}.{key}",
            f"{new}, and on the host still {old}, while jupyter_instances_only leaves geo out; choose geo, too",
            {
                "instances": two({}, geo),
                "only": ["tao"],
                "current": host(instances={"geo": {"engine": "geo", "port": 8802, "state": "present", **record}}),
            },
        )
        for key, old, new, geo, record in (
            ("port", 8802, 8850, {"port": 8850}, {}),
            ("port", 33000, "", {}, {"second_port": 33000}),
            ("url", "https://old.example.org/", "https://geo.example.org/", {}, {"url": "https://old.example.org/"}),
            ("state", "present", "held", {"state": "held"}, {}),
            ("state", "present", "absent", {"state": "absent"}, {}),
        )
    ),
    ("cpus_host", f"{TAO}.cpus", "write at most 4", {**here(cpus=8), "current": HOST}),
]

ALL_CASES = [
    *CASES, *HUB_CASES, *PEOPLE_CASES, *IMAGE_CASES, *RESET_CASES, *SEVERAL_CASES, *BACKUP_CASES, *OWN_CASES,
    *MOVE_CASES, *SMOKE_CASES,
]  # fmt: skip


def test_every_message_has_a_case() -> None:
    # The action plugin reports what can't be rendered; test_plan_action.py has its cases.
    assert {case[0] for case in ALL_CASES} | {"template", "template_comment"} == set(MESSAGES)


@pytest.mark.parametrize(("message_id", "path", "text", "inputs"), ALL_CASES)
def test_message(message_id: str, path: str, text: str, inputs: dict[str, Any]) -> None:
    result, problems = plan(
        inputs.get("instances", []), **{key: item for key, item in inputs.items() if key != "instances"}
    )
    assert result is None
    found = [problem.message for problem in problems if (problem.id, problem.path) == (message_id, path)]
    # group_mounts may have more to say about one mount.
    assert len(found) == 1 or message_id == "mounts", problems
    assert any(text in message for message in found), found
    assert all(
        "\n" not in str(problem) and "SECRET" not in str(problem) and "987654321" not in str(problem)
        for problem in problems
    )


def test_a_bad_value_brings_one_problem() -> None:
    """What is reported once is not reported again as missing or contradictory."""
    alone = {
        "wrong_type",
        "unknown_key",
        "name",
        "name_reserved",
        "url_path",
        "time",
        "size",
        "image",
        "tls_pair",
        "choice",
    }
    for message_id, _path, _text, inputs in [*CASES, *IMAGE_CASES, *RESET_CASES, *BACKUP_CASES]:
        if message_id in alone:
            _result, problems = plan(
                inputs.get("instances", []), **{key: item for key, item in inputs.items() if key != "instances"}
            )
            assert [problem.id for problem in problems] == [message_id], problems


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"token_value": "SECRET"}, "the value is not a path on the host"),
        ({"engines": "SECRET 1"}, "the value is not a name for"),
        ({"memry": "SECRET"}, "the value is not a size"),
        ({"proxi": {"max_bodi": "SECRET"}}, "the value is not a size"),
    ],
)
def test_the_value_of_a_misspelt_key_is_checked_and_not_shown(keys: dict[str, Any], message: str) -> None:
    _result, problems = plan([lab(**keys)])
    assert {problem.id for problem in problems[:-1]} == {"unknown_key"} and problems[-1].message.startswith(message)
    assert "SECRET" not in "".join(map(str, problems))


def test_advice_about_a_volume_is_accepted() -> None:
    for text in ("/data:/data:ro", "/srv/maps:/maps"):
        _result, problems = plan([lab(volumes=[yaml.safe_load(volume_hint(text))])])
        assert problems == []
    assert not set(INSTEAD) & set(LAB)


def test_all_problems_of_all_instances_in_their_order() -> None:
    instances = [lab(state="x", port=1), lab(name="geo", url="https://geo.example.org", memory="x")]
    _result, problems = plan(instances, tls="x")
    assert [problem.path for problem in problems] == [
        "jupyter_tls.mode",
        f"{TAO}.state",
        f"{TAO}.port",
        f"{GEO}.memory",
    ]


def test_what_could_not_be_rendered_is_not_reported_again() -> None:
    """The action plugin has reported it; nothing else may follow from it."""
    instances = [
        lab(image=INVALID, url=INVALID, password=INVALID, environment={"A": INVALID}, login={"notice": INVALID})
    ]
    problems = Problems()
    problems.add(f"{TAO}.url", "template", error="'domain' is undefined")
    assert make_plan(Inputs(instances=instances), Control(), problems) is None
    assert [problem.id for problem in problems.items] == ["template"]


def test_show_is_short_and_on_one_line() -> None:
    assert show("a\nb") == "'a\\nb'"
    assert len(show("x" * 500)) == 80
