"""Ratings that are all of one level teach nothing: a run then goes on exploring until there are two."""

import pytest

from actors.rating.backend import Reply
from algorithms.images import decode_png
from orchestrator.kinds import read_run
from orchestrator.online.settings import OnlineExperiment
from tests.fakes.toy_reach import IMAGE_PX, CountingServer
from tests.fakes.toy_run import ToyRun, toy_experiment

HARD_TO_REACH = 24
"""Column of 28 from which on a dot is rated well; random actions from the left half hardly come so far."""


class StrictServer(CountingServer):
    """Rates everything as bad that is not near the right end."""

    def _answer(self, prompt, images, choices) -> str | Reply:
        self.num_asked += bool(choices)
        column = int(decode_png(images[0])[0, :, 0].argmax())
        assert column < IMAGE_PX
        return choices[-1 if column >= HARD_TO_REACH else 0]


def strict(folder, total_env_steps=1_600, **feedback):
    tree = toy_experiment(folder).model_dump() | {"total_env_steps": total_env_steps}
    tree["feedback"] |= {"per_session": 20, "num_ratings": 2} | feedback
    return OnlineExperiment.model_validate(tree)


def levels_of(run):
    return set(run.labels.ratings.tolist())


def test_one_level_trains_no_reward_model_and_exploring_finds_the_second(tmp_path, actors):
    experiment = strict(tmp_path, total_env_steps=1_000)
    run = ToyRun(experiment, server_class=StrictServer).run()
    sessions = run.labels.ratings.reshape(-1, 20)
    # Nothing was learned from the first session, within the random steps; then from all that there were.
    assert not sessions[0].any() and sessions[1:].any()
    assert run.loop.progress.reward_version == len(sessions) - 1
    assert not run.loop.progress.starving


@pytest.mark.slow
def test_a_resumed_run_learns_from_what_nothing_could_be_learned_from_before(tmp_path, actors):
    experiment = strict(tmp_path, total_env_steps=1_000)
    whole = ToyRun(experiment, server_class=StrictServer).run()
    part = experiment.model_copy(update={"name": "part", "ratings_folder": tmp_path / "others"})
    first = ToyRun(part.model_copy(update={"total_env_steps": 400}), server_class=StrictServer).run()
    assert levels_of(first) == {0} and first.loop.progress.starving and first.loop.progress.reward_version == 0
    assert len(read_run(part.run_folder).series("eval/success").values) > 0
    assert ToyRun(part, server_class=StrictServer).run(resume=True).fingerprint() == whole.fingerprint()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_exploring_on_finds_the_second_level_where_learning_at_once_does_not(tmp_path, actors, seed):
    experiment = strict(tmp_path).model_copy(update={"seed": seed})
    found = ToyRun(experiment, server_class=StrictServer).run()
    assert levels_of(found) == {0, 1} and found.success() == 1.0
    starved = strict(tmp_path, explore_until_two_levels=False).model_copy(update={"name": "starved", "seed": seed})
    assert levels_of(ToyRun(starved, server_class=StrictServer).run()) == {0}
