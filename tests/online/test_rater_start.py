"""When the rater of a run loads its model."""

import numpy as np

from algorithms.images import encode_png
from algorithms.ratings import RaterIdentity, Rating
from orchestrator.online.asking.rater import settled_start
from orchestrator.online.questions import QuestionMaker
from orchestrator.ratings.store import RatingStore
from orchestrator.runs.layout import CHECKPOINTS_FOLDER
from tests.fakes.toy_run import toy_experiment


def test_a_run_that_asked_before_and_begins_anew_loads_when_it_has_something_new_to_ask(tmp_path):
    experiment = toy_experiment(tmp_path)
    store = RatingStore(experiment.ratings_folder)

    def start(rater=None, of=experiment):
        return settled_start(of.model_copy(update={"rater": rater or of.rater}), store).start

    assert start() == "at_once"
    png = encode_png(np.zeros((28, 28, 3), np.uint8))
    question = QuestionMaker(experiment).question([png], 0, False)
    identity = RaterIdentity("model", "one")
    store.append(
        [(question, Rating("key", 0, (1.0, 0.0, 0.0), "", 1, 1, 0.1))], identity, experiment.rater.sampling,
        experiment.run_folder.name,
    )  # fmt: skip
    assert start() == "when_asked"
    assert start(of=experiment.model_copy(update={"name": "other"})) == "at_once"
    assert start(experiment.rater.model_copy(update={"start": "at_once"})) == "at_once"
    assert start(experiment.rater.model_copy(update={"endpoint": "http://host:8000/v1"})) == "at_once"
    # It goes on from a checkpoint, and will have new questions.
    (experiment.run_folder / CHECKPOINTS_FOLDER).mkdir(parents=True)
    assert start() == "at_once"
