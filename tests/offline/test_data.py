"""From a labelled data set to transitions: rewards by labeller, observations by rows, instructions as read."""

import numpy as np
import pytest
import torch

from actors.babyai.settings import BabyAISettings
from actors.rating.engine_site.likert_engine_hooks import mend_torchvision
from algorithms.images import decode_png, encode_png, reduce_image
from algorithms.trajectories import Trajectory
from orchestrator.data.babyai import BabyAIDataSettings, dataset_info, trajectories_of
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.metadata import write_info
from orchestrator.data.schema import ActionSpace, DatasetInfo
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import SettingsError
from orchestrator.offline.data import check_actions, load_offline_data, rewards_to_learn
from orchestrator.offline.observation_cache import CACHE_FOLDER, cached_observations
from orchestrator.offline.settings import OfflineDataSettings, OfflineRewardSettings

ROOM = BabyAISettings(room_size=7, num_rows=1, num_cols=1, num_objects=5, subtasks=("goto", "pickup"))
MADE = BabyAIDataSettings(num_episodes=4, chain_lengths=(1, 2), unit="subtask", babyai=ROOM)


@pytest.fixture
def dataset(tmp_path):
    with DatasetWriter(tmp_path / "set", dataset_info(MADE, "set")) as writer:
        for number in range(4):
            for trajectory in trajectories_of(MADE, number):
                writer.write(trajectory)
    return TrajectoryDataset(tmp_path / "set")


def label(dataset, labeller, rewards):
    """Rewards of every row; the rows after each episode's last action have none."""
    (part,) = dataset.parts
    dataset.write_labels(part, labeller, np.asarray(rewards, np.float32))
    dataset.record_labels(labeller, {})
    return TrajectoryDataset(dataset.folder)


def load(dataset, **changes):
    settings = OfflineDataSettings(path=dataset.folder, **changes)
    return load_offline_data(dataset, settings, ["some words that no episode has , eleven of them in all"], 0.97)


def test_transitions_are_those_of_the_episodes(dataset):
    episodes = list(dataset.episodes())
    data = load(dataset)
    assert len(data.transitions) == sum(map(len, episodes)) and len(data.episode_ids) == 6
    row = 0
    for episode in episodes:
        for t in range(len(episode)):
            batch = data.transitions.batch(np.array([row]), history=2)
            np.testing.assert_array_equal(batch["observation"][0, 1], episode.symbolic[t])
            np.testing.assert_array_equal(batch["observation"][0, 0], episode.symbolic[max(t - 1, 0)])
            np.testing.assert_array_equal(batch["next_observation"][0, 1], episode.symbolic[t + 1])
            assert batch["action"][0] == episode.actions[t]
            assert batch["reward"][0] == batch["terminated"][0] == float(t == len(episode) - 1)
            np.testing.assert_array_equal(batch["instruction"], data.encode([episode.instruction]))
            row += 1
    assert (data.shape.kind, data.shape.num_actions, data.shape.observation_shape) == ("grid", 7, (7, 7, 3))
    # Places for the longest text that will be read, words of the data only.
    assert data.shape.instruction_length == 12 and data.encode(["eleven"])[0, 0] == 1


def trajectory(rewards):
    steps = len(rewards)
    return Trajectory(
        episode_id="a", instruction="go", actions=np.zeros(steps, np.int64), action_names=("left",) * steps,
        sparse_rewards=np.array([0.0] * (steps - 1) + [1.0], np.float32), terminated=np.zeros(steps, bool),
        truncated=np.zeros(steps, bool), rewards={"rg_vlm": np.array(rewards, np.float32)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.0, 0.0, 1.0]),
        ({"labeller": "rg_vlm"}, [0.5, np.nan, 0.8]),
        ({"labeller": "rg_vlm", "sparse": "sum"}, [0.5, np.nan, 1.8]),
        ({"labeller": "rg_vlm", "sparse": "clip"}, [0.5, np.nan, 1.0]),
        ({"labeller": "rg_vlm", "sparse": "replace", "dense_weight": 2.0}, [1.0, np.nan, 1.0]),
        ({"labeller": "rg_vlm", "shift": -1.0}, [-0.5, np.nan, -0.2]),
        ({"labeller": "rg_vlm", "shift": -1.0, "sparse": "max"}, [0.0, np.nan, 1.0]),
        # Signed about 0.6, and the sparse reward.
        ({"labeller": "rg_vlm", "middle": 0.6, "dense_weight": 0.5, "sparse": "sum"}, [-0.05, np.nan, 1.1]),
        # 0.5 * 0.5 - 0 and nothing behind a frame whose progress nobody told.
        ({"labeller": "rg_vlm", "form": "progress"}, [0.25, np.nan, np.nan]),
        # Sums 0.25, 0.25 and 0.8: 0.5 * 0.25 - 0, and 0.5 * 0.8 - 0.25.
        ({"labeller": "rg_vlm", "form": "cumulated", "middle": 0.25}, [0.125, np.nan, 0.15]),
        ({"labeller": "rg_vlm", "form": "success", "dense_weight": 2.6}, [1.0, np.nan, 1.6]),
    ],
)
def test_rewards_by_labeller_and_how_the_sparse_one_joins(settings, expected):
    rewards = rewards_to_learn(trajectory([0.5, np.nan, 0.8]), OfflineRewardSettings(**settings), 0.5)
    np.testing.assert_allclose(rewards, expected, atol=1e-6)


def test_actions_without_a_label_stay_unknown(dataset):
    rows = dataset.info.num_transitions + dataset.info.num_episodes
    rewards = np.full(rows, 0.3)
    rewards[[0, 3]] = np.nan  # Row 2 stands after the last of two actions.
    labelled = label(dataset, "rg_vlm", rewards)
    data = load(labelled, reward={"labeller": "rg_vlm"})
    assert data.transitions.num_unlabelled == 2
    assert data.transitions.batch(np.arange(3))["reward_known"].tolist() == [0, 1, 0]


def test_loading_tells_how_an_episodes_return_follows_its_length(dataset, monkeypatch):
    assert load(dataset).delay is None  # Of so few episodes.
    monkeypatch.setattr("algorithms.delay.FEWEST", 3)
    assert load(dataset).delay == pytest.approx(-1.0)
    paying = label(dataset, "rg_vlm", np.full(dataset.info.num_transitions + dataset.info.num_episodes, 0.8))
    assert load(paying, reward={"labeller": "rg_vlm"}).delay == pytest.approx(1.0)
    assert load(paying, reward={"labeller": "rg_vlm", "shift": -1.0}).delay == pytest.approx(-1.0)
    assert load(paying, reward={"labeller": "rg_vlm", "form": "success"}).delay < 0.0


def test_a_labeller_that_is_not_there_is_named_with_those_that_are(dataset):
    labelled = label(dataset, "clip", np.zeros(dataset.info.num_transitions + dataset.info.num_episodes))
    with pytest.raises(SettingsError, match=r"labeller = 'rg_vlm': the data set has rewards of sparse, clip"):
        load(labelled, reward={"labeller": "rg_vlm"})
    silent = label(dataset, "silent", np.full(dataset.info.num_transitions + dataset.info.num_episodes, np.nan))
    with pytest.raises(SettingsError, match="not one action has a reward of 'silent'"):
        load(silent, reward={"labeller": "silent"})


ARM = DatasetInfo(
    name="arm", source="test", actions=ActionSpace(kind="continuous", names=("lift", "turn")), frame_px=(8, 8)
)


def arm(folder, actions, info=ARM):
    """A set of one episode with these actions."""
    last = np.arange(len(actions)) == len(actions) - 1
    one = Trajectory(
        episode_id="a", instruction="lift it", actions=np.array(actions, np.float32),
        action_names=("move",) * len(actions), sparse_rewards=last.astype(np.float32), terminated=last,
        truncated=last & False, frames=(encode_png(np.zeros((8, 8, 3), np.uint8)),) * (len(actions) + 1),
    )  # fmt: skip
    with DatasetWriter(folder, info) as writer:
        writer.write(one)
    return TrajectoryDataset(folder)


def without_bounds(dataset):
    """The set as an earlier version would have made it."""
    actions = dataset.info.actions.model_copy(update={"bounds": None})
    write_info(dataset.folder, dataset.info.model_copy(update={"actions": actions}))
    return TrajectoryDataset(dataset.folder)


def test_actions_are_learned_in_a_policys_units_and_come_out_in_the_recordings(tmp_path, caplog):
    recorded = np.float32([[-63.25, 7.5], [81.0, 7.5], [8.875, 7.5]])
    for dataset in (arm(tmp_path / "arm", recorded), without_bounds(arm(tmp_path / "old", recorded))):
        caplog.clear()
        check_actions(dataset)
        data = load(dataset, observation="frame")
        # What never changes is not for a policy to learn.
        assert data.shape.action_size == 1
        np.testing.assert_array_equal(data.transitions.actions, np.float32([[-0.9], [0.9], [0]]))
        np.testing.assert_allclose(data.scale.unscale(data.transitions.actions), recorded, rtol=1e-6)
    # The second set does not know its bounds.
    assert "scaled by what they show: lift -63.25 to 81, turn always 7.5; `likert data bounds` notes" in caplog.text


def test_a_set_without_bounds_is_learned_as_ever_where_a_policy_can_express_it(tmp_path, caplog):
    recorded = np.float32([[-0.2, 0.1], [0.4, 0.1]])
    scaled = load(arm(tmp_path / "new", recorded), observation="frame")
    assert np.array_equal(scaled.transitions.actions, np.float32([[-0.9], [0.9]])) and not caplog.records
    data = load(without_bounds(arm(tmp_path / "old", recorded)), observation="frame")
    assert np.array_equal(data.transitions.actions, recorded) and data.scale.is_identity
    assert "all lie within [-1, 1], and are learned as they are" in caplog.text


def test_actions_that_are_all_the_same_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="all actions are the same; there is nothing to learn"):
        load(arm(tmp_path / "arm", [[7.0, 2.0]] * 3), observation="frame")


def test_discrete_actions_have_no_scale(dataset):
    assert load(dataset).scale is None


def test_actions_that_are_no_numbers_are_refused(tmp_path):
    dataset = arm(tmp_path / "arm", [[0.0, np.nan], [1.0, 2.0]])
    for refuses in (check_actions, lambda found: load(found, observation="frame")):
        with pytest.raises(SettingsError, match=r"1 actions are not finite; `likert data check` says which"):
            refuses(dataset)


def test_frames_are_reduced_once_and_read_by_rows(dataset):
    data = load(dataset, observation="frame", image_px=16)
    first = next(iter(dataset.episodes()))
    expected = reduce_image(decode_png(first.frames[1])[None], 16)[0]
    np.testing.assert_array_equal(data.transitions.batch(np.array([0]))["next_observation"][0, 0], expected)
    assert data.shape.kind == "image" and isinstance(data.transitions.observations, np.memmap)


def test_the_cache_serves_later_runs_and_half_of_one_is_made_anew(dataset, monkeypatch):
    settings = OfflineDataSettings(path=dataset.folder)
    array, first_rows = cached_observations(dataset, settings)
    monkeypatch.setattr(dataset, "episodes", lambda **_: pytest.fail("the data was read again"))
    again, rows = cached_observations(dataset, settings)
    np.testing.assert_array_equal(again, array)
    assert rows == first_rows
    monkeypatch.undo()
    (index,) = (dataset.folder / CACHE_FOLDER).glob("*.json")
    index.unlink()
    next((dataset.folder / CACHE_FOLDER).glob("*.npy")).write_bytes(b"torn")
    np.testing.assert_array_equal(cached_observations(dataset, settings)[0], array)


def test_an_episode_that_cannot_be_read_is_left_out_of_rows_and_transitions(dataset, monkeypatch):
    whole = load(dataset, observation="frame")
    for path in (dataset.folder / CACHE_FOLDER).glob("*-*"):
        path.unlink()
    episodes = TrajectoryDataset.episodes

    def without_the_second(self, *args, frames=True, **kwargs):
        # Its pictures are damaged; the rest of it can be read.
        for number, one in enumerate(episodes(self, *args, frames=frames, **kwargs)):
            if not (frames and number == 1):
                yield one

    monkeypatch.setattr(TrajectoryDataset, "episodes", without_the_second)
    part = load(dataset, observation="frame")
    lost = whole.episode_ids[1]
    assert part.episode_ids == tuple(name for name in whole.episode_ids if name != lost)
    length = len(next(one for one in episodes(dataset) if one.episode_id == lost))
    assert len(part.transitions) == len(whole.transitions) - length
    np.testing.assert_array_equal(
        part.transitions.batch(np.array([-1]))["next_observation"],
        whole.transitions.batch(np.array([-1]))["next_observation"],
    )


@pytest.fixture
def sentence_model(tmp_path):
    mend_torchvision()
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "go", "to", "pick", "up", "a", "the", "red", "blue", "ball"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    folder = tmp_path / "sentences"
    BertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    return str(folder)


def test_instructions_may_be_sentence_embeddings_of_any_model(dataset, sentence_model):
    data = load(dataset, sentence_model=sentence_model)
    assert (data.shape.num_words, data.shape.instruction_length) == (0, 12)
    red, blue, longer = data.encode(
        ["go to the red ball", "go to the blue ball", "pick up a ball to go up to the ball"]
    )
    assert np.linalg.norm(red) == pytest.approx(1.0, abs=1e-5) and not np.allclose(red, blue)
    # What stands beside a text in its batch has no part in it.
    np.testing.assert_allclose(data.encode(["go to the red ball"])[0], red, atol=1e-5)
    assert longer.dtype == np.float32


def test_a_sentence_model_that_is_not_there_is_named(dataset):
    with pytest.raises(SettingsError, match=r"data.sentence_model = '/nowhere/model' cannot be loaded"):
        load(dataset, sentence_model="/nowhere/model")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "success"}, "form 'success' is for a labeller's rewards"),
        ({"middle": 0.5}, "middle 0.5 means nothing to the sparse reward"),
        ({"labeller": "gvl", "form": "progress", "middle": 0.5}, "middle 0.5 means nothing to form 'progress'"),
    ],
)
def test_settings_of_a_form_that_would_do_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        OfflineRewardSettings(**settings)
