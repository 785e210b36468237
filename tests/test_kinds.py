"""A kind of experiment is a module and a line in `kinds.KINDS`: a third one runs, sweeps, is examined and reported."""

import json
from contextlib import nullcontext

import pytest
import yaml
from typer.testing import CliRunner

from orchestrator import kinds
from orchestrator.cli.main import app
from orchestrator.errors import SettingsError
from tests.fakes.toy_kind import ClimbExperiment, ClimbKind
from tests.offline.test_report import write_run


@pytest.fixture
def climb(monkeypatch):
    """The line."""
    monkeypatch.setitem(kinds.KINDS, "climb", ClimbKind())


@pytest.fixture
def file(tmp_path, monkeypatch):
    # As on a machine of one's own: each command starts a Ray.
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    tree = {"kind": "climb", "name": "hill", "runs_folder": str(tmp_path / "runs"), "tracking": {"enabled": False}}
    path = tmp_path / "hill.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def likert(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_a_kind_is_named_as_its_settings_name_it():
    assert [*kinds.KINDS] == ["online", "offline"]
    for name, kind in kinds.KINDS.items():
        assert kind.name == name and kind.settings.model_fields["kind"].annotation.__args__ == (name,)
        assert not type(kind).__abstractmethods__


def test_without_its_line_a_kind_is_not_known(file):
    with pytest.raises(SettingsError, match="kind = 'climb': must be one of online, offline"):
        kinds.load_experiment(file)


def test_a_third_kind_runs_resumes_under_its_own_rules_and_is_reported(climb, file, tmp_path):
    assert kinds.load_experiment(file, ["seed=2"]) == ClimbExperiment(
        kind="climb", name="hill", seed=2, runs_folder=tmp_path / "runs", tracking={"enabled": False}
    )
    steep = likert("run", file, "slope=2.0")
    assert steep.exit_code == 2 and "too steep for this machine" in steep.stderr
    wrong = likert("run", file, "slop=0.2")
    assert wrong.exit_code == 2 and "did you mean 'slope'" in wrong.stderr

    done = likert("run", file)
    assert done.exit_code == 0, done.output
    assert "hill-seed0: 4/4 steps, climbing" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "runs/hill-seed0/metrics.jsonl").read_text().splitlines()]
    assert [row["climb/height"] for row in rows] == pytest.approx([0.1, 0.2, 0.3, 0.4])

    assert "belongs to other settings (slope was 0.1 and is 0.2)" in likert("run", file, "slope=0.2").stderr
    assert likert("run", file, "num_steps=6").exit_code == 0

    reported = likert("report", tmp_path / "runs", "--out", tmp_path / "out")
    assert reported.exit_code == 0, reported.output
    assert (tmp_path / "out/climb.md").read_text().splitlines()[-1] == "| hill | 0.60 |"


def test_a_kind_without_an_evaluation_keeps_no_other_from_its_table(make_run, tmp_path):
    make_run("online", successes=(), random=None)
    write_run(tmp_path / "runs", "offline", 0, 0.5, 0.25)
    with pytest.raises(SettingsError, match=r"none of these runs has been evaluated yet.*the other runs are in"):
        kinds.write_report([tmp_path / "runs"], tmp_path / "out")
    assert "| offline |" in (tmp_path / "out/chains.md").read_text()
    make_run("online", 1)
    names = {path.name for path in kinds.write_report([tmp_path / "runs"], tmp_path / "out")}
    assert {"results.md", "chains.md"} <= names


def test_a_third_kind_is_swept_and_summed_up(climb, file, tmp_path):
    tree = yaml.safe_load(file.read_text())
    search = {"search": {"seed": {"grid": [0, 1]}, "slope": {"grid": [0.1, 0.2]}}}
    file.write_text(yaml.safe_dump(tree | search))
    planned = likert("sweep", file, "--dry-run")
    assert planned.exit_code == 0 and "gradient steps     16" in planned.output, planned.output
    steep = likert("sweep", file, "search.slope.grid=[0.1, 1.5]")
    assert steep.exit_code == 2 and "too steep for this machine" in steep.stderr

    swept = likert("sweep", file)
    assert swept.exit_code == 0, swept.output
    # The mean of each seed's last three evaluations, 0.3 and 0.31, 0.6 and 0.61.
    summary = (tmp_path / "runs/hill/summary.csv").read_text().splitlines()
    assert [line.split(",")[:3] + line.split(",")[6:7] for line in summary[1:]] == [
        ["slope-0.1", "0.1", "2", "0.305"],
        ["slope-0.2", "0.2", "2", "0.605"],
    ]
    assert "metric climb/height" in (tmp_path / "runs/hill/summary.md").read_text()
    assert likert("report", tmp_path / "runs/hill", "--out", tmp_path / "out").exit_code == 0


def test_a_third_kind_that_tells_no_times_says_where_it_would_run(climb, file, tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.cluster.actors.connected", lambda demands: nullcontext())
    monkeypatch.setattr(
        "orchestrator.cluster.placement.nodes_of", lambda demands: [(one, {"this machine": 1}) for one in demands]
    )
    planned = likert("run", file, "--plan")
    assert planned.exit_code == 0, planned.output
    assert planned.output.splitlines() == [
        "hill-seed0: 4 steps", "", "where, and what one takes", "  1 x rope  0.5 CPU    this machine",
    ]  # fmt: skip
    assert not (tmp_path / "runs").exists()


def test_a_third_kind_is_examined_by_the_doctor(climb, file):
    examined = likert("doctor", file)
    assert examined.exit_code == 0, examined.output
    assert "room for 1 rope" in examined.output
    # It draws nothing, and nobody rates.
    assert not {"frames", "rater"} & {line.split()[1] for line in examined.output.splitlines()}
