"""Runs read back from their folders."""

import pytest

from orchestrator.errors import SettingsError
from orchestrator.kinds import find_runs, read_run
from orchestrator.storage.writing import append_json_line


def test_series_takes_the_last_of_a_step_that_was_logged_twice(make_run):
    run = make_run(successes=(0.1, 0.2))
    append_json_line(run.folder / "metrics.jsonl", {"env_step": 1000, "time": 9.0, "eval/success": 0.9})
    series = read_run(run.folder).series("eval/success")
    assert series.env_steps.tolist() == [1000, 2000]
    assert series.values.tolist() == [0.9, 0.2]
    assert len(run.series("eval/unheard_of")) == 0
    assert run.controls() == {"random": 0.2}


def test_find_runs_in_folders_and_right_below_them(make_run, tmp_path):
    first, second = make_run(seed=0), make_run(seed=1)
    assert [run.folder for run in find_runs([tmp_path / "runs"])] == [first.folder, second.folder]
    assert [run.folder for run in find_runs([second.folder, tmp_path / "runs"])] == [second.folder, first.folder]
    (tmp_path / "empty").mkdir()
    (tmp_path / "runs" / "mlflow.db").write_text("")
    everything = [*sorted((tmp_path / "runs").iterdir()), tmp_path / "empty"]
    assert [run.folder for run in find_runs(everything)] == [first.folder, second.folder]
    with pytest.raises(SettingsError, match=r"there is no run in .*empty: none has a settings\.yaml"):
        find_runs([tmp_path / "empty"])
    with pytest.raises(SettingsError, match="absent does not exist; name folders of runs"):
        find_runs([tmp_path / "runs", tmp_path / "absent"])
    with pytest.raises(SettingsError, match=r"empty is not the folder of a run: it has no settings\.yaml"):
        read_run(tmp_path / "empty")
