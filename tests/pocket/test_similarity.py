"""The pocket CLIP: which sentences are true of a frame, what is learnt from that, and the folder that ships."""

import json

import numpy as np
import pytest
import torch

from actors.pocket.frames.data import TaskFrames
from actors.pocket.frames.words import TaskWords
from actors.pocket.similarity.evaluation import best_cut_accuracy, judged
from actors.pocket.similarity.model import MAX_TOKENS, new_model, pixels_of, save, train_tokenizer
from actors.pocket.similarity.sentences import Sentences, TaskSentences
from actors.pocket.similarity.training import SimilarityPlan, SimilarityTrainer, contrast
from actors.rating.labellers.clip import ClipModel
from actors.rating.labellers.settings import ModelSettings
from actors.rating.similarity.settings import POCKET_CLIP_FOLDER, SimilaritySettings
from actors.rating.similarity.weights import check_weights
from algorithms.images import encode_png
from orchestrator.pocket.frames import packaged_task
from orchestrator.pocket.similarity import ALPHAS, report, task_sentences

WORDS = TaskWords(("Far from it.", "Close to it."), ("It is shut.", "It is ajar.", "It is open."))
OPENING = TaskSentences("open it", "an arm and a lid", "an arm", WORDS)
LOOKING = TaskSentences("look at it", "an arm and a wall", "an arm", TaskWords((), ("It is shut.", "It is lit.")))


def frames_of(stages, hands, things):
    number = len(stages)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, size=(number, 112, 112, 3), dtype=np.uint8)
    # What is further on is brighter.
    images += (np.array(stages)[:, None, None, None] * 40).astype(np.uint8)
    measures = np.zeros((number, 5), dtype=np.float32)
    return TaskFrames(images, np.array(stages), np.array(hands), np.array(things), measures)


def test_sentences_are_true_of_the_frames_that_they_describe():
    sentences = Sentences((OPENING, LOOKING))
    assert len(sentences.texts) == len(set(sentences.texts)) == 8 + 2 + 1, "both tasks have an arm, and something shut"
    frames = frames_of([0, 2, 4], [0, 1, 1], [0, 1, 2])
    found = [
        {text for text, holds in zip(sentences.texts, row, strict=True) if holds}
        for row in sentences.true_of(0, frames)
    ]
    always = {"an arm and a lid", "an arm"}
    assert found[0] == always | {"Far from it.", "It is shut."}
    assert found[1] == always | {"Close to it.", "It is ajar."}
    assert found[2] == always | {"Close to it.", "It is open.", "open it"}
    other = frames_of([4], [0], [1])
    assert sentences.true_of(1, other).sum() == 4, "goal, scene, agent, and one on the object"


def test_contrast_by_hand():
    # Two frames and three sentences; the last is true of neither, the first of both.
    true = torch.tensor([[True, True, False], [True, False, False]])
    logits = torch.log(torch.tensor([[2.0, 1.0, 1.0], [3.0, 1.0, 4.0]]))
    among_sentences = (0.5 * (np.log(4 / 2) + np.log(4 / 1)) + np.log(8 / 3)) / 2
    among_frames = (0.5 * (np.log(5 / 2) + np.log(5 / 3)) + np.log(2 / 1)) / 2
    assert contrast(logits, true).item() == pytest.approx(0.5 * (among_sentences + among_frames))


def test_success_is_cut_at_the_best_place():
    done = np.array([True, True, False, False])
    assert best_cut_accuracy(np.array([0.9, 0.8, 0.2, 0.1]), done) == 1.0
    assert best_cut_accuracy(np.array([0.9, 0.1, 0.2, 0.3]), done) == 0.75
    assert best_cut_accuracy(np.array([0.5, 0.5, 0.5, 0.5]), done) == 0.5, "equal rewards tell nothing apart"


def test_the_tokenizer_is_clip_s_and_knows_every_sentence_apart():
    sentences = Sentences((OPENING, LOOKING))
    tokenizer = train_tokenizer(sentences.texts)
    rows = tokenizer(list(sentences.texts))["input_ids"]
    assert len({tuple(row) for row in rows}) == len(rows) and max(map(len, rows)) <= MAX_TOKENS
    assert all(row[0] == tokenizer.bos_token_id and row[-1] == tokenizer.eos_token_id for row in rows)
    assert tokenizer.decode(rows[0], skip_special_tokens=True) == "open it"
    strange = tokenizer("Über 7 öffnen!")["input_ids"]
    assert tokenizer.unk_token_id not in strange[1:-1], "what it never read is spelled out in bytes"


def trained(tmp_path, name, steps=6):
    sentences = Sentences((OPENING, LOOKING))
    tokenizer = train_tokenizer(sentences.texts)
    frames = [
        frames_of([0, 1, 2, 3, 4] * 2, [0, 0, 1, 1, 1] * 2, [0, 0, 1, 1, 2] * 2),
        frames_of([0, 4] * 4, [0, 0] * 4, [0, 1] * 4),
    ]
    losses = []
    torch.manual_seed(0)
    plan = SimilarityPlan(steps=steps, batch=8)
    trainer = SimilarityTrainer(
        new_model(tokenizer), tokenizer, sentences, frames, plan, 0, lambda *told: losses.append(told[-1])
    )
    trainer.fit()
    save(trainer.model, tokenizer, tmp_path / name)
    return losses, frames


def test_it_learns_and_its_folder_is_a_clip_like_any_other(tmp_path):
    losses, (frames, _) = trained(tmp_path, "once")
    assert losses[-1] < losses[0] and trained(tmp_path, "again")[0] == losses
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("once", "again")]
    assert weights[0] == weights[1]
    check_weights(SimilaritySettings(model=str(tmp_path / "once")))
    model = ClipModel(ModelSettings(model=str(tmp_path / "once"), device="cpu", dtype="float32"))
    loaded = model._model
    pngs = [encode_png(image) for image in frames.images[:2]]
    expected = pixels_of(torch.from_numpy(frames.images[:2]))
    torch.testing.assert_close(loaded.pixels(pngs), expected, msg="frames are seen as they were learnt from")
    found = judged(tmp_path / "once", "opening", OPENING, frames, ALPHAS)
    assert set(found.correlations) == set(ALPHAS) and 0 <= found.object_accuracy <= 1
    assert report([found]).splitlines()[2].startswith("| opening | ")


def test_the_folder_that_ships_is_whole():
    check_weights(SimilaritySettings())
    assert json.loads((POCKET_CLIP_FOLDER / "config.json").read_text())["architectures"] == ["CLIPModel"]
    assert sum(path.stat().st_size for path in POCKET_CLIP_FOLDER.iterdir()) < 4e6
    model = ClipModel(ModelSettings(model=str(POCKET_CLIP_FOLDER), device="cpu", dtype="float32"))
    task = task_sentences(packaged_task("drawer_open"))
    goal, other = model.text(task.goal), model.text(packaged_task("soccer").instruction)
    assert goal.norm().item() == pytest.approx(1.0) and float(goal @ other) < 0.9
