"""The pocket rater of pairs: which pairs, which questions, a training, and what is reported."""

import asyncio

import numpy as np
import pytest
import torch

from actors.pocket.frames.data import TaskFrames
from actors.pocket.frames.model import image_features
from actors.pocket.frames.questions import PocketTask, analyses
from actors.pocket.frames.words import TaskWords
from actors.pocket.model import next_token_states
from actors.pocket.pairs.data import PairDraw, nearer
from actors.pocket.pairs.evaluation import PairJudgement, judge, pairs_to_judge
from actors.pocket.pairs.model import new_model
from actors.pocket.pairs.questions import PairQuestions, all_texts, comparisons, stages_of
from actors.pocket.pairs.training import PairPlan, PairTrainer
from actors.pocket.tokenizer import train_tokenizer
from actors.rating.chat import chat_text
from actors.rating.fake import FunctionBackend
from actors.rating.models import POCKET_FOLDER
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from algorithms.images import encode_png
from algorithms.ratings import TaskText
from algorithms.scales import CANNOT_TELL, PREFERENCES
from orchestrator.online.questions import QuestionMaker
from orchestrator.online.settings import OnlineExperiment
from orchestrator.pocket.pairs import PairRecipe, report, train_pairs

TASK = PocketTask(
    name="toy",
    text=TaskText("light the lamp", "the lamp"),
    rubrics={},
    levels={},
    words=TaskWords(("The hand is far.", "The hand is near."), ("Dark.", "Dim.", "Fair.", "Bright.")),
)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(all_texts((TASK,)), vocab_size=600)


@pytest.fixture(scope="module")
def questions(tokenizer):
    return PairQuestions((TASK,), tokenizer)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    return new_model(tokenizer).eval()


def toy_frames(count: int, seed: int) -> TaskFrames:
    """Brightness is the stage: the lamp's light fills the picture."""
    stages = np.random.default_rng(seed).permutation(np.arange(count) % 5)
    images = np.broadcast_to((stages * 50 + 20).astype(np.uint8)[:, None, None, None], (count, 112, 112, 3)).copy()
    measures = np.zeros((count, 5), np.float32)
    return TaskFrames(images, stages, (stages > 0).astype(np.int64), np.maximum(stages - 1, 0), measures)


def test_the_higher_stage_is_nearer_and_of_equal_ones_it_cannot_be_told():
    said = {pair: PREFERENCES[nearer(*pair)] for pair in ((3, 1), (1, 3), (2, 2))}
    assert said == {(3, 1): "First", (1, 3): "Second", (2, 2): "Cannot tell"}


def test_each_answer_is_right_equally_often_and_near_stages_are_drawn_as_often_as_far_ones():
    stages = np.array([0] * 50 + [1, 1] + [2] * 20 + [3] * 5 + [4] * 9)
    draw, rng = PairDraw(stages), np.random.default_rng(0)
    pairs = np.array([draw.one(rng) for _ in range(3000)])
    gaps = stages[pairs[:, 1]] - stages[pairs[:, 0]]
    assert (pairs[:, 0] != pairs[:, 1]).all() and gaps.min() == 0
    for share in (gaps == 0, gaps == 1, gaps > 1):
        assert abs(share.mean() - 1 / 3) < 0.03
    # Rare stages as often as others.
    of_equal = np.bincount(stages[pairs[gaps == 0, 0]], minlength=5)
    assert of_equal.min() > 0.15 * of_equal.sum()


def test_stages_without_frames_are_left_out():
    draw, rng = PairDraw(np.array([0, 0, 4])), np.random.default_rng(0)
    drawn = {frozenset(draw.one(rng)) for _ in range(50)}
    assert drawn == {frozenset({0, 1}), frozenset({0, 2}), frozenset({1, 2})}
    with pytest.raises(ValueError, match="all of 3 frames are of one stage"):
        PairDraw(np.array([2, 2, 2]))


def test_an_analysis_says_which_is_nearer():
    texts = comparisons(TASK)
    assert len(set(texts)) == len(analyses(TASK)) ** 2 == 64
    text = "First: The hand is near. Dark. Second: The hand is far. Dim."
    assert stages_of(TASK, texts.index(text)) == (1, 2)
    # The hand no longer counts once the object has moved.
    text = "First: The hand is near. Dim. Second: The hand is far. Dim."
    assert nearer(*stages_of(TASK, texts.index(text))) == CANNOT_TELL


@pytest.mark.parametrize("mode", ["answer_only", "two_turn"])
def test_questions_are_those_of_a_run(questions, tokenizer, mode):
    spoken_of = {"instruction": TASK.text.instruction, "focus": TASK.text.focus}
    experiment = OnlineExperiment.model_validate(
        {"name": "it", "reward": {"source": "preferences"}, "rater": {"model": "pocket_pairs", "mode": mode}}
        | {"task": {"name": "close", "env_id": "drawer-close-v3"} | spoken_of}
    )
    frames = [encode_png(np.full((28, 28, 3), shade, np.uint8)) for shade in (0, 255)]
    asked = QuestionMaker(experiment).question(frames, 0, None).request
    said, prompts = comparisons(TASK)[9], []

    def answer(prompt, images, choices):
        prompts.append((chat_text(tokenizer, prompt, len(images)), choices))
        return choices[2] if choices else said

    (rating,) = asyncio.run(RatingServer(RaterSettings(), FunctionBackend(answer)).rate([asked]))
    assert rating.rating == CANNOT_TELL
    two_turn = [(questions.analysis(TASK), ()), (questions.comparison(TASK, said), ("1", "2", "3"))]
    ours = two_turn if mode == "two_turn" else [(questions.answer_only(TASK), ("1", "2", "3"))]
    picture = "<|image_pad|>"
    for (text, choices), (question, wanted) in zip(prompts, ours, strict=True):
        assert question.prompt == tokenizer.encode(text.replace(picture, 16 * picture))
        assert question.prompt.count(questions.image_token) == 16 * text.count(picture)
        assert choices == wanted
        if choices:
            assert [questions.text(one) for one in question.answers] == list(choices)


def test_two_pictures_at_once_give_what_transformers_gives(model, questions):
    from tests.pocket.test_model import transformers_inputs

    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8))
    batch = questions.batch_of([questions.answer_only(TASK).answered(0), questions.answer_only(TASK).answered(1)])
    with torch.inference_mode():
        seen = image_features(model, images).unflatten(0, (2, 2)).flatten(1, 2)
        ours = model.lm_head(next_token_states(model, batch.tokens, batch.positions, seen))
        kinds = (batch.tokens == model.config.image_token_id).int()
        theirs = model(input_ids=batch.tokens, mm_token_type_ids=kinds, **transformers_inputs(images)).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_it_begins_from_the_rater_of_frames(model, tokenizer):
    from actors.pocket import checkpoint

    begun, known = checkpoint.load(POCKET_FOLDER)
    ours, theirs = model.state_dict(), begun.state_dict()
    taken = [name for name in theirs if "embed_tokens" not in name and "lm_head" not in name]
    assert len(taken) > 50 and all(torch.equal(ours[name], theirs[name].float()) for name in taken)
    name = "model.language_model.embed_tokens.weight"
    word, old = (one.convert_tokens_to_ids("<|im_end|>") for one in (tokenizer, known))
    assert torch.equal(ours[name][word], theirs[name][old].float())


def trained(tokenizer, questions, plan: PairPlan, losses: list[float]):
    """The weights before and after a training on pictures of a lamp."""
    torch.manual_seed(1)
    model = new_model(tokenizer)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    on_step = lambda phase, step, total, loss: losses.append(loss)  # noqa: E731
    PairTrainer(model, questions, [toy_frames(10, 0)], plan, 0, on_step).fit()
    return before, model.state_dict()


def test_a_training_lowers_its_loss_and_leaves_the_eyes_alone(tokenizer, questions):
    losses: list[float] = []
    before, after = trained(
        tokenizer, questions, PairPlan(text_steps=10, text_batch=8, words_steps=6, words_batch=8), losses
    )
    assert len(losses) == 16
    assert np.mean(losses[7:10]) < 0.6 * losses[0] and np.mean(losses[-3:]) < np.mean(losses[7:10])
    for name, weight in after.items():
        assert torch.equal(weight, before[name]) == ("visual" in name), name


def test_equal_seeds_give_equal_weights(tokenizer, questions):
    plan = PairPlan(1, 4, 1, 4)
    (_, one), (_, other) = (trained(tokenizer, questions, plan, []) for _ in range(2))
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_both_orders_of_every_pair_are_learnt(tokenizer, questions, model):
    trainer = PairTrainer(model, questions, [toy_frames(25, 0)] * 2, PairPlan(), 0, lambda *done: None)
    drawn = trainer._draw(40)
    assert len(drawn) == 40
    assert {task for task, _, _ in drawn} == {0, 1}
    assert [(task, second, first) for task, first, second in drawn[::2]] == drawn[1::2]


def test_pairs_are_judged_in_both_modes_and_both_orders(model, questions):
    frames = toy_frames(10, 3)
    pairs = pairs_to_judge(frames.stages, 6)
    with torch.inference_mode():
        features = image_features(model, torch.from_numpy(frames.images))
    judged = judge(model, questions, TASK, features, frames.stages, pairs, 2)
    assert [(one.mode, one.answers.shape) for one in judged] == [("answer_only", (6, 2)), ("two_turn", (2, 2))]
    assert judged[0].gaps.tolist() == (frames.stages[pairs[:, 1]] - frames.stages[pairs[:, 0]]).tolist()
    # What is said of a pair is said of it the other way round when the pair is.
    (turned,) = judge(model, questions, TASK, features, frames.stages, pairs[:, ::-1], 1)[:1]
    assert turned.answers.tolist() == judged[0].answers[:, ::-1].tolist()


def test_the_report_by_hand():
    gaps = np.array([0, 0, 1, -1, 3])
    answers = np.array([[2, 2], [2, 0], [1, 0], [2, 2], [0, 0]])
    judged = [PairJudgement(task, mode, gaps, answers) for task in ("b", "a") for mode in ("two_turn", "answer_only")]
    lines = report(judged).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| a", "| b", "| all", "| a", "| b", "| all"]
    # Right: both of the first, one of the second, both of the third, none of the fourth, one of the last, which names
    # the wrong picture once; consistent are the first, the third and the fourth.
    shares = "0.600 | 0.500 | 0.500 | 0.750 | 0.333 | 0.167 | 0.600 |"
    assert lines[2] == f"| a | answer_only | 5 | {shares}"
    assert lines[7] == f"| all | two_turn | 10 | {shares}"


def test_the_server_gives_it_pictures_of_its_size():
    settings = RaterSettings(model="pocket_pairs")
    assert settings.min_pixels == settings.max_pixels == 112**2


@pytest.mark.slow
def test_a_tiny_training_makes_a_rater_and_its_report(tmp_path, capfd):
    recipe = PairRecipe(20, 20, 20, num_pairs=6, num_two_turn=2, plan=PairPlan(2, 8, 2, 8))
    judged = train_pairs(tmp_path, seed=3, recipe=recipe, tasks=("drawer_open", "button_press"))
    assert (tmp_path / "report.md").read_text() == report(judged)
    assert {(one.task, one.mode) for one in judged} >= {("button_press", "two_turn"), ("drawer_open", "answer_only")}
    told = capfd.readouterr().err
    for phase in ("draw frames: 4/4 sets", "text: 2/2", "words: 2/2", "judge: 2/2 tasks"):
        assert phase in told
