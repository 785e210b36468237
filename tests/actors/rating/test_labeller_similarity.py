"""CLIP, BLIP-2 and X-CLIP as labellers: the formulas by hand, and the real classes with random weights."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from actors.rating.labellers.blip2 import Blip2
from actors.rating.labellers.clip import Clip, goal_baseline_reward
from actors.rating.labellers.loading import load_model
from actors.rating.labellers.settings import Blip2Labeller, ClipLabeller, VideoLabeller
from actors.rating.labellers.video import Video, clip_frames
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from tests.fakes.tiny_similarity import build_tiny_blip2, build_tiny_clip, build_tiny_xclip
from tests.fakes.toy_labels import toy_episode, toy_set


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "clip": str(build_tiny_clip(folder / "clip")),
        "xclip": str(build_tiny_xclip(folder / "xclip")),
        "blip2": str(build_tiny_blip2(folder / "blip2")),
        "blip2_places": str(build_tiny_blip2(folder / "blip2_places", image_token=True)),
    }


def test_goal_baseline_regularisation_by_hand():
    frame, goal, baseline = (torch.tensor(one, dtype=torch.float64) for one in ([0.6, 0.8], [1.0, 0.0], [0.0, 1.0]))

    def reward(alpha, baseline=baseline):
        return goal_baseline_reward(frame[None], goal, baseline, alpha).item()

    # x - g = (-0.4, 0.8); on the line g - b = (1, -1) it is (-0.6, 0.6).
    assert reward(0.0) == pytest.approx(0.6)
    assert reward(1.0) == pytest.approx(1 - 0.72 / 2)
    assert reward(0.5) == pytest.approx(1 - (0.25 + 0.49) / 2)
    # No line, where goal and baseline are the same.
    assert reward(0.5, goal) == pytest.approx(1 - 0.25 * 0.8 / 2)
    assert goal_baseline_reward(goal[None], goal, baseline, 0.5).item() == pytest.approx(1.0)


def inputs_of(model, episode, frames, num_tokens=10):
    return {
        "pixel_values": model.pixels([episode.frames[i] for i in frames]),
        **model.words(episode.instruction, num_tokens),
    }


def test_clip_without_a_baseline_is_the_model_s_own_similarity(models):
    settings = ClipLabeller(model=models["clip"], alpha=0.0, batch_size=2)
    episode = toy_episode(1, 5)
    labels = Clip(settings).label(episode, [])
    model = load_model("CLIPModel", "clip", settings)
    with torch.no_grad():
        found = model.network(**inputs_of(model, episode, range(6)))
        cosines = (found.logits_per_image / model.network.logit_scale.exp())[:, 0].numpy()
    np.testing.assert_allclose(labels.scores, cosines[1:], atol=1e-5)
    assert np.ptp(labels.scores) > 1e-3 and labels.scores is not labels.dense
    difference = Clip(settings.model_copy(update={"reward": "difference"})).label(episode, [])
    np.testing.assert_allclose(difference.dense, np.diff(cosines), atol=1e-5)
    np.testing.assert_array_equal(difference.scores, labels.scores)
    regularised = Clip(settings.model_copy(update={"alpha": 0.5})).label(episode, [])
    assert not np.allclose(regularised.scores, labels.scores, atol=1e-3)
    other = Clip(settings.model_copy(update={"alpha": 0.5, "baseline": "an agent"})).label(episode, [])
    assert not np.allclose(regularised.scores, other.scores, atol=1e-4)


@pytest.mark.parametrize("name", ["blip2", "blip2_places"])
def test_blip2_contrasts_and_matches(models, name):
    episode = toy_episode(1, 5)
    cosines = Blip2(Blip2Labeller(model=models[name], batch_size=4)).label(episode, []).scores
    matches = Blip2(Blip2Labeller(model=models[name], batch_size=4, head="itm")).label(episode, []).scores
    model = load_model("Blip2ForImageTextRetrieval", "blip-2", Blip2Labeller(model=models["blip2"]))
    with torch.inference_mode():
        own = [model.network(**inputs_of(model, episode, [i]), use_image_text_matching_head=True) for i in range(1, 6)]
        itc = [model.network(**inputs_of(model, episode, [i])) for i in range(1, 6)]
    # One softmax over the two logits.
    expected = [float(1 / (1 + torch.exp(one.logits_per_image[0, 0] - one.logits_per_image[0, 1]))) for one in own]
    np.testing.assert_allclose(matches, expected, atol=1e-5)
    # The best of the queries: unit vectors [1, 3, 12] with the text's [1, 12].
    best = [float((one.image_embeds[0] @ one.text_embeds[0]).max()) for one in itc]
    np.testing.assert_allclose(cosines, best, atol=1e-5)
    assert np.ptp(cosines) > 1e-4 and np.ptp(matches) > 1e-6 and (np.abs(cosines) <= 1).all()


def test_video_pays_the_last_action(models):
    settings = VideoLabeller(model=models["xclip"])
    episode = toy_episode(1, 9)
    labels = Video(settings).label(episode, [])
    assert np.isnan(labels.scores[:-1]).all() and (labels.dense[:-1] == 0).all()
    model = load_model("XCLIPModel", "xclip", settings)
    inputs = inputs_of(model, episode, [0, 3, 6, 9])
    with torch.no_grad():
        found = model.network(**inputs | {"pixel_values": inputs["pixel_values"][None]})
        cosine = float(found.logits_per_video[0, 0] / model.network.logit_scale.exp())
    assert labels.scores[-1] == labels.dense[-1] == pytest.approx(cosine, abs=1e-5)
    other = type(episode)(**{**vars(episode), "instruction": "an agent in a room"})
    assert Video(settings).label(other, []).scores[-1] != pytest.approx(cosine, abs=1e-4)
    broken = type(episode)(**{**vars(episode), "frames": (*episode.frames[:4], b"", *episode.frames[5:])})
    assert np.isnan(Video(settings).label(broken, []).dense).all()


def test_a_short_trajectory_repeats_frames():
    assert clip_frames(10, 4) == [0, 3, 6, 9] and clip_frames(4, 4) == [0, 1, 2, 3]
    assert clip_frames(2, 8) == [0, 0, 0, 0, 1, 1, 1, 1] and clip_frames(3, 4) == [0, 0, 1, 2]


def test_half_precision_stays_close(models):
    episode = toy_episode(1, 5)
    exact, half = (
        Clip(ClipLabeller(model=models["clip"], dtype=dtype)).label(episode, []).scores
        for dtype in ("float32", "bfloat16")
    )
    np.testing.assert_allclose(half, exact, atol=0.05)
    assert not np.array_equal(half, exact)
    for kind, settings in ((Blip2, Blip2Labeller(model=models["blip2"], dtype="bfloat16")),
                           (Video, VideoLabeller(model=models["xclip"], dtype="bfloat16"))):  # fmt: skip
        assert np.isfinite(kind(settings).label(episode, []).dense).all()


def test_models_that_do_not_fit_are_named(models, tmp_path):
    with pytest.raises(ValueError, match=r"labeller.model = .*model_type is 'xclip', but must be 'clip'"):
        Clip(ClipLabeller(model=models["xclip"]))
    pickled = tmp_path / "pickled"
    shutil.copytree(models["clip"], pickled)
    weights = load_model("CLIPModel", "clip", ClipLabeller(model=models["clip"])).network.state_dict()
    (pickled / "model.safetensors").unlink()
    torch.save(weights, pickled / "pytorch_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        Clip(ClipLabeller(model=str(pickled)))
    from safetensors.torch import save_file

    del weights["visual_projection.weight"]
    save_file(weights, pickled / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"its weights lack visual_projection.weight"):
        Clip(ClipLabeller(model=str(pickled)))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"labeller.device is 'cuda', and torch finds no GPU"):
            Clip(ClipLabeller(model=models["clip"], device="cuda"))


def test_by_command_with_damage_and_resumed(models, tmp_path):
    dataset = toy_set(tmp_path / "set", [6, 5, 7, 4], part_bytes=3_000)
    first, *_ = dataset.parts
    table = pq.read_table(dataset.folder / first)
    rows = table.to_pylist()
    for row in rows:
        if (row["episode_id"], row["t"]) == ("e000", 3):
            row["frame"] = row["frame"][:40]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), dataset.folder / first)
    file = tmp_path / "label.yaml"
    file.write_text(
        f"kind: labelling\ndata: {dataset.folder}\nlabeller: {{kind: clip, model: {models['clip']}}}\n"
        "rewards: {clip: {}, clip_sparse: {sparse: sum}}\n"
    )

    def likert(*overrides):
        return CliRunner().invoke(app, ["label", str(file), *overrides])

    done = likert()
    assert done.exit_code == 0, done.output
    assert "e000: the frame is no readable PNG file" in done.stderr
    number = len(dataset.parts)
    assert (
        number > 1
        and f"21 actions labelled in {number} of {number} parts: reward_clip, reward_clip_sparse" in done.output
    )
    by_name = {one.episode_id: one for one in TrajectoryDataset(dataset.folder).episodes()}
    clip = Clip(ClipLabeller(model=models["clip"]))
    for number_of, name in enumerate(by_name):
        expected = clip.label(toy_episode(number_of, len(by_name[name])), []).scores
        if name == "e000":
            expected[2] = np.nan
        np.testing.assert_allclose(by_name[name].scores["clip"], expected, atol=1e-6)
        np.testing.assert_allclose(by_name[name].rewards["clip"], expected, atol=1e-6)
        np.testing.assert_allclose(
            by_name[name].rewards["clip_sparse"], expected + by_name[name].sparse_rewards, atol=1e-6
        )
    about = TrajectoryDataset(dataset.folder).info.labels["clip"]
    assert about["model"].startswith("sha256:") and about["labeller"]["alpha"] == 0.5
    before = [(dataset.folder / part).read_bytes() for part in dataset.parts]
    assert f"0 actions labelled in 0 of {number} parts" in likert().output
    assert before == [(dataset.folder / part).read_bytes() for part in dataset.parts]
    # A part that lost its columns, as one that a killed labelling had not come to, is labelled alone.
    last = dataset.parts[-1]
    pq.write_table(pq.read_table(dataset.folder / last).drop_columns(["reward_clip"]), dataset.folder / last)
    assert f"labelled in 1 of {number} parts" in likert().output
    assert f"labelled in {number} of {number} parts" in likert("labeller.alpha=0").output
