"""The pocket rater's own forward pass, tokens and training."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from actors.pocket import checkpoint
from actors.pocket.frames import IMAGE_PX
from actors.pocket.frames.data import TaskFrames
from actors.pocket.frames.evaluation import analyses_of, balanced_accuracy, confusion
from actors.pocket.frames.model import LAYOUT, image_features, new_model
from actors.pocket.frames.questions import FrameQuestions, PocketTask, all_texts, analyses
from actors.pocket.frames.training import FramePlan, FrameTrainer
from actors.pocket.frames.words import TaskWords
from actors.pocket.model import next_token_states
from actors.pocket.questions import joined
from actors.pocket.tokenizer import END_OF_TURN, train_tokenizer
from actors.rating.precision import processor_dtype
from actors.rating.settings import RaterSettings
from algorithms.ratings import TaskText

TASK = PocketTask(
    name="toy",
    text=TaskText("light the lamp", "the lamp"),
    rubrics={n: tuple(f"step {level}" for level in range(n)) for n in (2, 3, 4, 5)},
    levels={2: (0, 0, 0, 0, 1), 3: (0, 0, 1, 1, 2), 4: (0, 1, 2, 2, 3), 5: (0, 1, 2, 3, 4)},
    words=TaskWords(("The hand is far.", "The hand is near."), ("Dark.", "Dim.", "Fair.", "Bright.")),
)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(all_texts((TASK,)), vocab_size=600)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    return new_model(tokenizer).eval()


@pytest.fixture(scope="module")
def questions(tokenizer):
    return FrameQuestions((TASK,), tokenizer)


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8))


def transformers_inputs(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Pixels as Qwen2-VL's processor lays them out: both frames of a temporal patch show the still picture."""
    cut = LAYOUT.patches(images).view(len(images), -1, 3, 1, 14, 14).expand(-1, -1, -1, 2, -1, -1)
    return {"pixel_values": cut.reshape(-1, 3 * 2 * 14 * 14), "image_grid_thw": torch.tensor([[1, 8, 8]] * len(images))}


def test_patches_equal_those_of_transformers_processor(images):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    processor = Qwen2VLImageProcessorPil(min_pixels=112 * 112, max_pixels=112 * 112)
    theirs = processor(images=list(images.numpy()), return_tensors="pt", input_data_format="channels_last")
    torch.testing.assert_close(transformers_inputs(images)["pixel_values"], theirs["pixel_values"], atol=1e-5, rtol=0)


def test_many_pictures_at_once_give_what_transformers_gives(model, questions, images):
    batch = questions.batch_of([questions.answer_only(TASK, 5, True).answered(3)] * 3)
    with torch.inference_mode():
        ours = model.lm_head(next_token_states(model, batch.tokens, batch.positions, image_features(model, images)))
        kinds = (batch.tokens == model.config.image_token_id).int()
        theirs = model(input_ids=batch.tokens, mm_token_type_ids=kinds, **transformers_inputs(images)).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_padding_changes_no_answer(model, questions):
    short, long = questions.rating(TASK, 2, False, "Dark."), questions.rating(TASK, 5, True, "Dark.")
    alone = questions.batch_of([short.answered(0)])
    padded = questions.batch_of([short.answered(0), long.answered(0)])
    at = len(short.prompt) - 1
    with torch.inference_mode():
        one = next_token_states(model, alone.tokens, alone.positions, None)[0, at]
        other = next_token_states(model, padded.tokens, padded.positions, None)[0, at]
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_server_gives_the_pocket_rater_pictures_of_its_size():
    assert RaterSettings().max_pixels == RaterSettings().min_pixels == IMAGE_PX**2
    assert RaterSettings(model="Qwen/Qwen2-VL-7B-Instruct").max_pixels > IMAGE_PX**2
    assert RaterSettings(max_pixels=50_000).max_pixels == 50_000


def test_levels_are_single_tokens_and_any_text_survives(tokenizer):
    assert [len(tokenizer.encode(label)) for label in "12345"] == [1] * 5
    assert len({tokenizer.encode(label)[0] for label in "12345"}) == 5
    assert tokenizer.decode(tokenizer.encode("Überraschung, 42 %!")) == "Überraschung, 42 %!"
    assert tokenizer.decode(tokenizer.encode("Dim." + END_OF_TURN)) == "Dim." + END_OF_TURN


def test_a_picture_takes_its_place_in_the_prompt(questions, model):
    assert questions.analysis(TASK).prompt.count(model.config.image_token_id) == LAYOUT.num_tokens == 16
    assert questions.rating(TASK, 3, True, "Dim.").prompt.count(model.config.image_token_id) == 0
    assert len(questions.analysis(TASK).answers) == len(analyses(TASK)) == 8


def test_answers_alone_are_learnt(questions):
    asked = [joined([(question, False), ([8, 9], True)]) for question in ([5, 6, 7], [5, 6])]
    batch = questions.batch_of(asked)
    assert batch.tokens.tolist() == [[5, 6, 7, 8], [5, 6, 8, 0]]
    assert batch.targets.tolist() == [[6, 7, 8, 9], [6, 8, 9, 0]]
    assert batch.weights.tolist() == [[0, 0, 1, 1], [0, 1, 1, 0]]


def toy_frames(count: int, seed: int) -> TaskFrames:
    """Brightness is the stage: the lamp's light fills the picture."""
    stages = np.random.default_rng(seed).integers(0, 5, count)
    images = np.broadcast_to((stages * 50 + 20).astype(np.uint8)[:, None, None, None], (count, 112, 112, 3)).copy()
    things = np.maximum(stages - 1, 0)
    measures = np.repeat(stages[:, None] / 4, 5, axis=1).astype(np.float32)
    return TaskFrames(images, stages, (stages > 0).astype(np.int64), things, measures)


def trained(tokenizer, plan: FramePlan, losses: list[float] | None = None):
    torch.manual_seed(1)
    model = new_model(tokenizer)
    on_step = lambda phase, step, total, loss: None if losses is None else losses.append(loss)  # noqa: E731
    FrameTrainer(model, FrameQuestions((TASK,), tokenizer), [toy_frames(40, 0)], plan, 0, on_step).fit()
    return model


SHORT = FramePlan(
    vision_steps=2, vision_batch=8, text_steps=2, text_batch=8, joint_steps=2, joint_batch=8, learning_rate=1e-3
)


def test_equal_seeds_give_equal_weights(tokenizer):
    first, second = trained(tokenizer, SHORT), trained(tokenizer, SHORT)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name


def test_every_phase_lowers_its_loss(tokenizer):
    losses: list[float] = []
    plan = dataclasses.replace(SHORT, vision_steps=30, text_steps=30, joint_steps=10)
    trained(tokenizer, plan, losses)
    assert len(losses) == 70
    assert np.mean(losses[25:30]) < 0.8 * np.mean(losses[:5])
    assert np.mean(losses[55:60]) < 0.8 * np.mean(losses[30:35])


def test_a_checkpoint_keeps_the_weights(tokenizer, model, images, questions, tmp_path):
    checkpoint.save(model, tokenizer, tmp_path, IMAGE_PX)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors", ".jinja"}
    loaded, loaded_tokenizer = checkpoint.load(tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.bfloat16}
    assert loaded.dtype == processor_dtype()
    assert loaded_tokenizer.encode("The lamp is 3") == tokenizer.encode("The lamp is 3")
    with torch.inference_mode():
        theirs = image_features(loaded.float(), images)
        ours = image_features(model, images)
    assert (ours - theirs).abs().max() < 0.05 * ours.abs().max()


def test_an_analysis_ends_although_the_model_never_ends_it(model, questions, images):
    with torch.inference_mode():
        texts = analyses_of(model, questions, TASK, image_features(model, images))
    assert len(texts) == 3


def test_balanced_accuracy_by_hand():
    counts = confusion(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 0]), 3)
    assert counts.tolist() == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    # Three of four, one of two; the third level never occurs.
    assert balanced_accuracy(counts) == pytest.approx((0.75 + 0.5) / 2)
