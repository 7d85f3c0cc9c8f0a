# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role image on this machine: builds on one host of the inventory, pulls by digest on another."""

from __future__ import annotations

import own_images
import pytest
from image_role import play
from own_images import inside

from testbed import images
from testbed.run import run


@pytest.fixture(scope="module")
def registry():
    config = "/etc/docker/registry/config.yml"
    with own_images.registry(
        "sh", "-c", f"sed -i '/tls:/,$d' {config} && exec docker-registry serve {config}"
    ) as address:
        yield address
    listed = run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    run("docker", "image", "rm", *(image for image in listed if image.startswith(address)))


def test_one_host_builds_and_the_other_pulls_by_digest(tmp_path, registry):
    own = tmp_path / "own"
    own.mkdir()
    (own / "Dockerfile").write_text("FROM debian:trixie-slim\nARG APP_VERSION\nENV APP_VERSION=$APP_VERSION\n")
    small = {"base": images.base(), "files": [{"dest": "/etc/carrel-test", "content": "hello"}]}
    variables = {
        "image_builds": [
            {"name": "carrel-testbed/small", "push": registry, **small},
            {"name": "carrel-testbed/mapnik", "folder": str(own), "build_args": {"APP_VERSION": "7"}, "push": registry},
        ]
    }
    results, output = play(tmp_path, variables)
    assert "failed=0" in output and len(results) == 2, output
    digest = results[0]["carrel-testbed/small"]["digest"]
    assert digest.startswith(f"{registry}/carrel-testbed/small@sha256:")
    assert results[1]["carrel-testbed/small"]["image"] == digest
    assert inside(digest, "cat", "/etc/carrel-test") == "hello"
    assert inside(results[1]["carrel-testbed/mapnik"]["image"], "printenv", "APP_VERSION") == "7"
    for options in ["--check"], []:
        again, output = play(tmp_path, variables, *options)
        assert again == results and output.count("changed=0") == 2, output


def test_without_a_base_it_builds_on_the_collections_lab_image(tmp_path):
    variables = {"image_builds": [{"name": "carrel-testbed/role", "kernels": ["bash"]}]}
    (results,), output = play(tmp_path, variables, "--limit", "builder")
    image = results["carrel-testbed/role"]["image"]
    assert "bash" in inside(image, "jupyter", "kernelspec", "list"), output
    assert inside(image, "jupyter-lab", "--version") == "4.6.6"
    (again,), output = play(tmp_path, variables, "--limit", "builder", "--check")
    assert again == results and "changed=0" in output


def test_what_was_not_pushed_cannot_be_pulled(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "Dockerfile").write_text("FROM debian:trixie-slim\n")
    _unused, output = play(tmp_path, {"image_builds": [{"name": "carrel-testbed/alone", "folder": str(own)}]})
    assert "builder has not pushed carrel-testbed/alone: run the role on it first" in output
