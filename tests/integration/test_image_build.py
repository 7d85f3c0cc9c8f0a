# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""image_build against a real engine and a real registry, and its messages when a build fails."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import module_runner
import pytest
import yaml
from own_images import inside, lab_image, password_registry

from testbed import images
from testbed.patience import until
from testbed.run import ROOT, run, succeeds

SOCKET = "/var/run/docker.sock"
KERNELS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "images" / "kernels").glob("*.yml")}
CERTIFICATES = [path.read_text() for path in images.MACHINE_CERTIFICATES.glob("*.crt")]
NAME = "carrel-testbed/declared"
LABEL = {"carrel.test": "image-build", "carrel.words": 'Büro "$HOME" \\'}
SMALL = {"base": images.BASE, "files": [{"dest": "/etc/carrel-test", "content": "small"}], "extra_ca_certificates": []}
COMMON: dict[str, Any] = {"name": NAME, "extra_ca_certificates": CERTIFICATES, "labels": LABEL}


def ask(check: bool = False, tries: int = 3, **image: Any) -> dict[str, Any]:
    declared = {**COMMON, **image}
    if "folder" in image:
        declared.pop("extra_ca_certificates")
    images_of_it = json.dumps([declared])
    arguments = {"images": images_of_it, "kernels": KERNELS, "socket": SOCKET, "tries": tries, "pause_seconds": 1}
    return module_runner.run("image_build", arguments, check)


def said(tries: int = 3, **image: Any) -> str:
    answer = ask(tries=tries, **image)
    assert answer.get("failed"), answer
    return answer["msg"]


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    yield lab_image()
    found = run("docker", "image", "ls", "--quiet", "--filter", "label=carrel.test=image-build").split()
    if found:
        subprocess.run(["docker", "image", "rm", "--force", *found], capture_output=True, check=False)


@pytest.fixture(scope="module")
def declared(base) -> dict[str, Any]:
    return {
        "base": base, "apt": ["hello"], "pip": ["humanize==4.13.0"], "npm": ["cowsay@1.6.0"], "kernels": ["bash"],
        "files": [{"dest": "/etc/carrel-test", "content": "from the inventory\n", "mode": "0640"}],
        "settings": {"@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab Dark"}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def built(declared) -> dict[str, Any]:
    return ask(**declared)["images"][0]


def test_everything_that_is_declared_is_in_the_image(built):
    script = """
    ls -A $HOME; hello
    python -c "import humanize; print(humanize.intcomma(1000))"; cowsay -f bunny hi | head -2 | tail -1
    jupyter kernelspec list | grep -c bash; stat -c "%a %U" /etc/carrel-test; id -un
    grep -h Dark /opt/server/share/jupyter/lab/settings/overrides.json
    """
    lines = inside(built["image"], "bash", "-c", script).splitlines()
    assert lines == [
        ".bash_logout", ".bashrc", ".profile", "work",
        "Hello, world!", "1,000", "< hi >", "1", "640 root", "jovyan", '  "theme": "JupyterLab Dark"',
    ]  # fmt: skip
    labels = json.loads(run("docker", "image", "inspect", "--format", "{{json .Config.Labels}}", built["image"]))
    assert labels == {**LABEL, "carrel.lab": ""}, "the base's, too"


def test_what_is_there_is_not_built_again(built, declared):
    for check in True, False:
        again = ask(check, **declared)
        assert (again["changed"], again["diff"], again["images"]) == (False, [], [built])


def test_check_mode_returns_the_tag_and_builds_nothing(declared):
    answer = ask(check=True, **{**declared, "apt": []})
    tag = answer["images"][0]["image"]
    assert answer["changed"] and answer["diff"][0]["after"] == tag
    assert not succeeds("docker", "image", "inspect", tag)


def test_a_folder_of_ones_own(base, tmp_path):
    (tmp_path / "Dockerfile.map").write_text(f"FROM {base}\nARG APP_VERSION\nENV APP_VERSION=$APP_VERSION\n")
    folder = {"folder": str(tmp_path), "dockerfile": "Dockerfile.map", "folder_digest": "0f5a"}
    one, two = (ask(**folder, build_args={"APP_VERSION": version})["images"][0] for version in ("1", "2"))
    assert one["image"] != two["image"]
    assert inside(two["image"], "printenv", "APP_VERSION") == "2"
    assert not ask(**folder, build_args={"APP_VERSION": "1"})["changed"]


def test_values_of_build_arguments_arrive_as_they_are(base, tmp_path):
    """Those that docker itself would take for its own, too."""
    given = {"http_proxy": "http://ada:p%20w@127.0.0.1:9/", "LD_TRIAL": "l", "DOCKER_TRIAL": "d", "TRIAL": 'a=b"$x'}
    arguments = "".join(f"ARG {key}\n" for key in given if key != "http_proxy")
    shown = " && ".join(f'echo "${key}"' for key in given)
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\nUSER root\n{arguments}RUN ({shown}) > /trial\n")
    image = ask(folder=str(tmp_path), folder_digest="arguments", build_args=given)["images"][0]["image"]
    assert inside(image, "cat", "/trial").splitlines() == [*given.values()]


def test_a_failed_build_hides_the_values_of_build_arguments(base, tmp_path):
    (tmp_path / "Dockerfile").write_text(f'FROM {base}\nARG KEY\nRUN echo "key $KEY, $https_proxy" >&2; false\n')
    given = {"KEY": "s3cret", "https_proxy": "http://ada:pass-word@127.0.0.1:9/"}
    text = ask(folder=str(tmp_path), folder_digest="hidden", build_args=given)["msg"]
    assert "key ********, ********" in text and "s3cret" not in text and "pass-word" not in text


def failed_steps() -> set[str]:
    """Containers that ran a RUN's shell and have ended; other tests' builds commit theirs and remove them."""
    listed = run("docker", "ps", "--all", "--filter", "status=exited", "--no-trunc", "--format", "{{.ID}} {{.Command}}")
    return {line.split()[0] for line in listed.splitlines() if "/bin/sh -ec" in line}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            {"apt": ["no-such-package-here"]},
            "apt: there is no package no-such-package-here; correct",
        ),
        ({"pip": ["humanize==0.0.99"]}, "pip: there is no package humanize==0.0.99; correct its name or version"),
        ({"npm": ["cowsay@99.0.0"]}, "npm: there is no package cowsay@99.0.0; correct its name or version"),
        (
            {"kernels": ["pyton"]},
            "there is no kernel pyton; did you mean python?",
        ),
        ({"settings": {"@jupyterlab/apputils-extension:themes": {"thme": 1}}}, "has no setting 'thme': did you mean"),
    ],
)
def test_a_failed_build_is_explained_in_a_few_lines(base, what, message):
    before = failed_steps()
    text = said(base=base, **what)
    new = failed_steps() - before
    until(lambda: not new & failed_steps(), "no container of a failed step stays")
    assert text.startswith(f"image {NAME}") and message in text
    assert len(text.splitlines()) <= 10


def test_a_failed_untested_kernel_is_reported_as_untested(base, tmp_path):
    out_of_reach = {**KERNELS["go"], "apt": [], "steps": ["echo 'go: proxy: connection refused' >&2; exit 1"]}
    image = json.dumps([{"name": NAME, "base": base, "kernels": ["go"]}])
    arguments = {"images": image, "kernels": {"go": out_of_reach}}
    answer = module_runner.run("image_build", {**arguments, "socket": SOCKET, "tries": 1})
    assert "kernel go: it could not be built. It is declared but not tested: gophernotes comes" in answer["msg"]


def test_the_networks_failures_are_tried_again(base, tmp_path):
    (tmp_path / "Dockerfile").write_text(
        f"FROM {base}\nRUN date +%s%N && echo 'connect: connection refused' && false\n"
    )
    began = time.monotonic()
    answer = ask(folder=str(tmp_path), folder_digest="1")
    assert "a server did not answer" in answer["msg"] and time.monotonic() - began > 3  # 1 s and 2 s between the tries


def test_a_base_for_another_architecture_is_refused(base, tmp_path):
    with tarfile.open(tmp_path / "layer.tar", "w"):
        pass
    layer = hashlib.sha256((tmp_path / "layer.tar").read_bytes()).hexdigest()
    config = {"architecture": "arm64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]}}
    manifest = [{"Config": "config.json", "RepoTags": ["carrel-testbed/arm:1"], "Layers": ["layer.tar"]}]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    run("tar", "-C", tmp_path, "-cf", tmp_path / "arm.tar", "layer.tar", "config.json", "manifest.json")
    run("docker", "load", "--input", tmp_path / "arm.tar")
    try:
        text = said(base="carrel-testbed/arm:1")
        assert "carrel-testbed/arm:1 is an image for another architecture, arm64: take one for " in text
    finally:
        run("docker", "image", "rm", "carrel-testbed/arm:1")


def test_a_base_that_nobody_has(base):
    assert "pulling 127.0.0.1:9/none:1 failed: 127.0.0.1:9 did not answer" in said(tries=1, base="127.0.0.1:9/none:1")


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Iterator[str]:
    with password_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def test_push_and_pull_by_digest(base, registry, tmp_path_factory):
    assert f"the registry asks for a login; give image_registries an entry for {registry}" in said(
        **SMALL, push=registry
    )
    config = tmp_path_factory.mktemp("docker")
    run("docker", "--config", config, "login", "--username", "ada", "--password-stdin", registry, input_text="secret")
    arguments = {
        "images": json.dumps([{**COMMON, **SMALL, "push": registry}]),
        "kernels": KERNELS, "socket": SOCKET, "docker_config": str(config),
    }  # fmt: skip
    answers = [module_runner.run("image_build", arguments, check) for check in (True, False, True, False)]
    assert [answer["changed"] for answer in answers] == [True, True, False, False], answers
    digest = answers[1]["images"][0]["digest"]
    assert digest.startswith(f"{registry}/{NAME}@sha256:")
    run("docker", "--config", config, "pull", "--quiet", digest)
    assert run("docker", "image", "inspect", "--format", "{{.Id}}", digest) == answers[1]["images"][0]["image_id"]
    run("docker", "image", "rm", digest, f"{registry}/{answers[1]['images'][0]['image']}")


def test_a_registry_that_does_not_answer(base):
    text = said(tries=1, **SMALL, push="127.0.0.1:9")
    assert f"pushing 127.0.0.1:9/{NAME}:" in text and "failed: 127.0.0.1:9 did not answer" in text
    assert not run("docker", "image", "ls", "--quiet", f"127.0.0.1:9/{NAME}"), "it would seem to be pushed"
