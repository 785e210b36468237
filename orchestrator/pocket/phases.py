"""Progress of a training, one phase after the other."""

from orchestrator.screen.work_progress import WorkProgress


class Phases:
    """Shows the phase of the moment, as a moving line or as lines of a log. Use it as a context manager."""

    def __init__(self) -> None:
        self._name = ""
        self._progress: WorkProgress | None = None

    def __enter__(self) -> "Phases":
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.__exit__()
            self._progress = None

    def show(self, name: str, done: int, total: int, unit: str = "steps", facts: str = "") -> None:
        """How much of a phase is done; another name ends the phase before."""
        if name != self._name or self._progress is None:
            self.__exit__()
            self._name, self._progress = name, WorkProgress(name, total, unit).__enter__()
        self._progress.update(done, facts)

    def on_step(self, phase: str, step: int, num_steps: int, loss: float) -> None:
        """For a trainer."""
        self.show(phase, step, num_steps, facts=f"loss {loss:.2f}")
