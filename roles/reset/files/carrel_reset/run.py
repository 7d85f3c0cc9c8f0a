# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a reset that labs and hubs have in common."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from typing import Protocol

from . import claims, deployed, images, web
from .commands import CommandError, execute, shown
from .engine import Engine, EngineError
from .jobs import SettingsError
from .journal import Journal
from .settings import Settings
from .state import State

LOOK_EVERY_SECONDS = 15
SHORTER_SECONDS = 30  # by which people may get less notice
HELD = "the instance is held: nothing to do"

DONE, FAILED, USAGE, LOCKED, PUT_OFF, DOWN = range(6)  # exit codes


class ResetError(Exception):
    """The reset failed, and the old state is restored as far as possible; the text is for people."""


class PutOff(Exception):
    """People are at work, a playbook is running, or the administrator's command asked for it; the text says which."""


class CannotTell(Exception):
    """Whether people are at work is unknown; the text says why."""


@dataclasses.dataclass(frozen=True)
class Options:
    people: str = "wait"
    pull: bool = True
    notice: bool = True
    set_time: datetime.datetime | None = None  # the set time of cron's start; None: by hand, at once
    lead_seconds: float = 0  # from the start to the set time
    claimed: bool = False  # by the playbook that started it


@dataclasses.dataclass
class Run:
    """What a kind of instance needs for its part."""

    settings: Settings
    options: Options
    engine: Engine
    journal: Journal
    state: State
    began: float = dataclasses.field(default_factory=time.monotonic)
    late_seconds: float = 0  # after the set time, because the pull took the time of the notice
    # Tags to which this reset's pull gave new images: the ids of the image from before and of the new one.
    pulled: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)

    def step(self, step: str, message: str) -> None:
        """Print and record the next step. Steps may repeat, with another message."""
        self.state.step(step, message)
        self.journal.info(step, message)

    def warn(self, message: str) -> None:
        """Something is wrong, but the reset continues."""
        self.state.warn(message)
        self.journal.warning(self.state.content["step"], message)

    def sleep_until(self, moment: float) -> None:
        """Wait. Raise PutOff if a playbook wants to change the containers."""
        while True:
            if not self.options.claimed and (claimant := claims.claimant(self.settings.name)):
                raise PutOff(f"{claimant} is changing the instance's containers")
            left = moment - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, LOOK_EVERY_SECONDS))

    @property
    def time_set(self) -> float:
        """When the reset is due, by time.monotonic, which changes of the clock do not affect."""
        return self.began + self.options.lead_seconds + self.late_seconds

    @property
    def deadline(self) -> float:
        """How long the reset waits for people who are at work (with people: wait), by time.monotonic."""
        return self.time_set + (self.settings.deadline_seconds if self.options.people == "wait" else 0)


class Kind(Protocol):
    """What labs and hubs do differently.

    Every method may raise EngineError (a docker command failed) and OSError; docstrings name other exceptions. The
    program may be killed at any point, even between two system calls: `recover` of the next reset cleans up.
    """

    def recover(self) -> None:
        """First of all: clean up after an interrupted reset, and make sure that the instance answers.

        The engine runs already. Report important actions with Run.warn. Do not raise if the instance does not come
        back: `renew` comes later.
        """

    def tell(self, text: str) -> None:
        """Show the notice to people. Failures are warnings at most; nothing is raised."""

    def untell(self) -> None:
        """Remove the notice. Called after every failure and when the reset is put off, also if there is no notice."""

    def people(self) -> list[str]:
        """Why the reset should wait, a line for each reason (a busy kernel, …); [] if it may go ahead.

        This is called every LOOK_EVERY_SECONDS, before `renew`, until it returns [] or the deadline has passed. A hub
        returns [], because it handles busy users itself. Raises CannotTell.
        """

    def renew(self) -> None:
        """From the step `start` to the step `stop`, each announced by Run.step; afterwards no notice is left.

        Raises ResetError, EngineError or OSError if the new container does not work. By then the old state is restored:
        the old container runs as before (or a new one from the old image, images.restore), and the tags mean the old
        images. A hub waits until Run.deadline for its busy users, as Options.people says.
        """

    def images(self) -> list[str]:
        """Those images of the settings that are deployed: after a failed run the settings may be newer."""

    def answers(self) -> bool:
        """Whether the instance answers, by its port on 127.0.0.1. Nothing is raised."""

    def running(self) -> dict[str, str]:
        """The images that healthy containers of the instance run now: {tag in compose.yaml: id}."""

    def server(self) -> int | None:
        """1 or 2: the server of a lab that Apache asks. None for a hub."""

    def container(self) -> str | None:
        """The id of the lab's server that Apache asks, or of the hub; None if it does not run."""


def reset(run: Run, kind: Kind) -> int:
    """Reset the instance, record the result, and return the exit code."""
    try:
        if held(run.settings):
            return _end(run, "held", HELD, DONE)
        message = _steps(run, kind)
    except PutOff as reason:
        _quietly_untell(kind)
        return _end(run, "put off", str(reason), PUT_OFF)
    except Held:
        _quietly_untell(kind)
        return _end(run, "held", HELD, DONE)
    except Exception as error:
        # whatever happened, the state must record it, and the exit code must be right
        known = isinstance(error, (ResetError, EngineError, OSError))
        text = str(error) if known else f"{type(error).__name__}: {error} (a bug in carrel-reset: please report it)"
        _quietly_untell(kind)
        code = FAILED if kind.answers() else DOWN
        if code == FAILED:
            with contextlib.suppress(EngineError, OSError):
                _note_running(run, kind)
        outcome = "The instance runs as before." if code == FAILED else "The instance does not answer."
        return _end(run, "failed", f"{text}\n{outcome}", code)
    return _end(run, "done", message, DONE)


class Held(Exception):
    """The administrator held the instance while the reset waited."""


def _steps(run: Run, kind: Kind) -> str:
    settings, options = run.settings, run.options
    run.step("recover", "clean up after an interrupted reset")
    if run.state.interrupted:
        run.warn(f"the last reset was interrupted at the step {run.state.interrupted}")
    # Before any request or start: another program might answer, or block a server's port.
    for port in settings.ports:
        web.prove(port)
    if not run.engine.answers():
        run.warn(f"the engine {settings.engine} was stopped; it is started")
        run.engine.start()
    if run.state.content["pulled"]:
        images.recover(run, kind.running())
    kind.recover()
    _note_running(run, kind)
    answered = kind.answers()
    if settings.pull and options.pull:
        images.pull(run, kind.images())
    try:
        if answered:
            _warn_people(run, kind)
            _wait_for_people(run, kind)
        if held(settings):
            raise Held
        _before(run, kind)
    except Exception:
        # People's next servers must not be from images that nobody has tried. A playbook tries what it finds.
        if not claims.claimant(settings.name):
            images.take_back(run, run.pulled)
        run.state.pulls({})
        raise
    try:
        kind.renew()
    except Exception:
        _after(run, kind, "failed")
        raise
    run.state.pulls({})
    _after(run, kind, "done")
    _note_running(run, kind)
    images.prune(run)
    return "reset" if answered else "reset; before it, the instance did not answer"


def _warn_people(run: Run, kind: Kind) -> None:
    """Show the notice, as long before the set time as the settings say, and wait for that time.

    If a pull took that long, a reset at a set time is later: people get the time that they were promised.
    """
    settings, options = run.settings, run.options
    if options.notice and settings.notice_seconds > 0:
        missing = settings.notice_seconds - (run.time_set - time.monotonic())
        if options.set_time is not None and missing > SHORTER_SECONDS:
            run.late_seconds = missing
        run.sleep_until(run.time_set - settings.notice_seconds)
        text = notice(run)
        run.step("tell", text)
        kind.tell(text)
    run.sleep_until(run.time_set)


def notice(run: Run) -> str:
    """The text of the notice."""
    seconds = max(run.time_set - time.monotonic(), 0)
    at = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=seconds)
    if run.options.set_time is not None:
        # In the zone of the setting; to the minute, unless the reset is late.
        at = at.astimezone(run.options.set_time.tzinfo) if run.late_seconds else run.options.set_time
    text = f"This Jupyter is reset {f'at {at:%H:%M %Z}' if seconds else 'now'}"
    if run.options.people == "wait" and run.settings.deadline_seconds > 0:
        # In UTC: otherwise the result is an hour wrong if clocks change meanwhile.
        latest = at.astimezone(datetime.timezone.utc) + datetime.timedelta(seconds=run.settings.deadline_seconds)
        latest = latest.astimezone(at.tzinfo)
        text += f", or once nothing is running any more, at {latest:%H:%M %Z} at the latest"
    return (
        f"{text}. Kernels and terminals end then. Save your work; files in your directories are kept, nothing else is."
    )


def _wait_for_people(run: Run, kind: Kind) -> None:
    if run.options.people == "ignore":
        return
    run.step("people", "check whether people are at work")
    said: list[str] = []
    while True:
        try:
            reasons = kind.people()
        except CannotTell as error:
            reasons = [f"it cannot be found out whether people are at work: {error}"]
        if not reasons:
            return
        if run.options.people == "skip":
            raise PutOff(f"people are at work: {'; '.join(reasons)}")
        if time.monotonic() >= run.deadline:
            run.warn(f"the deadline has passed; the reset cuts off: {'; '.join(reasons)}")
            return
        if reasons != said:
            run.step("people", f"waits for: {'; '.join(reasons)}")
            said = reasons
        run.sleep_until(min(time.monotonic() + LOOK_EVERY_SECONDS, run.deadline))


def _before(run: Run, kind: Kind) -> None:
    """The administrator's command may prevent the reset, but must not keep a playbook from changing the instance."""
    command = run.settings.before
    if not command or run.options.claimed:
        return
    run.step("before", f"run {shown(command)}")
    try:
        execute(command, run.settings, kind.container(), "before")
    except CommandError as error:
        run.state.ran("before", str(error))
        if error.put_off:
            raise PutOff(str(error)) from error
        raise ResetError(f"nothing was reset, because of the command before it: {error}") from error
    run.state.ran("before", "done")


def _after(run: Run, kind: Kind, result: str) -> None:
    """Run the command however the reset ended: it may have to undo what the command before it did."""
    command = run.settings.after
    if not command or run.options.claimed:
        return
    run.step("after", f"run {shown(command)}")
    try:
        execute(command, run.settings, kind.container(), result)
    except (CommandError, EngineError, OSError) as error:
        run.state.ran("after", str(error))
        run.warn(f"the command after the reset: {error}")
    else:
        run.state.ran("after", "done")


def _note_running(run: Run, kind: Kind) -> None:
    running = {}
    for tag, image_id in kind.running().items():
        image = run.engine.image(image_id, tag)
        running[tag] = {"id": image_id, "digest": image.digest if image else None}
    run.state.runs(kind.server(), running)


def _quietly_untell(kind: Kind) -> None:
    with contextlib.suppress(EngineError, OSError):
        kind.untell()


def _end(run: Run, result: str, message: str, code: int) -> int:
    run.state.finish(result, message, code)
    say = run.journal.error if code in (FAILED, DOWN) else run.journal.info
    say("end", f"{result}: {message} ({run.state.content['seconds']} s)")
    if run.state.trouble:
        run.journal.warning("end", run.state.trouble)
    return code


def held(settings: Settings) -> bool:
    """Whether the administrator holds the instance."""
    try:
        record = deployed.record(settings)
    except SettingsError as error:
        raise ResetError(str(error)) from error
    return record is not None and record["state"] == "held"
