"""RoboCLIP's labeller: S3D by hand where it can be, files that do not fit, and the command."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from actors.rating.labellers.roboclip import RoboClip, centre
from actors.rating.labellers.s3d import S3D
from actors.rating.labellers.settings import RoboClipLabeller
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from tests.fakes.toy_labels import toy_episode, toy_set

WORDS = ["reach", "place", "an", "agent"]


def random_network():
    """A network through which signals come whole."""
    torch.manual_seed(0)
    network = S3D(WORDS).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            torch.nn.init.kaiming_normal_(module.weight)
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2.0)
    for name, weight in network.named_parameters():
        if "gating" in name and name.endswith("bias"):
            torch.nn.init.constant_(weight, 3.0)
    return network


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The two files of a network with random weights and few words."""
    folder = tmp_path_factory.mktemp("s3d")
    torch.save(random_network().state_dict(), folder / "s3d_howto100m.pth")
    np.save(folder / "s3d_dict.npy", np.array(WORDS))
    return {"weights": folder / "s3d_howto100m.pth", "words": folder / "s3d_dict.npy"}


def small(files, **changes):
    return RoboClipLabeller(**(files | {"num_frames": 16, "frame_px": 32} | changes))


def test_the_last_action_earns_the_dot_product(files):
    episode = toy_episode(1, 9)
    labels = RoboClip(small(files)).label(episode, [])
    assert np.isnan(labels.scores[:-1]).all() and (labels.dense[:-1] == 0).all()
    assert labels.scores[-1] == labels.dense[-1] != 0
    assert RoboClip(small(files)).label(episode, []).scores[-1] == labels.scores[-1]
    other = type(episode)(**{**vars(episode), "instruction": "an agent"})
    assert RoboClip(small(files)).label(other, []).scores[-1] != pytest.approx(labels.scores[-1], rel=1e-3)
    cosine = RoboClip(small(files, similarity="cosine")).label(episode, []).scores[-1]
    assert abs(cosine) <= 1 and np.sign(cosine) == np.sign(labels.scores[-1])
    assert RoboClip(small(files, pixel_values="unit")).label(episode, []).scores[-1] != labels.scores[-1]
    broken = type(episode)(**{**vars(episode), "frames": (*episode.frames[:4], b"", *episode.frames[5:])})
    assert np.isnan(RoboClip(small(files)).label(broken, []).dense).all()


def test_a_sentence_by_hand():
    network = S3D(WORDS).eval()
    text = network.text_module
    with torch.inference_mode():
        tokens = torch.tensor([1, 2] + 14 * [0])
        expected = text.fc2(text.fc1(text.word_embd(tokens)).relu().max(dim=0).values)
        torch.testing.assert_close(network.text("Reach, the PLACE!"), expected)
        torch.testing.assert_close(network.text("nothing known"), network.text(""))
        assert not torch.allclose(network.text("agent " * 16 + "place"), network.text("place"))
        torch.testing.assert_close(network.text("agent " * 16 + "place"), network.text("agent " * 16))


def test_a_video_of_a_batch_is_that_video_alone():
    network = random_network()
    videos = torch.rand(2, 3, 16, 32, 32)
    with torch.inference_mode():
        together, alone = network.video(videos), network.video(videos[1:])
        reversed_in_time = network.video(videos[1:].flip(2))
    assert together.shape == (2, 512)
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(together[0], together[1], atol=1e-2)
    assert not torch.allclose(reversed_in_time, alone, atol=1e-2)


def test_the_middle_is_looked_at():
    frame = np.arange(6 * 10 * 3, dtype=np.uint8).reshape(6, 10, 3)
    assert np.array_equal(centre(frame, 4), frame[1:5, 3:7])
    assert centre(frame, 32).shape == (32, 32, 3)
    assert centre(np.full((7, 5, 3), 9, np.uint8), 32).tolist() == np.full((32, 32, 3), 9).tolist()


def test_files_that_do_not_fit_are_named(files, tmp_path):
    with pytest.raises(ValueError, match=r"labeller.weights = .*cannot be read .*s3d_howto100m.pth"):
        RoboClip(small(files, weights=tmp_path / "none.pth"))
    (tmp_path / "cut.pth").write_bytes(files["weights"].read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"labeller.weights = .*cut.pth.*cannot be read"):
        RoboClip(small(files, weights=tmp_path / "cut.pth"))
    np.save(tmp_path / "more.npy", np.array([*WORDS, "more"]))
    with pytest.raises(ValueError, match=r"does not fit S3D and labeller.words .*word_embd"):
        RoboClip(small(files, words=tmp_path / "more.npy"))
    np.save(tmp_path / "pickled.npy", np.array([WORDS, None], dtype=object))
    with pytest.raises(ValueError, match=r"labeller.words = .*pickled.npy.*cannot be read"):
        RoboClip(small(files, words=tmp_path / "pickled.npy"))
    np.save(tmp_path / "numbers.npy", np.arange(4))
    with pytest.raises(ValueError, match=r"numbers.npy' holds int64 \[4\], but must hold a list of words"):
        RoboClip(small(files, words=tmp_path / "numbers.npy"))


def test_by_command(files, tmp_path):
    dataset = toy_set(tmp_path / "set", [6, 5])
    file = tmp_path / "label.yaml"
    file.write_text(
        f"kind: labelling\ndata: {dataset.folder}\n"
        f"labeller: {{kind: roboclip, weights: {files['weights']}, words: {files['words']}, "
        "num_frames: 16, frame_px: 32}\n"
    )
    done = CliRunner().invoke(app, ["label", str(file)])
    assert done.exit_code == 0, done.output
    for number, episode in enumerate(TrajectoryDataset(dataset.folder).episodes()):
        expected = RoboClip(small(files)).label(toy_episode(number, len(episode)), []).dense
        np.testing.assert_allclose(episode.rewards["roboclip"], expected, rtol=1e-5)
    refused = CliRunner().invoke(app, ["label", str(file), f"labeller.weights={tmp_path / 'none'}"])
    assert refused.exit_code == 2 and "labeller.weights" in refused.output
