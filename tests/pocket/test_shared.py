"""What both pocket raters share: pictures and questions as tokens, the loop of steps, answers, folders."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from actors.pocket import checkpoint
from actors.pocket.answering import label_logits, spoken
from actors.pocket.frames import IMAGE_PX
from actors.pocket.frames.model import LAYOUT, image_features, new_model
from actors.pocket.model import next_token_states
from actors.pocket.pictures import Layout
from actors.pocket.questions import Questions, joined, padded
from actors.pocket.together import ALONE
from actors.pocket.tokenizer import train_tokenizer
from actors.pocket.training import Trainer, answer_loss
from actors.pocket.windows import PICTURE_PX
from actors.pocket.windows import model as windows_model
from algorithms.prompts import Prompt


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["Which lamp is lit? The left one is. Both are dark.\nsystem user assistant"] * 3, 300)


@pytest.fixture(scope="module")
def questions(tokenizer):
    return Questions(tokenizer, LAYOUT)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    model = new_model(tokenizer).eval()
    with torch.no_grad():
        # With weights as small as they begin, every prompt would be answered alike.
        for weight in model.model.language_model.layers.parameters():
            weight *= 8
    return model


@pytest.fixture(scope="module")
def seen(model):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8))
    with torch.inference_mode():
        return image_features(model, images)


def asked(questions: Questions, num_images: int) -> list[list[int]]:
    """Two prompts of different lengths."""
    texts = ("Which lamp is lit?", "Which lamp is lit? Which is dark?")
    return [questions.prompt(Prompt("", text), num_images) for text in texts]


def read_anew(model, questions: Questions, prompt: list[int], seen: torch.Tensor | None) -> torch.Tensor:
    """Logits of the token after a prompt, which is read from its beginning, alone."""
    tokens, positions = np.array(prompt), questions.positions_of(np.array(prompt))
    with torch.inference_mode():
        states = next_token_states(model, torch.from_numpy(tokens)[None], torch.from_numpy(positions)[:, None], seen)
        return model.lm_head(states[0, -1])


@pytest.mark.parametrize("with_picture", [True, False])
def test_answers_are_those_of_reading_all_anew_for_each_token(model, questions, seen, with_picture):
    prompts = asked(questions, int(with_picture))
    said = spoken(model, questions, prompts, seen if with_picture else None, max_tokens=6)
    assert [len(set(tokens)) > 3 for tokens in said] == [True, True]
    for row, prompt in enumerate(prompts):
        own, known = seen[[row]] if with_picture else None, list(prompt)
        for _ in range(6):
            known.append(int(read_anew(model, questions, known, own).argmax()))
        assert said[row] == known[len(prompt) :]


def test_labels_get_the_logits_of_the_first_token(model, questions, seen):
    prompts, labels = asked(questions, 1), [3, 70, 5]
    logits = label_logits(model, questions, prompts, seen, labels)
    for row, prompt in enumerate(prompts):
        theirs = read_anew(model, questions, prompt, seen[[row]])[labels]
        torch.testing.assert_close(logits[row], theirs, atol=1e-4, rtol=1e-4)


def test_positions_by_hand(tokenizer):
    questions = Questions(tokenizer, Layout(frame_px=28, columns=2))
    tokens = np.array([5, *[questions.image_token] * 4, 6, 7])
    # The picture, two tokens on a side, takes two places.
    assert questions.positions_of(tokens).tolist() == [
        [0, 1, 1, 1, 1, 3, 4],
        [0, 1, 1, 2, 2, 3, 4],
        [0, 1, 2, 1, 2, 3, 4],
    ]
    assert questions.positions_of(tokens[5:]).tolist() == [[0, 1]] * 3


def test_patches_of_a_picture_of_frames_are_those_of_its_frames():
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 56, 56, 3), dtype=np.uint8))
    picture = torch.cat([torch.cat([frames[0], frames[1]], dim=1), torch.cat([frames[2], frames[3]], dim=1)])
    joined_patches = Layout(56, columns=2).patches(picture[None])
    assert torch.equal(joined_patches.view(4, 16, -1), Layout(56).patches(frames))
    places = Layout(56, columns=2).patch_positions().view(4, 16, 2)
    assert torch.equal(places[3], Layout(56).patch_positions() + 4)


def test_weights_say_how_much_a_token_counts(model, questions):
    talks = [joined([([5, 6], False), ([8, 9, 4], True)]), joined([([5], False), ([7], True)])]
    talks[0].weights[3] = 4.0
    batch = questions.batch_of(talks)
    with torch.inference_mode():
        states = next_token_states(model, batch.tokens, batch.positions, None)
        errors = F.cross_entropy(model.lm_head(states).transpose(1, 2), batch.targets, reduction="none")
        # What is learnt: 8, 9 and 4 after the first question, 7 after the second.
        by_hand = (errors[0, 1] + 4 * errors[0, 2] + errors[0, 3] + errors[1, 0]) / 7
        torch.testing.assert_close(answer_loss(model, states, batch), by_hand)


def test_rows_are_filled_up_on_the_right():
    rows = padded([np.array([1, 2]), np.array([3]), np.array([], dtype=np.int64)], fill=-1)
    assert rows.tolist() == [[1, 2], [3, -1], [-1, -1]]


class LineTrainer(Trainer):
    """A line through the origin, and another one as its head."""

    def __init__(self, on_step) -> None:
        self.head = nn.Linear(1, 1, bias=False)
        super().__init__(nn.Linear(1, 1, bias=False), [self.head], 0.0, 0, on_step, ALONE)

    def fit(self) -> None:
        """Twice the draw, and three times the draw."""

        def loss() -> torch.Tensor:
            draw = torch.from_numpy(self._rng.normal(size=(8, 1)).astype(np.float32))
            return (self.model(draw) - 2 * draw).square().mean() + (self.head(draw) - 3 * draw).square().mean()

        self._learn("both", [self.model, self.head], 300, 0.1, loss)
        self._learn("head", [self.head], 2, 0.001, loss)


def test_a_phase_takes_its_steps_and_tells_of_each():
    torch.manual_seed(0)
    told = []
    trainer = LineTrainer(lambda *done: told.append(done))
    trainer.fit()
    assert [step[:3] for step in told] == [("both", n, 300) for n in range(1, 301)] + [("head", n, 2) for n in (1, 2)]
    assert told[0][3] > 1 and told[299][3] < 1e-3
    assert trainer.model.weight.item() == pytest.approx(2, abs=0.05)
    assert trainer.head.weight.item() == pytest.approx(3, abs=0.05)


def test_a_phase_leaves_alone_what_it_does_not_learn():
    torch.manual_seed(0)
    trainer = LineTrainer(lambda *done: None)
    before = trainer.model.weight.clone()
    trainer._learn(
        "head", [trainer.head], 2, 0.1, lambda: (trainer.model(torch.ones(1, 1)) - trainer.head.weight).sum()
    )
    assert torch.equal(trainer.model.weight, before)


def test_a_folder_says_which_kind_it_holds(tokenizer, model, tmp_path):
    checkpoint.save(model, tokenizer, tmp_path / "frames", IMAGE_PX)
    checkpoint.save(windows_model.new_model(tokenizer), tokenizer, tmp_path / "windows", PICTURE_PX)
    for name, kind in (
        ("frames", "Qwen2VLForConditionalGeneration"),
        ("windows", "Qwen2_5_VLForConditionalGeneration"),
    ):
        loaded, _ = checkpoint.load(tmp_path / name)
        assert type(loaded).__name__ == kind and not loaded.training
