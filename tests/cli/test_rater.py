"""`likert rater`: what the commands pass on, print and exit with; no Ray is started."""

import ray
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.ratings import rater_command, shared_server
from orchestrator.ratings.shared_server import ServerStatus


def likert(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_start_passes_name_and_settings_on(monkeypatch):
    monkeypatch.setattr(rater_command, "start", lambda rater: f"{rater.server} serves {rater.model}")
    done = likert("rater", "start", "one", "model=my/model", "num_replicas=2")
    assert done.exit_code == 0 and done.output.strip() == "one serves my/model"
    assert likert("rater", "start", "one", "modle=my/model").exit_code == 2
    refused = likert("rater", "start", "one/two")
    assert refused.exit_code == 2 and "server" in refused.stderr


def test_without_a_cluster_each_command_says_what_to_do(monkeypatch):
    """Nothing of Ray itself is asked for: it would wait for minutes."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    for command in (["start", "one"], ["stop", "one"], ["status"]):
        done = likert("rater", *command)
        assert done.exit_code == 2 and "'127.0.0.1:9': nobody answers" in done.stderr
        assert "`ray start --head`" in done.stderr


def test_status_shows_servers_replicas_and_runs(monkeypatch):
    replica = {"num_rated": 1_200, "ratings_per_s": 10.0}
    counts = {"num_asked": 1_000, "num_shared": 200, "num_failed": 3, "num_waiting": 40}
    status = ServerStatus("one", "pocket", 3, [replica, None, replica], {"drawer-seed0": counts})
    monkeypatch.setattr(rater_command, "check_cluster", lambda _: 1)
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(shared_server, "list_servers", lambda: ["one"])
    monkeypatch.setattr(shared_server, "status", lambda name: status)
    assert likert("rater", "status").output.splitlines() == [
        "one: pocket, 2 of 3 replicas up, 2,400 ratings given, 20.0 a second while busy",
        "  drawer-seed0: 1,000 asked, 200 shared with others, 3 failed, 40 waiting",
    ]
