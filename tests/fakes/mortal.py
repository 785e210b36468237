"""Actors of the toy task that can be told where to die. Their module is light, for every actor's process imports it."""

import os
import signal
from pathlib import Path

from tests.fakes.toy_reach import CountingServer, ToyWorker


def die_if(grave: Path) -> None:
    """SIGKILL to this process if `grave` is there; once, because the grave is filled in."""
    try:
        grave.unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class MortalWorker(ToyWorker):
    """Dies in the middle of its fourth episode, in a rendering or in an evaluation, if its grave is dug."""

    def __init__(self, graves, task, rollout, seed, worker_index):
        super().__init__(task, rollout, seed, worker_index)
        self._graves, self._index = graves, worker_index

    def collect(self, weights, render_px=None):
        if self._episode == 3 and self._step > 0:
            die_if(self._graves / f"collect-{self._index}")
        return super().collect(weights, render_px)

    def render(self, scene, frame_states):
        die_if(self._graves / f"render-{self._index}")
        return super().render(scene, frame_states)

    def evaluate(self, *arguments):
        die_if(self._graves / f"evaluate-{self._index}")
        return super().evaluate(*arguments)


class MortalServer(CountingServer):
    """Dies at its twentieth question if its grave is dug."""

    def __init__(self, settings, graves):
        super().__init__(settings)
        self._graves = graves

    def _answer(self, prompt, images, choices):
        if self.num_asked == 20:
            die_if(self._graves / "server")
        return super()._answer(prompt, images, choices)
