"""A rater that changes in the middle of a run is seen by what was asked before; asking again changes nothing else."""

import pytest
from pydantic import ValidationError

from orchestrator.errors import RatingsFailing
from orchestrator.kinds import read_run
from orchestrator.online.report import drifts
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.store import RatingStore
from orchestrator.runs.folder import RunFolder
from tests.fakes.toy_reach import CountingServer
from tests.fakes.toy_run import ToyRun, toy_experiment

pytestmark = pytest.mark.usefixtures("actors")


class Drifting(CountingServer):
    """After ten questions each answer is the next level, and after the last the first."""

    def _answer(self, prompt, images, choices):
        answer = super()._answer(prompt, images, choices)
        return choices[(choices.index(answer) + 1) % len(choices)] if self.num_asked > 10 else answer


def watched(folder, name="toy", number=4, **canaries):
    tree = toy_experiment(folder).model_dump() | {"name": name, "total_env_steps": 600}
    tree["ratings_folder"] = folder / f"ratings_of_{name}"
    tree["feedback"] |= {"per_session": 10, "canaries": {"number": number} | canaries}
    tree["reward_model"]["max_epochs"] = 5
    return OnlineExperiment.model_validate(tree)


def test_a_rater_that_drifts_stops_the_run_and_a_resumed_run_is_as_if_nobody_had_watched(tmp_path, actors):
    plain = ToyRun(watched(tmp_path, "plain", number=0)).run()
    experiment = watched(tmp_path, on_drift="stop")
    with pytest.raises(RatingsFailing, match=r"100% of 4 canaries .* moved by 1.00 of 1; neither .*on_drift=warn"):
        ToyRun(experiment, server_class=Drifting).run()
    assert len(RatingStore(experiment.ratings_folder)) == 10, "nothing was asked for the session, nor stored"
    mended = ToyRun(experiment).run(resume=True)
    assert mended.num_asked == 4 + 10 and mended.fingerprint() == plain.fingerprint()
    shown = read_run(experiment.run_folder)
    assert shown.series("canary/changed").values.tolist()[-1] == 0.0
    assert shown.series("canary/shift").values.tolist()[-1] == 0.0
    assert plain.num_asked == 20 and not len(read_run(plain.experiment.run_folder).series("canary/asked"))


@pytest.mark.slow
def test_a_warning_names_what_changed_and_the_report_tells_it(tmp_path, actors, monkeypatch):
    notes = []
    monkeypatch.setattr(RunFolder, "note", lambda self, text: notes.append(text))
    experiment = watched(tmp_path)
    run = ToyRun(experiment, server_class=Drifting).run()
    assert len(run.labels) == 20 and len(RatingStore(experiment.ratings_folder)) == 20
    (note,) = [text for text in notes if "drifted" in text]
    assert "100% of 4 canaries are answered otherwise than before" in note
    assert drifts([read_run(experiment.run_folder)]) == (
        "\nThe rater has drifted: of the canaries of toy-seed0, 100% were answered otherwise at 400 steps.\n"
    )


def test_scores_have_no_sessions_to_watch_before(tmp_path):
    tree = watched(tmp_path).model_dump() | {"reward": {"source": "scores"}}
    with pytest.raises(ValidationError, match=r"feedback.canaries.number 4: .* 'scores' has none"):
        OnlineExperiment.model_validate(tree)
