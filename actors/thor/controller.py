"""The process that runs AI2-THOR, or one clear message why there is none."""

import importlib.util
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from actors.thor.settings import FRAME_PX, RELEASE, ThorSettings


class ThorUnavailable(RuntimeError):
    """AI2-THOR cannot run here, or has stopped answering; the message says what to do."""


class Controller(Protocol):
    """What is used of `ai2thor.controller.Controller` of version 2.1.0."""

    last_event: Any
    """Its `metadata` is a dictionary, its `frame` uint8 [H, W, 3]."""

    def reset(self, scene_name: str) -> Any:
        """Load a scene; returns an event."""

    def step(self, action: Mapping[str, Any]) -> Any:
        """Do something; returns an event."""


def check_thor(settings: ThorSettings) -> None:
    """Raise ThorUnavailable, with the remedy, if the extra, the Unity build or the display is missing."""
    if importlib.util.find_spec("ai2thor") is None:
        raise ThorUnavailable("AI2-THOR is not installed; pip install 'likert-rl[thor]'")
    if not os.access(settings.executable, os.X_OK) or not settings.executable.is_file():
        raise ThorUnavailable(
            f"{settings.executable} is no program: place AI2-THOR's Unity build there, or name it by "
            f"evaluation.thor.build or task.alfred.build. It is {RELEASE}.zip of ai2thor 2.1.0; unpack it and "
            "`chmod +x` the file without an ending (docs/alfred.md)"
        )
    if not os.environ.get("DISPLAY"):
        raise ThorUnavailable(
            "DISPLAY is not set, and this Unity build draws by an X server; start one and set it, such as DISPLAY=:0"
        )


def start_thor(settings: ThorSettings) -> Controller:
    """Start the Unity build. Raises ThorUnavailable if it cannot be started, or does not answer."""
    check_thor(settings)
    from ai2thor.controller import Controller as UnityController

    controller = UnityController()
    # Named, so that nothing is downloaded.
    controller.local_executable_path = str(settings.executable)
    answer_within(
        settings.timeout_s,
        lambda: controller.start(player_screen_width=FRAME_PX, player_screen_height=FRAME_PX),
    )
    return PatientController(controller, settings.timeout_s)


class PatientController:
    """A controller that gives up on a Unity process that has died; ai2thor 2.1.0 itself would wait for ever."""

    def __init__(self, controller: Any, timeout_s: float) -> None:
        self._controller = controller
        self._timeout_s = timeout_s

    @property
    def last_event(self) -> Any:
        """The newest event."""
        return self._controller.last_event

    def reset(self, scene_name: str) -> Any:
        """As the controller's. Raises ThorUnavailable."""
        return answer_within(self._timeout_s, lambda: self._controller.reset(scene_name))

    def step(self, action: Mapping[str, Any]) -> Any:
        """As the controller's. Raises ThorUnavailable."""
        return answer_within(self._timeout_s, lambda: self._controller.step(dict(action)))

    def stop(self) -> None:
        """End the Unity process."""
        self._controller.stop()


def answer_within(timeout_s: float, ask: Callable[[], Any]) -> Any:
    """What `ask` returns or raises. Raises ThorUnavailable if that takes longer than `timeout_s` seconds."""
    answers: list[tuple[Any, BaseException | None]] = []

    def run() -> None:
        try:
            answers.append((ask(), None))
        except BaseException as error:  # noqa: BLE001 - It is raised again by the thread that waits.
            answers.append((None, error))

    # A daemon, since a thread that waits for ever would keep the process alive.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not answers:
        raise ThorUnavailable(
            f"AI2-THOR has not answered for {timeout_s:g} s: its Unity process has died or hangs. See that DISPLAY has "
            "OpenGL (`glxinfo`), or raise evaluation.thor.timeout_s or task.alfred.timeout_s"
        )
    result, error = answers[0]
    if error is not None:
        raise error
    return result
