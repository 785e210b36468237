"""Metrics of a run: always into a file of its own, and to MLflow if that is enabled. The only import of mlflow.

The file is the truth: figures are drawn from it, and what MLflow has missed is sent again from it at the next start.
MLflow is spoken to from a thread, so that a slow or dead server never holds up a run.
"""

import json
import logging
import math
import os
import re
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import SettingsError
from orchestrator.runs.layout import METRICS_FILE, MLFLOW_FILE
from orchestrator.settings.experiment import Experiment
from orchestrator.settings.loading import settings_as_yaml
from orchestrator.storage.locations import RemotePath, working_copy
from orchestrator.storage.writing import append_json_line, read_json_lines, waiting_lock, write_json, write_json_lines

log = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run ended, in MLflow's words; KILLED is stopped by the user."""

FLUSH_S = 2.0
"""Metrics are sent together this often."""
RETRY_S = 60.0
"""Pause after a failure before MLflow is tried again."""
FINISH_S = 30.0
"""Time that the last metrics may take at the end of a run."""
MAX_WAITING = 200_000
"""Metrics kept in memory for an MLflow that does not answer; they stay in the run's file in any case."""
MAX_PARAM_CHARACTERS = 6000
"""MLflow's limit for a parameter's value."""

_SENT = "likert.env_step"
"""Tag with the environment step up to which MLflow has the metrics."""
_TOKEN = "likert.token"
"""Tag that joins a run at MLflow to a run's folder."""
PARENT = "mlflow.parentRunId"
"""Tag by which MLflow shows a run below another."""


@dataclass(frozen=True)
class ParentRun:
    """The run at MLflow that the runs of a sweep's trials hang under."""

    run_id: str
    experiment_id: str
    uri: str = field(repr=False)
    """Where MLflow is. It may hold a password, so it is shown nowhere."""


class Tracker:
    """Where a run's numbers and pictures go. As a context manager it finishes with the status that fits."""

    def __init__(self, run_folder: Path, mlflow: "MlflowRun | None" = None) -> None:
        self._metrics = run_folder / METRICS_FILE
        self._mlflow = mlflow

    def log(self, metrics: Mapping[str, float], env_step: int) -> None:
        """Record numbers by path, such as `eval/success`, at an environment step."""
        row = {"env_step": int(env_step), "time": time.time(), **{name: float(v) for name, v in metrics.items()}}
        append_json_line(self._metrics, row)
        if self._mlflow is not None:
            self._mlflow.log(row)

    def figure(self, path: Path) -> None:
        """Show a picture of the run at MLflow, under `figures/`."""
        self.artefact(path, "figures")

    def artefact(self, path: Path, folder: str | None = None) -> None:
        """Give a file, or a folder with all its files, to MLflow."""
        if self._mlflow is not None:
            self._mlflow.send_file(path, folder)

    def finish(self, status: Status) -> None:
        """Send what is left and close the run at MLflow. Nothing can be logged afterwards."""
        if self._mlflow is not None:
            self._mlflow.finish(status)
            self._mlflow = None

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit)
        self.finish("FINISHED" if kind is None else "KILLED" if stopped else "FAILED")


def open_tracker(experiment: Experiment, resume_env_step: int = 0, parent: ParentRun | None = None) -> Tracker:
    """The tracker of a run that starts, or goes on from a checkpoint at `resume_env_step`.

    With `parent` it is a trial of a sweep, and MLflow shows it below the sweep.

    Rows of the metrics file beyond that step are dropped: the run will write them again. Raises SettingsError if
    MLflow is enabled and cannot be reached.
    """
    folder = working_copy(experiment.run_folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in read_json_lines(folder / METRICS_FILE) if row["env_step"] <= resume_env_step]
    # At step 0 nothing has been saved yet, so whatever stands there is written again too.
    rows = rows if resume_env_step > 0 else []
    write_json_lines(folder / METRICS_FILE, rows)
    if not experiment.tracking.enabled:
        return Tracker(folder)
    return Tracker(folder, connect_mlflow(experiment, rows, parent))


class MlflowRun:
    """One run at MLflow, fed by a thread. After a failure it warns once, keeps what is unsent, and tries again."""

    def __init__(self, client: Any, run_id: str, sent_env_step: int) -> None:
        self.run_id = run_id
        self._client = client
        self._sent_env_step = sent_env_step
        self._rows: list[Mapping[str, float]] = []
        self._files: list[tuple[Path, str | None]] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._warned = False
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def log(self, row: Mapping[str, float]) -> None:
        """Take a row of the metrics file, unless MLflow has that step already."""
        if row["env_step"] > self._sent_env_step:
            with self._lock:
                self._rows.append(row)
                del self._rows[:-MAX_WAITING]

    def send_file(self, path: Path, folder: str | None) -> None:
        """Take a file or folder."""
        with self._lock:
            self._files.append((path, folder))

    def finish(self, status: Status) -> None:
        """Send the rest and close the run, within `FINISH_S`."""
        self._closing.set()
        self._thread.join(FINISH_S)
        if self._thread.is_alive():
            self._warn("it does not answer")
            return
        try:
            self._client.set_terminated(self.run_id, status)
        except Exception as error:  # noqa: BLE001 - tracking must not turn a finished run into a failed one.
            self._warn(error)

    def _work(self) -> None:
        pause_s = FLUSH_S
        while not self._closing.wait(pause_s):
            pause_s = FLUSH_S if self._flush() else RETRY_S
        self._flush()

    def _flush(self) -> bool:
        """Send everything; False, with the unsent kept, if that failed."""
        with self._lock:
            rows, self._rows = self._rows, []
            files, self._files = self._files, []
        try:
            # Rows are sent whole and in order, so that the tag says how far MLflow has come.
            while rows:
                batch = _first_rows(rows)
                self._send_rows(batch)
                del rows[: len(batch)]
            while files:
                self._send_file(*files[0])
                del files[0]
        except Exception as error:  # noqa: BLE001 - whatever the tracking server does, the run goes on.
            self._warn(error)
        with self._lock:
            self._rows[:0] = rows
            self._files[:0] = files
        return not (rows or files)

    def _send_rows(self, rows: list[Mapping[str, float]]) -> None:
        from mlflow.entities import Metric, RunTag

        metrics = [
            Metric(name, value, int(1000 * row["time"]), int(row["env_step"]))
            for row in rows
            for name, value in row.items()
            if name not in ("env_step", "time") and math.isfinite(value)
        ]
        tag = RunTag(_SENT, str(max(int(row["env_step"]) for row in rows)))
        self._client.log_batch(self.run_id, metrics=metrics, tags=[tag])

    def _send_file(self, path: Path, folder: str | None) -> None:
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), "/".join(filter(None, [folder, path.name])))
        elif path.exists():
            self._client.log_artifact(self.run_id, str(path), folder)

    def _warn(self, reason: object) -> None:
        if not self._warned:
            self._warned = True
            reason = public(str(reason))
            log.warning("MLflow failed (%s); the run goes on, and its metrics stay in %s", reason, METRICS_FILE)


def connect_mlflow(
    experiment: Experiment, rows: list[Mapping[str, float]], parent: ParentRun | None = None
) -> MlflowRun:
    """Find this run at MLflow, or make it, and send it those of `rows` that it lacks. Raises SettingsError."""
    uri = parent.uri if parent else mlflow_uri(experiment.runs_folder)
    try:
        if parent is None:
            client, experiment_id = open_experiment(uri, experiment)
        else:
            client, experiment_id = _client(uri), parent.experiment_id
        tags = {PARENT: parent.run_id} if parent else {}
        run = find_or_make_run(client, experiment_id, experiment.run_folder, public(uri), tags)
        log_settings(client, run, experiment.model_dump(mode="json"), settings_as_yaml(experiment))
    except Exception as error:  # noqa: BLE001 - whatever a server lacks, the remedy is the user's.
        raise unusable(uri, error) from None
    tracked = MlflowRun(client, run.info.run_id, int(run.data.tags.get(_SENT, -1)))
    for row in rows:
        tracked.log(row)
    return tracked


def _load_mlflow() -> Any:
    # Its own defaults retry for minutes, send usage data out, and print the steps of making a database.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow


def _client(uri: str) -> Any:
    return _load_mlflow().MlflowClient(tracking_uri=uri)


def mlflow_uri(runs_folder: Path | RemotePath) -> str:
    """Where MLflow is: the server that MLFLOW_TRACKING_URI names, or a file beside the runs.

    Raises SettingsError if there is neither.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given and isinstance(runs_folder, RemotePath):
        raise SettingsError(
            f"runs_folder = {str(runs_folder)!r}: MLflow cannot keep its file there; set MLFLOW_TRACKING_URI to an "
            "`mlflow server` that every machine reaches, or tracking.enabled=false"
        )
    return given or _local_uri(runs_folder)


def _local_uri(runs_folder: Path) -> str:
    return f"sqlite:///{(runs_folder / 'mlflow.db').resolve()}"


def open_experiment(uri: str, experiment: Experiment) -> tuple[Any, str]:
    """A client of MLflow, and the id of the MLflow experiment that `experiment` names, made if need be."""
    # Its import takes seconds, so it comes before the lock.
    _load_mlflow()
    # Processes that make the database at the same moment disturb each other.
    with waiting_lock(working_copy(experiment.runs_folder) / ".mlflow.lock"):
        client = _client(uri)
        return client, _experiment_id(client, experiment, local="MLFLOW_TRACKING_URI" not in os.environ)


def check_server(uri: str) -> None:
    """Raise SettingsError if the MLflow server at `uri` does not answer or does not let us in."""
    try:
        _client(uri).search_experiments(max_results=1)
    except Exception as error:  # noqa: BLE001 - whatever a server lacks, the remedy is the user's.
        raise unusable(uri, error) from None


def unusable(uri: str, error: Exception) -> SettingsError:
    """What to tell the user of an MLflow that does not answer."""
    return SettingsError(
        f"MLflow at {public(uri)} cannot be used ({public(str(error))}). "
        "Check MLFLOW_TRACKING_URI, or set tracking.enabled=false"
    )


def public(text: str) -> str:
    """An address, or a message that holds one, without name and password."""
    return re.sub(r"(?<=://)[^/@\s]*@", "", text)


def _experiment_id(client: Any, experiment: Experiment, local: bool) -> str:
    from mlflow.exceptions import MlflowException

    name = experiment.tracking.experiment
    artefacts = (experiment.runs_folder / "mlflow_artefacts").resolve().as_uri() if local else None
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=artefacts)
        except MlflowException:
            found = client.get_experiment_by_name(name)  # Another machine was faster.
    if found is None or found.lifecycle_stage != "active":
        raise ValueError(f"experiment {name!r} was deleted there; restore it, or give tracking.experiment another name")
    return found.experiment_id


def find_or_make_run(
    client: Any, experiment_id: str, run_folder: Path | RemotePath, uri: str, tags: Mapping[str, str] | None = None
) -> Any:
    """The run that this folder is tracked as, open again, or a new one with `tags`.

    A token, kept in the folder before the run exists and on the run ever after, joins the two: a kill at any moment
    leaves no second run behind.
    """
    path = run_folder / MLFLOW_FILE
    token = json.loads(path.read_text())["token"] if path.exists() else uuid.uuid4().hex
    if not path.exists():
        write_json(path, {"token": token})
    found = client.search_runs([experiment_id], filter_string=f"tags.`{_TOKEN}` = '{token}'", max_results=1)
    if found:
        run = found[0]
        client.update_run(run.info.run_id, status="RUNNING")
    else:
        run = client.create_run(experiment_id, run_name=run_folder.name, tags={_TOKEN: token, **(tags or {})})
    write_json(path, {"token": token, "run_id": run.info.run_id, "tracking_uri": uri})
    return run


def log_settings(client: Any, run: Any, settings: Mapping[str, Any], text: str) -> None:
    """Resolved settings, as parameters and as a file. A parameter never changes, so a new value becomes a tag."""
    from mlflow.entities import Param, RunTag

    values = _flat(settings)
    new = [Param(name, value) for name, value in values.items() if name not in run.data.params]
    changed = [
        RunTag(f"resumed_with.{name}", value)
        for name, value in values.items()
        if run.data.params.get(name, value) != value
    ]
    for start in range(0, len(new), 100):
        client.log_batch(run.info.run_id, params=new[start : start + 100])
    client.log_batch(run.info.run_id, tags=changed)
    client.log_text(run.info.run_id, text, "settings.yaml")


def log_metrics(client: Any, run_id: str, metrics: Mapping[str, float]) -> None:
    """Numbers that have no step, in requests of MLflow's size."""
    from mlflow.entities import Metric

    now = int(1000 * time.time())
    values = [Metric(name, value, now, 0) for name, value in metrics.items()]
    for start in range(0, len(values), 900):
        client.log_batch(run_id, metrics=values[start : start + 900])


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)[:MAX_PARAM_CHARACTERS]
    return flat


def _first_rows(rows: list[Mapping[str, float]], max_metrics: int = 900) -> list[Mapping[str, float]]:
    """As many rows from the start as one request to MLflow takes (1,000 metrics), one at least."""
    total = 0
    for index, row in enumerate(rows):
        total += len(row)
        if total > max_metrics and index:
            return rows[:index]
    return rows
