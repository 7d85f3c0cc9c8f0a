# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspect an image: the ids as which it runs, its jupyter_server installations and their log-in pages.

Two small programs run in a container of the image, which has no network and is removed at once: PROBE, a POSIX shell
script on standard input, and RENDER, which runs in the image's own Python.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._host import (
    engine_socket,
    files,
    image_cache,
    process,
    server_check,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told
from ansible_collections.carrel.jupyter.plugins.module_utils._site import server_settings

MARK = "carrel-probe "
# jupyter-collaboration's module up to 1, since 2, and its successor's (jupyter-server-documents).
COLLABORATION = '["jupyter_collaboration", "jupyter_server_ydoc", "jupyter_server_documents"]'
ENGINE_OPTIONS: dict[str, dict[str, Any]] = {
    "image": {"type": "str", "required": True},
    "socket": {"type": "path", "required": True},
    "user": {"type": "str"},
    "cache": {"type": "path"},
}

# Prints which jupyter_server an interpreter imports. $1, if given, is a page whose interpreter PROBE looks for.
_DESCRIBE = f"""
import json, os, sys
from importlib.util import find_spec
import jupyter_server
page = os.path.join(os.path.realpath(os.path.dirname(jupyter_server.__file__)), "templates", "login.html")
if sys.argv[1:] and os.path.realpath(sys.argv[1]) != os.path.realpath(page):
    sys.exit(1)
with open(page, encoding="utf-8", errors="replace") as stream:
    text = stream.read()
answer = dict(version=jupyter_server.__version__, template=page, python=sys.executable, text=text)
answer["collaboration"] = any(map(find_spec, {COLLABORATION}))
try:
    from importlib.metadata import version
    answer["jupyterhub"] = version("jupyterhub")
except Exception:
    pass
print("{MARK}" + json.dumps(answer))
"""

# Interpreters on the PATH come first, and the first one with jupyter_server serves. Then come all pages anywhere in the
# image, with the interpreter of their environment: PREFIX/lib/pythonX.Y/site-packages belongs to PREFIX/bin/pythonX.Y.
# Debian's /usr/lib/python3/dist-packages and /usr/local/lib/pythonX.Y/dist-packages, and a user's ~/.local, belong to
# one in /usr or on the PATH. Pages that no interpreter imports, such as those in conda's package cache, are not used.
PROBE = f"""\
cd /
command -v jupyterhub-singleuser >/dev/null && singleuser=true || singleuser=false
printf '{MARK}{{"uid": %s, "gid": %s, "singleuser": %s}}\\n' "$(id -u)" "$(id -g)" "$singleuser"
describe='{_DESCRIBE}'
for name in python3 python; do
    python=$(command -v "$name") && "$python" -c "$describe" 2>/dev/null </dev/null
done
find "${{1:-/}}" \\( -path /proc -o -path /sys -o -path /dev \\) -prune -o \\
    -path '*/jupyter_server/templates/login.html' -print 2>/dev/null |
while IFS= read -r page; do
    site=${{page%/jupyter_server/templates/login.html}}
    library=${{site%/*}}
    version=${{library##*/}}
    prefix=${{library%/lib*/*}}
    for python in "$prefix/bin/$version" "$prefix/bin/python3" "$prefix/bin/python" \\
        "/usr/local/bin/$version" "/usr/bin/$version" "$(command -v "$version")" "$(command -v python3)"; do
        [ -x "$python" ] && "$python" -c "$describe" "$page" 2>/dev/null </dev/null && break
    done
done
exit 0
"""

# Renders the page as jupyter_server does: with its environment, its search path and the variables of
# JupyterHandler.template_namespace. Standard input is {"template": PATH, "text": TEXT}.
RENDER = f"""
import json, os, sys
import jinja2
job = json.load(sys.stdin)
templates = os.path.dirname(job["template"])
loader = jinja2.ChoiceLoader([
    jinja2.DictLoader({{"login.html": job["text"]}}),
    jinja2.FileSystemLoader([os.path.dirname(templates), templates]),
])
environment = jinja2.Environment(loader=loader, extensions=["jinja2.ext.i18n"], autoescape=True)
environment.install_null_translations(newstyle=False)
answer = {{"pages": []}}
try:
    template = environment.get_template("login.html")
    for token in False, True:
        answer["pages"].append(template.render(
            base_url="/carrel-base/", default_url="/carrel-base/lab", ws_url="", next="%2Fcarrel-next", message=None,
            token_available=token, login_available=True, auth_enabled=True, logged_in=False,
            allow_password_change=False, static_url=lambda path, **kwargs: "/carrel-base/static/" + path,
            sys_info="{{}}", contents_js_source="", version_hash="", nbjs_translations="{{}}",
            token="", xsrf_token="carrel-xsrf",
            xsrf_form_html=lambda: '<input type="hidden" name="_xsrf" value="carrel-xsrf"/>',
        ))
except jinja2.TemplateSyntaxError as error:
    answer = {{"error": "line %s of %s: %s" % (error.lineno, error.name, error.message)}}
except Exception as error:
    answer = {{"error": "%s: %s" % (type(error).__name__, error)}}
print("{MARK}" + json.dumps(answer))
"""

# Prints where JupyterLab reads overrides.json, its content in the image, and the settings of each plugin, or null if a
# plugin's schema allows others, too (jupyterlab_server/settings_utils.py, jupyterlab/federated_labextensions.py).
JUPYTERLAB = f"""
import json, os
answer = dict(settings=None, overrides={{}}, plugins={{}})
try:
    import jupyterlab
except ImportError:
    print("{MARK}" + json.dumps(answer))
    raise SystemExit
try:
    import json5
    from jupyter_core.paths import jupyter_path
    from jupyterlab.commands import get_app_dir
    app = get_app_dir()
    answer["settings"] = os.path.join(app, "settings")
    roots = [os.path.join(app, "schemas")]
    for path in jupyter_path("labextensions"):
        for folder, names, files in os.walk(path):
            if "schemas" in names:
                roots.append(os.path.join(folder, "schemas"))
                names.clear()
    for root in roots:
        for folder, names, files in os.walk(root):
            for name in files:
                if name.endswith(".json"):
                    with open(os.path.join(folder, name), encoding="utf-8") as stream:
                        schema = json.load(stream)
                    known = sorted(schema.get("properties", {{}}))
                    plugin = os.path.relpath(folder, root) + ":" + name[:-len(".json")]
                    answer["plugins"][plugin] = None if schema.get("additionalProperties", True) else known
    overrides = os.path.join(answer["settings"], "overrides.json")
    if os.path.exists(overrides):
        with open(overrides, encoding="utf-8") as stream:
            answer["overrides"] = json5.load(stream)
except Exception as error:
    answer = dict(error="%s: %s" % (type(error).__name__, error))
print("{MARK}" + json.dumps(answer))
"""


class ProbeError(Told):
    """The image or the engine does not answer. The text says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(printable.text(message))


class MissingImageError(ProbeError):
    """The image is not in the engine."""


@dataclass(frozen=True)
class Server:
    """A jupyter_server in the image."""

    version: str
    template: str
    python: str
    text: str
    jupyterhub: str | None = None
    collaboration: bool = False


@dataclass(frozen=True)
class Image:
    image_id: str
    repo_digests: list[str]
    exposed: list[str]
    uid: int
    gid: int
    servers: list[Server]
    singleuser: bool = False  # whether jupyterhub-singleuser is on the PATH
    jupyterlab: dict[str, Any] | None = None  # the answer of JUPYTERLAB


# run(argv, standard input) -> (exit status, standard output, standard error)
Run = Callable[[list[str], str], "tuple[int, str, str]"]


SECONDS = 300  # for one answer of a container
MEMORY, PIDS = "1g", "512"  # of it, where the engine can limit them; it leaves out others with a warning


class Engine:
    """Asks an engine through the docker command. RUN does the I/O; it gets what follows `docker --host SOCKET`."""

    def __init__(self, socket: str, image: str, user: str | None, run: Run) -> None:
        self._socket, self._image, self._user, self._run = socket, image, user, run

    @classmethod
    def of(cls, module: Any) -> Engine:
        """Make one for a module whose options include ENGINE_OPTIONS."""
        if not module.get_bin_path("docker"):
            module.fail_json(
                msg="the docker command is missing on this host: install it (Debian's package is docker-cli)"
            )
        try:
            docker = engine_socket.docker(module.params["socket"])
        except engine_socket.SocketError as error:
            module.fail_json(msg=str(error))
        # docker refuses --host if the environment selects a context.
        plain = {"DOCKER_CONTEXT": "", "DOCKER_HOST": ""}

        def run(command: list[str], standard_input: str) -> tuple[int, str, str]:
            try:
                done = process.run([*docker, *command], SECONDS, environment=plain, data=standard_input)
            except process.EndlessError as error:
                raise ProbeError(str(error)) from error
            return done.code, done.output, done.errors

        return cls(module.params["socket"], module.params["image"], module.params["user"], run)

    def examine(self, cache: str | None, keep: bool, jupyterlab: bool = False) -> Image:
        """Return the facts about the image, and about its JupyterLab. With `keep`, new answers go into the cache."""
        try:
            return self._examine(cache, keep, jupyterlab)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            # The engine's account or programs in the image may answer anything.
            raise ProbeError(f"what image {self._image} reports about itself cannot be read: {error}") from error

    def _examine(self, cache: str | None, keep: bool, jupyterlab: bool) -> Image:
        cached = image_cache.load(cache) if cache else {}
        inspected = self.inspect()
        key = self.cache_key(inspected)
        image = self.probe(inspected, cached)
        if jupyterlab and image.jupyterlab is None:
            image = replace(image, jupyterlab=self.jupyterlab(image.servers[0]))
        entry = cache_entry(image)
        if cache and keep and cached.get(key) != entry:
            files.write(cache, File(image_cache.extend(cached, key, entry), mode=0o600))
        return image

    def inspect(self) -> dict[str, Any]:
        status, output, error = self._run(["image", "inspect", self._image], "")
        if status != 0 and "no such image" in error.lower():
            raise MissingImageError(
                f"image {self._image} is not in the engine at {self._socket}: pull or build it first"
                f" (docker --host unix://{self._socket} pull {self._image})"
            )
        if status != 0:
            raise ProbeError(f"the engine at {self._socket} does not answer: {error.strip()}. Is it running?")
        found: dict[str, Any] = json.loads(output)[0]
        return found

    def probe(self, inspected: dict[str, Any], cached: dict[str, Any]) -> Image:
        """Return the image's answer, from the cache if that has one."""
        return self.known(inspected, cached) or self._understood(
            inspected, parse_probe(self._container("/bin/sh", ["-s"], PROBE))
        )

    def known(self, inspected: dict[str, Any], cached: dict[str, Any]) -> Image | None:
        """Return only the cache's answer. No container is started."""
        entry = cached.get(self.cache_key(inspected))
        with contextlib.suppress(LookupError, TypeError, AttributeError):  # a damaged entry is none
            return self._understood(inspected, entry) if entry else None
        return None

    def _understood(self, inspected: dict[str, Any], known: dict[str, Any]) -> Image:
        ids = known["uid"], known["gid"]
        if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in ids):
            raise ProbeError(
                f"image {self._image} runs as {known['uid']!r}:{known['gid']!r}, which are not numeric ids"
            )
        servers = [Server(**server) for server in known["servers"]]
        if not servers:
            raise ProbeError(
                f"image {self._image} has no jupyter_server that its Python can import: give the image of a JupyterLab"
                " (a classic notebook of version 6 or older is not one)"
            )
        return Image(
            image_id=inspected["Id"],
            repo_digests=sorted(inspected.get("RepoDigests") or []),
            exposed=sorted((inspected.get("Config") or {}).get("ExposedPorts") or {}),
            uid=known["uid"],
            gid=known["gid"],
            servers=servers,
            singleuser=known["singleuser"],
            jupyterlab=known.get("jupyterlab"),
        )

    def cache_key(self, inspected: dict[str, Any]) -> str:
        """An engine says itself which id an image has, so no engine gets another one's answers."""
        programme = hashlib.sha256(PROBE.encode()).hexdigest()[:12]
        return f"{self._socket} {inspected['Id']} {self._user or ''} {programme}"

    def jupyterlab(self, server: Server) -> dict[str, Any]:
        answer = marked(self._container(server.python, ["-c", JUPYTERLAB], ""))
        if len(answer) != 1 or "error" in answer[0]:
            reason = answer[0]["error"] if answer else "its Python does not answer"
            raise ProbeError(f"the settings of JupyterLab in image {self._image} cannot be read: {reason}")
        return answer[0]

    def settings_problems(self, server: Server, settings: dict[str, Any]) -> list[str]:
        """Return the problems that this image has with traits of jupyter_server."""
        source = inspect.getsource(server_check)
        output = self._container(server.python, ["-c", source], json.dumps({"mark": MARK, "settings": settings}))
        try:
            return [printable.line(text) for text in server_settings.problems(settings, marked(output)[0])]
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ProbeError(f"what image {self._image} says of server_settings is not understood: {error}") from error

    def render(self, server: Server, text: str) -> list[str]:
        """Return the log-in page as browsers get it, without and with a token. Raises with jinja's complaint."""
        job = json.dumps({"template": server.template, "text": text})
        answer = marked(self._container(server.python, ["-c", RENDER], job))
        if len(answer) != 1:
            raise ProbeError(f"{server.python} in image {self._image} rendered no page: is its jinja2 broken?")
        if "error" in answer[0]:
            raise ProbeError(f"jinja does not accept the login page: {answer[0]['error']}")
        pages: list[str] = answer[0]["pages"]
        return pages

    def _container(self, entrypoint: str, arguments: list[str], standard_input: str) -> str:
        name = f"carrel-probe-{secrets.token_hex(8)}"
        command = ["run", "--rm", "--name", name, "--interactive", "--pull", "never", "--network", "none"]
        command += ["--log-driver", "none", "--no-healthcheck", "--entrypoint", entrypoint]
        command += ["--memory", MEMORY, "--pids-limit", PIDS]
        command += ["--user", self._user] if self._user else []
        try:
            status, output, error = self._run([*command, self._image, *arguments], standard_input)
        except ProbeError:  # at the deadline only the docker command was killed
            with contextlib.suppress(ProbeError):
                self._run(["rm", "--force", name], "")
            raise
        if status != 0:
            raise ProbeError(f"a container of image {self._image} failed with status {status}: {error.strip()}")
        return output


def marked(output: str) -> list[dict[str, Any]]:
    """Find the answers in the output, in which the image's shell or Python may print anything else."""
    lines = (line for line in output.splitlines() if line.startswith(MARK))
    return [json.loads(line[len(MARK) :]) for line in lines]


def parse_probe(output: str) -> dict[str, Any]:
    """Parse PROBE's output for the cache: the ids, and every server once, the one that serves first."""
    answers = marked(output)
    if not answers or "uid" not in answers[0]:
        raise ProbeError(f"the image's /bin/sh did not answer the probe but: {output.strip()[:200]!r}")
    servers: dict[str, dict[str, Any]] = {}
    for answer in answers[1:]:
        servers.setdefault(answer["template"], answer)
    return {**answers[0], "servers": list(servers.values())}


def cache_entry(image: Image) -> dict[str, Any]:
    return {key: value for key, value in asdict(image).items() if key not in ("image_id", "repo_digests", "exposed")}


def as_result(image: Image) -> dict[str, Any]:
    """Return the result of lab_image_info for an image."""
    return {
        "image_id": image.image_id,
        "repo_digests": image.repo_digests,
        "exposed": image.exposed,
        "uid": image.uid,
        "gid": image.gid,
        "python": image.servers[0].python,
        "singleuser": image.singleuser,
        "jupyterlab": image.jupyterlab,
        "servers": [{key: value for key, value in asdict(each).items() if key != "text"} for each in image.servers],
    }
