"""The offline loop of RG-VLM (Lee et al. 2025): learn from labelled trajectories, and have the policy judged.

    trajectories (Parquet) -> windows -> two-turn query -> score per action -> labels (Parquet) -> IQL -> evaluation

`likert label` does the first half. `OfflineLoop.run` is the second; a resumed run equals one that was never stopped.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from algorithms.policies import LanguageIQL
from orchestrator.offline.chains.chain_tasks import TASKS_RULE
from orchestrator.offline.judging import Judge
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.runs.checkpoints import Checkpoints
from orchestrator.runs.layout import POLICY_FILE
from orchestrator.runs.tracking import Tracker
from orchestrator.screen.run_progress import RunProgress
from orchestrator.storage.writing import write_arrays, write_json

LOG_EVERY = 250
"""Updates between two rows of metrics."""
_STATE_FILE = "offline.json"
_POLICY_FOLDER = "policy"


@dataclass
class OfflineProgress:
    """Where a run stands; all of it goes into a checkpoint, beside the policy."""

    updates: int = 0
    tasks_rule: int = 1
    """`chain_tasks.TASKS_RULE` when the run began; runs that did not note it began by the first."""


class OfflineLoop:
    """One run. The parts are handed in; `restore` may put them back to a checkpoint; `run` drives them to the end."""

    def __init__(self, experiment: OfflineExperiment, policy: LanguageIQL, judge: Judge) -> None:
        self._experiment = experiment
        self._policy = policy
        self._judge = judge
        self.progress = OfflineProgress(tasks_rule=TASKS_RULE)

    def run(self, tracker: Tracker, screen: RunProgress, checkpoints: Checkpoints) -> None:
        """Go on until `total_updates`."""
        total = self._experiment.total_updates
        if self.progress.updates == 0:
            self._evaluate(tracker, screen, control="untrained")
        while self.progress.updates < total:
            screen.update(phase="policy", env_steps=self.progress.updates)
            self._learn(tracker)
            if self._due(self._experiment.evaluation.interval_updates):
                self._evaluate(tracker, screen)
            if self._due(self._experiment.checkpoint.interval_updates):
                screen.update(phase="saving")
                checkpoints.save(self.progress.updates, self.save)
        write_arrays(self._experiment.working_folder / POLICY_FILE, self._policy.actor_weights())
        screen.update(phase="done", env_steps=self.progress.updates)

    def save(self, folder: Path) -> None:
        """Write all that the run depends on into a folder."""
        self._policy.save_to_path(folder / _POLICY_FOLDER)
        # Without RLlib's pickles, for whoever exports a run that is not at its end.
        write_arrays(folder / POLICY_FILE, self._policy.actor_weights())
        write_json(folder / _STATE_FILE, asdict(self.progress))

    def restore(self, folder: Path) -> None:
        """Go back to what `save` wrote."""
        progress = OfflineProgress(**json.loads((folder / _STATE_FILE).read_text()))
        self._policy.restore_from_path(folder / _POLICY_FOLDER)
        self.progress = progress

    # ---------------------------------------------------------------------------------------------- inside

    def _learn(self, tracker: Tracker) -> None:
        """Updates up to the next row of metrics, evaluation or checkpoint, whichever comes first."""
        settings = self._experiment
        done = self.progress.updates
        marks = (LOG_EVERY, settings.evaluation.interval_updates, settings.checkpoint.interval_updates)
        count = min(settings.total_updates, *((done // mark + 1) * mark for mark in marks)) - done
        started = time.monotonic()
        metrics = self._policy.update(count)
        self.progress.updates += count
        tracker.log(
            {f"policy/{name}": value for name, value in metrics.items()}
            | {"time/policy_update_ms": 1000.0 * (time.monotonic() - started) / count},
            self.progress.updates,
        )

    def _due(self, interval: int) -> bool:
        done = self.progress.updates
        return done % interval == 0 or done == self._experiment.total_updates

    def _evaluate(self, tracker: Tracker, screen: RunProgress, control: str | None = None) -> None:
        screen.update(phase="evaluation", env_steps=self.progress.updates)
        last = self.progress.updates == self._experiment.total_updates
        metrics = self._judge.metrics(self._policy, control=control, last=last)
        tracker.log(metrics, self.progress.updates)
        if control is None:
            screen.update(success=metrics[self._judge.score], measure=self._judge.measure)
