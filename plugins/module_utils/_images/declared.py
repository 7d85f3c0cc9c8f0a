# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances and the images that were built for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.image_keys import FILE, IMAGE
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import filled

Entry = Mapping[str, Any]


def bind(plan: Mapping[str, Sequence[Entry]], built: Sequence[Entry], unbuilt: bool = False) -> dict[str, Any]:
    """Return the plan's instances and jobs with tags in place of {declared: NAME}, which stays if UNBUILT ones shall.

    BUILT: what came of each image in an engine: `engine`, `name`, `image` (its tag; null if check mode does not know
    it), `error` (if there is one). Instances that were to get an image that failed are left out, so that nothing
    touches what they run on; `failures` has them.
    """
    tags = {(item["engine"], item["name"]): item["image"] for item in built}
    failures = [
        {**item, "instances": [job["name"] for job in plan["reset_jobs"] if _builds(job, item)]}
        for item in built
        if item.get("error")
    ]
    left = {name for failure in failures for name in failure["instances"]}

    def tag(entry: Entry, image: Any) -> Any:
        return tags.get((entry["engine"], image["declared"])) if isinstance(image, Mapping) else image

    def text(entry: Entry, image: Any) -> Any:
        """The bare name where nothing was built, which is where no container starts."""
        if unbuilt:
            return tag(entry, image) or image
        return tag(entry, image) or (image["declared"] if isinstance(image, Mapping) else image)

    def there(key: str) -> list[Entry]:
        return [entry for entry in plan[key] if entry["name"] not in left]

    return {
        "lab_instances": [{**lab, "image": text(lab, lab["image"])} for lab in there("lab_instances")],
        "hub_instances": [
            {**hub, "images": [{**item, "image": text(hub, item["image"])} for item in hub["images"]]}
            for hub in there("hub_instances")
        ],
        "reset_jobs": [
            {**job, "images": list(filter(None, (tag(job, image) for image in job["images"])))}
            for job in there("reset_jobs")
        ],
        "failures": failures,
    }


def place(directory: str, name: str, digest: str) -> str:
    """Return where the folder of an image is on the host, beside nothing but its earlier ones."""
    return f"{directory}/{name.replace('/', '+')}/{digest}"


def entries(builds: Sequence[Entry], common: Entry) -> list[dict[str, Any]]:
    """Return the entries of image_builds as image_build takes them.

    COMMON: what the role has for all: `build_args`, `certificates`, `directory` (where folders lie on the host),
    `digests` of folders by the images' names, and `lab`, the image that an entry without a base stands on.
    """
    found = []
    for build in builds:
        given = {key: value for key, value in build.items() if value is not None}
        given["build_args"] = {**common["build_args"], **given.get("build_args", {})}
        if "folder" in given:
            digest = common["digests"][given["name"]]
            given.update(folder=place(common["directory"], given["name"], digest), folder_digest=digest)
        else:
            own = given.get("extra_ca_certificates", [])
            given.update(base=given.get("base") or common["lab"], extra_ca_certificates=[*common["certificates"], *own])
        found.append(given)
    return found


def certificates(texts: Sequence[str]) -> dict[str, str]:
    """Return the files of the lab image's folder that have them."""
    return {f"certificates/extra{number}.crt": text for number, text in enumerate(texts)}


def completed(entry: Entry) -> dict[str, Any]:
    """An entry as image_build sees it, with every key."""
    files = [filled(FILE, file) for file in entry.get("files", [])]
    return {**filled(IMAGE, entry), "folder_digest": entry.get("folder_digest"), "files": files}


def results(before: Mapping[str, Entry], answers: Sequence[Entry]) -> dict[str, Entry]:
    """Return the role's fact with what image_build answered for one engine, beside what it has of others.

    An image that another engine of the host has pushed keeps that digest: this one was not pushed.
    """
    added = {}
    for answer in answers:
        digest = answer["digest"] or (before.get(answer["name"]) or {}).get("digest")
        added[answer["name"]] = {**answer, "digest": digest}
    return {**before, **added}


def to_push(images: Sequence[Entry], before: Mapping[str, Entry], there: Sequence[Entry] = ()) -> list[Entry]:
    """Return the images, without `push` if another engine of the host has pushed them.

    BEFORE is the role's fact of this run, THERE what image_drift answered: what an engine has as declared is pushed.
    What each engine builds has a digest of its own, and the registry would have the last one alone under the tag.
    """
    pushed = {name for name, entry in before.items() if (entry or {}).get("digest")}
    pushed |= {answer["name"] for answer in there if answer.get("image")}
    return [{**image, "push": None} if image["name"] in pushed else image for image in images]


def to_compare(jobs: Sequence[Entry], images: Sequence[Entry], pulled: Mapping[str, Entry] | None) -> list[Entry]:
    """Return the plan's image_jobs with the declared IMAGES, for image_drift.

    PULLED: what the host has that builds for this one, by name: `digest`; None if this one builds for itself.
    """
    if pulled is None:
        declared = {image["name"]: completed(image) for image in images}
    else:
        declared = {
            image["name"]: {"name": image["name"], "pulled": (pulled.get(image["name"]) or {}).get("digest")}
            for image in images
        }
    return [{**job, "images": [declared[name] for name in job["images"]]} for job in jobs]


def differing(jobs: Sequence[Entry], images: Sequence[Entry]) -> list[dict[str, str]]:
    """Return the images that a run has to build or pull, of what image_drift answered; all that it did not answer."""
    done = {(image["engine"], image["name"]) for image in images if not image["reasons"]}
    return [
        {"engine": job["engine"], "name": name}
        for job in jobs
        for name in job["images"]
        if (job["engine"], name) not in done
    ]


def _builds(job: Entry, item: Entry) -> bool:
    """Whether the instance of a job was to get the image."""
    wanted = {"declared": item["name"]} in job["images"]
    return wanted and job["state"] == "present" and job["engine"] == item["engine"]
