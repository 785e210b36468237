"""Which OpenGL to draw with: EGL (a GPU, or Mesa in software) or OSMesa (software), found by trying."""

import functools
import importlib
import os
import subprocess
import sys
from typing import Protocol

PACKAGES = "libegl1 libgl1 libgl1-mesa-dri libosmesa6"
"""Debian and Ubuntu packages that give both backends."""
BACKENDS = ("egl", "osmesa", "glfw")
"""EGL comes first: it uses a GPU where there is one. `glfw` needs a screen and is never chosen unasked."""

_OFF = ("disable", "disabled", "off", "false", "0")
_UNSET = ("", "enable", "enabled", "on", "true", "1")
_PROBE = "import importlib, sys; importlib.import_module('mujoco.' + sys.argv[1]).GLContext(16, 16).make_current()"
_PROBE_TIMEOUT_S = 120.0


class GLContext(Protocol):
    """An off-screen OpenGL context, as MuJoCo's bindings define it."""

    def make_current(self) -> None:
        """Direct this thread's drawing to the context."""
        ...

    def free(self) -> None:
        """Give the context back."""
        ...


def create_context(width: int, height: int) -> GLContext:
    """A context of the chosen backend, `width` by `height` pixels. Raises RuntimeError if no backend works."""
    return importlib.import_module(f"mujoco.{chosen_backend()}").GLContext(width, height)


@functools.cache
def chosen_backend() -> str:
    """The user's MUJOCO_GL, or the first of EGL and OSMesa that works.

    Raises:
        RuntimeError: none works, or the user's does not; the message names the packages to install.
    """
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    if asked in _OFF:
        raise RuntimeError(f"MUJOCO_GL={asked} switches drawing off; unset it, or set it to egl or osmesa")
    if asked not in BACKENDS + _UNSET:
        raise RuntimeError(f"MUJOCO_GL={asked} is no backend; unset it, or set it to egl or osmesa")
    candidates = (asked,) if asked in BACKENDS else ("egl", "osmesa")
    failures = []
    for backend in candidates:
        failure = probe(backend)
        if failure is None:
            return backend
        failures.append(f"{backend}: {failure}")
    raise RuntimeError(
        f"cannot draw frames, since no OpenGL backend works ({'; '.join(failures)}). Install one with\n"
        f"  apt-get update && apt-get install -y --no-install-recommends {PACKAGES}"
    )


def probe(backend: str) -> str | None:
    """None if the backend can make a context, else why not.

    It is tried in a process of its own, because a failed try leaves PyOpenGL bound to the wrong library for good.
    """
    environment = dict(os.environ, MUJOCO_GL=backend)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, backend],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"no context within {_PROBE_TIMEOUT_S:.0f} s"
    if done.returncode == 0:
        return None
    last_lines = [line for line in done.stderr.splitlines() if line.strip()][-1:]
    return last_lines[0].strip() if last_lines else f"exit status {done.returncode}"
