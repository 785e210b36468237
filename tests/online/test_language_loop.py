"""The real loop where actions are choices and each episode says what is to be done: online IQL, told in words."""

import pytest

from actors.rollout.worker import RolloutWorker
from actors.worlds.world import WorldSpec
from algorithms.images import decode_png
from orchestrator.online.settings import OnlineExperiment
from tests.fakes.toy_reach import CountingServer
from tests.fakes.toy_run import ToyRun, toy_experiment

ERRANDS = {
    "world": "gymnasium",
    "name": "errands",
    "factory": "tests.fakes.toy_envs:Errands",
    "grid_key": "grid",
    "instruction_key": "errand",
    "instruction": "go where you are told",
    "focus": "the white cell",
    "image_px": 40,
    "episode_env_steps": 8,
    "success": "termination",
}
IQL = {
    "algorithm": "iql",
    "network": {"hidden": [32], "instruction_size": 16, "channels": 8},
    "num_words": 64,
    "instruction_length": 8,
    "learning_rate": 2e-3,
    "weight_decay": 0.0,
    "discount": 0.7,
    "tau": 0.1,
    "beta": 10.0,
    "expectile": 0.7,
    "batch_size": 64,
    "replay_capacity": 2_000,
    "seed_env_steps": 150,
    "unsupervised_env_steps": 0,
}


class LookingServer(CountingServer):
    """Reads to which end the white cell should go, and looks how far it has come."""

    def _answer(self, prompt, images, choices):
        self.num_asked += bool(choices)
        if not choices:
            return "I see a white cell."
        columns = decode_png(images[-1])[16:24, :, 0].mean(axis=0)
        place = columns.argmax() / (len(columns) - len(columns) // 5)
        done = place if "right" in str(prompt) else 1.0 - place
        return choices[2 if done > 0.9 else int(done > 0.4)]


class ErrandsRun(ToyRun):
    """A run of real workers."""

    worker_class = RolloutWorker
    world = WorldSpec(
        observation_size=15, action_size=1, longest_agent_steps=8, fixed_length=False, draws_again=False,
        knows_success=True, num_actions=3, grid_shape=(1, 5, 3), num_categories=3, says_instruction=True,
    )  # fmt: skip

    def __init__(self, experiment):
        super().__init__(experiment, server_class=LookingServer)


def errands_experiment(folder, **changes):
    tree = toy_experiment(folder).model_dump() | {"task": ERRANDS, "policy": IQL, "total_env_steps": 600}
    tree["rollout"] |= {"envs_per_worker": 2, "chunk_agent_steps": 8, "period_agent_steps": 24}
    tree["feedback"] |= {
        "first_env_steps": 150, "interval_env_steps": 150, "per_session": 30, "budget": 400, "ask_again": True,
    }  # fmt: skip
    tree["reward_model"] |= {
        "hidden": [32], "learning_rate": 1e-3, "max_epochs": 30, "num_members": 2, "reward_scale": "rated_range",
    }  # fmt: skip
    tree["evaluation"] |= {"interval_env_steps": 300}
    tree["checkpoint"] |= {"interval_env_steps": 200}
    for name, value in changes.items():
        tree[name] = tree[name] | value if isinstance(value, dict) else value
    return OnlineExperiment.model_validate(tree)


pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.mark.slow
def test_a_resumed_run_equals_one_that_was_not_stopped(tmp_path):
    short = {
        "reward_model": {"max_epochs": 2, "num_members": 1},
        "total_env_steps": 300,
        "policy": {"updates_per_agent_step": 0.1},
    }
    whole = ErrandsRun(errands_experiment(tmp_path, **short)).run()
    part = errands_experiment(tmp_path, name="part", ratings_folder=tmp_path / "others", **short)
    ErrandsRun(part.model_copy(update={"total_env_steps": 200})).run()
    assert ErrandsRun(part).run(resume=True).fingerprint() == whole.fingerprint()
    replay = whole.loop.policy.replay
    assert set(replay.instructions(replay.indices)) == {"go to the left end", "go to the right end"}
    assert set(whole.labels.instructions) == {"go to the left end", "go to the right end"}
    assert set(replay.reward_versions(replay.indices)) == {whole.loop.progress.reward_version}
