#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: image_build
short_description: Build declared images, once for the same content
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Writes a Dockerfile from packages, kernels, settings and files, and builds it in an engine.
  - The tag is a digest of the whole content and the base's id. If the engine has an image with this tag, it is not
    built again, and the same declaration has the same tag on every host.
  - All declarations are checked before the first is built. Pulls, builds and pushes are tried again, with growing
    pauses, only if the network failed.
options:
  images:
    description:
      - The images, as JSON. A list of mappings with the keys of C(jupyter_images) without C(smoke), and with C(base) or
        C(folder). What a key means, and what it is if it is missing, is in the documentation of the inventory.
      - C(base) is pulled if it is missing. C(folder) is on the host, and requires C(folder_digest), a digest of its
        content that becomes part of the tag, for example of the lookup P(carrel.jupyter.folder_digest#lookup).
      - C(build_args) are also for proxies and mirrors. They stay readable in the image's history.
      - It is one text, because declarations may contain secrets, and Ansible logs the secrets in a list.
    type: str
    required: true
  kernels:
    description: Declarations of kernels by name, as in the collection's folder C(images/kernels).
    type: dict
    default: {}
  socket: {description: Path of the engine's socket on the host., type: path, required: true}
  docker_config:
    description: Directory of the configuration that C(docker login) wrote.
    type: path
  cache:
    description: File on the host that caches facts about bases whose settings are extended.
    type: path
  tries:
    description: How often to try if the network fails.
    type: int
    default: 3
  pause_seconds:
    description: Seconds between the first and the second try; each further pause doubles.
    type: int
    default: 5
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: partial
    details: If an image's base is not in the engine, its tag is not known, and RV(images[].image) is null.
  diff_mode:
    support: full
  idempotent:
    support: full
requirements:
  - the docker command on the host
seealso:
  - module: carrel.jupyter.lab_image_info
"""

EXAMPLES = r"""
- name: Build an image with R and a package for Python
  carrel.jupyter.image_build:
    socket: /run/user/1001/docker.sock
    kernels:
      r:
        title: R
        language: R
        apt: [r-base-core, r-cran-irkernel]
        argv: [R, --no-echo, -e, "IRkernel::main()", --args, "{connection_file}"]
        smoke: {code: "cat(42)", output: "42"}
        tested: true
    images: "{{ images | to_json }}"
  vars:
    images:
      - name: statistics
        base: quay.io/jupyter/minimal-notebook:2025-03-14
        kernels: [r]
        pip: [humanize==4.13.0]
  register: built

- name: Show its tag
  ansible.builtin.debug:
    msg: "{{ built.images[0].image }}"
"""

RETURN = r"""
images:
  description: The images in the order of O(images).
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The name.
      type: str
    image:
      description: The tag in the engine; null in check mode if the base is not there.
      type: str
      sample: statistics:0f5a3c9d1e2b
    image_id:
      description: The image's id; null if it would be built.
      type: str
    digest:
      description: The reference with the registry's digest, for other hosts; null if it is not pushed.
      type: str
      sample: registry.example.org/jupyter/statistics@sha256:0f5a…
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import engine_socket, process
from ansible_collections.carrel.jupyter.plugins.module_utils._host.files import UnsafePathError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.image_probe import SECONDS, Engine, ProbeError
from ansible_collections.carrel.jupyter.plugins.module_utils._images import build as _image_build
from ansible_collections.carrel.jupyter.plugins.module_utils._images import kernels as _kernels
from ansible_collections.carrel.jupyter.plugins.module_utils._images import log as _image_log

BUILD_SECONDS = 6 * 60 * 60


class Builder:
    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.tracker = module, Tracker()
        self.docker = engine_socket.docker(module.params["socket"])
        self.environment = {"DOCKER_CONTEXT": "", "DOCKER_HOST": "", "BUILDKIT_PROGRESS": "plain"}
        if module.params["docker_config"]:
            self.environment["DOCKER_CONFIG"] = module.params["docker_config"]

    def run(self, *command: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
        """Run docker, again while the network fails; return the status and everything that was printed."""
        pause = self.module.params["pause_seconds"]
        for left in reversed(range(self.module.params["tries"])):
            status, output, error = self._run([*command], BUILD_SECONDS, environment=environment)
            log = output + error
            if status == 0 or not left or not _image_log.is_network(log):
                break
            time.sleep(pause)
            pause *= 2
        return status, log

    def _run(
        self,
        command: list[str],
        seconds: float = SECONDS,
        data: str = "",
        environment: dict[str, str] | None = None,
    ) -> tuple[int, str, str]:
        its = {**(environment or {}), **self.environment}
        try:
            done = process.run([*self.docker, *command], seconds, environment=its, data=data)
        except (process.EndlessError, OSError) as error:
            raise ProbeError(str(error)) from error
        return done.code, done.output, done.errors

    def inspect(self, image: str) -> dict[str, Any] | None:
        status, output, error = self._run(["image", "inspect", image])
        if status and "no such image" not in error.lower():
            raise ProbeError(f"the engine at {self.module.params['socket']} does not answer: {error.strip()}")
        try:
            return None if status else dict(json.loads(output)[0])
        except (ValueError, LookupError, TypeError) as error:
            raise ProbeError(
                f"the engine at {self.module.params['socket']} gave no JSON about {image}; restart it and run again"
            ) from error

    def base(self, name: str) -> dict[str, Any] | None:
        found = self.inspect(name)
        if found is None and not self.module.check_mode:
            status, log = self.run("pull", "--quiet", name)
            if status:
                raise ProbeError(_image_log.explain_transfer("pulling", name, log))
            found = self.inspect(name)
        if found:
            _unused, machine = self.run("version", "--format", "{{.Server.Arch}}")
            if found["Architecture"] != machine.strip():
                raise ProbeError(
                    f"the base {name} is an image for another architecture, {found['Architecture']}: take one for"
                    f" {machine.strip()}, as the engine's host is"
                )
        return found

    def jupyterlab(self, base: str) -> dict[str, Any]:
        """The settings that the base has."""

        def run(command: list[str], text: str) -> tuple[int, str, str]:
            return self._run(command, data=text)

        engine = Engine(self.module.params["socket"], base, None, run)
        keep = not self.module.check_mode
        return engine.examine(self.module.params["cache"], keep, jupyterlab=True).jupyterlab or {}

    def build(self, declared: dict[str, Any], build: _image_build.Build | None) -> dict[str, Any]:
        answer = {"name": declared["name"], "image": None, "image_id": None, "digest": None}
        base = self.base(build.base) if build else {}
        if build and base is None:
            self.tracker.note(f"image {build.name}", None, f"on {build.base}, which is not there yet")
            return answer
        jupyterlab = self.jupyterlab(build.base) if build and declared["settings"] else {}
        try:
            image, files = _image_build.made(declared, build, base or {}, jupyterlab)
        except (LookupError, TypeError, AttributeError) as error:
            # The engine's account or programs in the base may answer anything.
            name = build.base if build else declared["name"]
            raise ProbeError(f"what image {name} reports about itself cannot be read: {error}") from error
        found = self.inspect(image)
        if self.tracker.note(f"image {declared['name']}", found and image, image) and not self.module.check_mode:
            self.make(image, declared, build, files)
            found = self.inspect(image)
        answer.update(image=image, image_id=found["Id"] if found else None)
        if declared["push"]:
            answer["digest"] = self.push(image, declared["push"], found)
        return answer

    def make(
        self, image: str, declared: dict[str, Any], build: _image_build.Build | None, files: dict[str, bytes]
    ) -> None:
        with tempfile.TemporaryDirectory(prefix="carrel-") as made:
            folder = Path(made if build else declared["folder"])
            for path, content in files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
            self.build_in(folder, image, declared, build)

    def build_in(self, folder: Path, image: str, declared: dict[str, Any], build: _image_build.Build | None) -> None:
        options, environment = _image_build.arguments(declared["build_args"])
        options += ["--no-cache"] if declared["no_cache"] else []
        file = str(folder / ("Dockerfile" if build else declared["dockerfile"]))
        # Without BuildKit, the container of a step that fails would stay.
        command = ["build", "--force-rm", "--tag", image, "--file", file, *options, str(folder)]
        status, log = self.run(*command, environment=environment)
        if status:
            log = _image_log.hidden(log, map(str, declared["build_args"].values()))
            kernels = build.kernels if build else []
            why = _image_log.explain(log, kernels) + _image_log.explain_base(log)
            raise ProbeError(f"image {declared['name']} could not be built: {why}")

    def push(self, image: str, registry: str, found: dict[str, Any] | None) -> str | None:
        target = f"{registry}/{image}"
        digest = _image_build.pushed(found, registry, image)
        if self.tracker.note(f"push of {image}", digest, digest or target) and not self.module.check_mode:
            self.run("tag", image, target)
            status, log = self.run("push", "--quiet", target)
            if status:
                # An engine that keeps images in containerd lists the digest of each tag, as if it were pushed.
                self.run("image", "rm", "--no-prune", target)
                raise ProbeError(_image_log.explain_transfer("pushing", target, log))
            digest = _image_build.pushed(self.inspect(image), registry, image)
        return digest


IMAGE = {
    "name": {"type": "str", "required": True},
    "base": {"type": "str"},
    "folder": {"type": "path"},
    "folder_digest": {"type": "str"},
    "dockerfile": {"type": "str", "default": "Dockerfile"},
    "no_cache": {"type": "bool", "default": False},
    "apt": {"type": "list", "elements": "str", "default": []},
    "conda": {"type": "list", "elements": "str", "default": []},
    "pip": {"type": "list", "elements": "str", "default": []},
    "npm": {"type": "list", "elements": "str", "default": []},
    "kernels": {"type": "list", "elements": "raw", "default": []},
    "settings": {"type": "dict", "default": {}},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "dest": {"type": "str", "required": True},
            "content": {"type": "str", "required": True},
            "mode": {"type": "raw", "default": "0644"},
        },
    },
    "build_args": {"type": "dict", "default": {}},
    "labels": {"type": "dict", "default": {}},
    "extra_ca_certificates": {"type": "list", "elements": "str", "default": []},
    "push": {"type": "str"},
}


def read(module: AnsibleModule) -> list[dict[str, Any]]:
    """Return the images with every key, as Ansible reads an option."""
    one = [("base", "folder")]
    validator = ArgumentSpecValidator(IMAGE, required_one_of=one, mutually_exclusive=one)
    try:
        given = json.loads(module.params["images"])
    except ValueError:
        given = None
    if not isinstance(given, list) or not all(isinstance(image, dict) for image in given):
        module.fail_json(msg="images must be a list of mappings as JSON")
    results = [validator.validate(image) for image in given]
    wrong = [f"images[{number}]: {text}" for number, result in enumerate(results) for text in result.error_messages]
    wrong += [
        f"images[{number}]: folder requires folder_digest"
        for number, image in enumerate(given)
        if image.get("folder") and not image.get("folder_digest")
    ]
    if wrong:
        module.fail_json(msg="\n".join(wrong))
    return [dict(result.validated_parameters) for result in results]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "images": {"type": "str", "required": True, "no_log": True},
            "kernels": {"type": "dict", "default": {}},
            "socket": {"type": "path", "required": True},
            "docker_config": {"type": "path"},
            "cache": {"type": "path"},
            "tries": {"type": "int", "default": 3},
            "pause_seconds": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    module.get_bin_path("docker", required=True)
    declared = read(module)
    builds, problems = _image_build.read_all(declared, module.params["kernels"])
    if problems:
        module.fail_json(msg="\n".join(problems))
    for build in builds:
        for warning in _image_build.unpinned(build) if build else []:
            module.warn(warning)
    try:
        builder = Builder(module)
        answers = [builder.build(image, build) for image, build in zip(declared, builds)]
    except (ProbeError, _kernels.KernelError, engine_socket.SocketError, UnsafePathError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**builder.tracker.result(images=answers))


if __name__ == "__main__":
    main()
