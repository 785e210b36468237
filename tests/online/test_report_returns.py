"""Tables and figures of runs whose world does not say what a success is: returns are shown, and nothing is made up."""

import csv
import io

import pytest

from orchestrator.kinds import kind_of, read_run
from orchestrator.online.figures import comparison_figure, success_figure
from orchestrator.online.report import result_line, write_online_report
from orchestrator.reports.tables import grouped
from orchestrator.storage.writing import append_json_line

WORLD = "{world: gymnasium, name: pendulum, env_id: Pendulum-v1, instruction: swing up, focus: the pole%s}"


@pytest.fixture
def run_with_returns(make_run):
    def make(name, returns, random=-1200.0, success=""):
        folder = make_run(name, successes=(), random=None, task=WORLD % success).folder
        rows = [{"env_step": 0, "eval/random_env_return": random}]
        rows += [{"env_step": 1000 * (n + 1), "eval/env_return": value} for n, value in enumerate(returns)]
        for row in rows:
            append_json_line(folder / "metrics.jsonl", {"time": 1.0, **row})
        return read_run(folder)

    return make


def test_returns_stand_in_for_success(run_with_returns, tmp_path):
    run = run_with_returns("swing", (-900.0, -500.0, -300.0, -100.0))
    line = result_line("swing", [run])
    assert line.success is None and line.success_last_step is None
    assert line.env_return.mean == pytest.approx(-300.0) == line.worst_seed
    write_online_report([run], tmp_path / "out")
    table = (tmp_path / "out" / "results.md").read_text()
    assert table.startswith("| experiment | task | seeds | return | worst seed | ratings | env steps |")
    assert "| random policy | pendulum | 1 | -1200.00" in table and "success is unknown" in table
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "results.csv").read_text())))
    assert [row["success"] for row in rows] == ["", ""] and float(rows[0]["env_return"]) == pytest.approx(-300.0)
    assert kind_of(run.experiment).score(run.experiment) == "eval/env_return"


def test_figures_show_returns(run_with_returns):
    run = run_with_returns("swing", (-900.0, -500.0))
    for figure in (success_figure(run), comparison_figure(grouped([run]))):
        (axes,) = figure.axes
        assert axes.get_ylabel() == "return of an episode"
        assert axes.lines[0].get_ydata().tolist() == [-900.0, -500.0]
        assert "success" not in axes.get_title(loc="left") + "".join(text.get_text() for text in axes.texts)


def test_beside_runs_with_success_both_have_columns(run_with_returns, make_run, tmp_path):
    write_online_report([run_with_returns("swing", (-9.0, -5.0)), make_run()], tmp_path / "out")
    header = (tmp_path / "out" / "results.md").read_text().split("\n")[0]
    assert header == (
        "| experiment | task | seeds | success at any step | return | worst seed | success at the last step | ratings "
        "| env steps |"
    )


def test_the_rule_of_success_is_named(make_run, tmp_path):
    task = WORLD % ", success: {key: is_success, counts: held}"
    write_online_report([make_run(task=task)], tmp_path / "out")
    assert "| success held to the end |" in (tmp_path / "out" / "results.md").read_text()
