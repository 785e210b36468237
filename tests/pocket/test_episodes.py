"""The pocket rater of episodes: what it is shown, its truths, its questions in the words of runs, a tiny training."""

import itertools

import numpy as np
import pytest
import torch

from actors.babyai import tiles
from actors.babyai.level import THEN as THEN_OF_LEVELS
from actors.pocket import checkpoint
from actors.pocket.episodes import CELLS, FRAME_PX, NUM_FRAMES, words
from actors.pocket.episodes.data import Cases, case_of, facts_of, images, in_hand, pairs_of, sights_of, sights_to_ask
from actors.pocket.episodes.evaluation import judge
from actors.pocket.episodes.model import LAYOUT, features_of, image_features, new_model
from actors.pocket.episodes.questions import EpisodeQuestions, all_texts
from actors.pocket.episodes.training import EpisodePlan
from actors.pocket.episodes.words import NOTHING, THEN, THINGS, Sights, analysis_of, subtask_in_words, thing_named
from actors.pocket.tokenizer import train_tokenizer
from actors.rating import models
from actors.rating.chat import chat_text
from actors.rating.settings import RaterSettings
from actors.worlds.babyai.environment import ChainWorld
from actors.worlds.babyai.settings import BabyAITask
from algorithms.images import encode_png
from algorithms.prompts import analysis_prompt, answer_only_prompt, rating_prompt
from orchestrator.online.questions import QuestionMaker
from orchestrator.online.settings import OnlineExperiment
from orchestrator.pocket import episodes as making
from orchestrator.pocket.episodes import (
    KINDS,
    ROOMS,
    EpisodeRecipe,
    cases_to_judge,
    episodes_to_learn,
    levels,
    report,
    task_text,
    tiled,
    train_episodes,
    with_tiles,
)

TINY = EpisodeRecipe(
    num_episodes=8,
    num_views=1,
    num_held_out=8,
    num_cases=2,
    num_processes=1,
    plan=EpisodePlan(
        sight_steps=1, sight_batch=4, text_pool=4, ground_steps=2, ground_batch=4, text_steps=1, text_batch=4,
        joint_steps=1, joint_batch=4,
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def watched():
    return making._draw_some(("train", 0, 24, 0))


@pytest.fixture(scope="module")
def tables(watched):
    return with_tiles([tiled(one) for one in watched])


@pytest.fixture(scope="module")
def tokenizer(tables):
    chains = [chain.instruction for episode in tables.episodes for chain in episode.chains]
    return train_tokenizer(all_texts(task_text(), chains[:40]), 800)


@pytest.fixture(scope="module")
def questions(tokenizer):
    return EpisodeQuestions(task_text(), levels(), tokenizer)


@pytest.fixture(scope="module")
def model(tokenizer, tables):
    torch.manual_seed(0)
    return new_model(tokenizer, tables).eval()


def cell(tables, *things: tuple[int, int, str]) -> np.ndarray:
    """A frame of codes with these things (row, column, name; 'open' before a door that is)."""
    codes = np.zeros((CELLS, CELLS), dtype=np.int16)
    for row, column, name in things:
        number, opened = THINGS.index(name.removeprefix("open ")), name.startswith("open ")
        codes[row, column] = np.flatnonzero((tables.things == number) & (tables.opened == opened))[0]
    return codes


@pytest.mark.parametrize("rooms", range(len(ROOMS)))
def test_frames_are_those_of_a_run(tables, rooms):
    """The world that runs act in draws pictures of this size, of the same tiles."""
    task = BabyAITask.model_validate(
        {"world": "babyai", "name": "mine", "level": ROOMS[rooms].model_dump(mode="json"), "chain": KINDS[1]}
    )
    assert task.image_px == FRAME_PX
    world = ChainWorld(task)
    world.reset(3)
    codes = tiles.codes_of(world._env.level.symbolic()[None])[0]
    assert np.array_equal(images(codes, tables.pixels), world.frame())


def test_what_is_shown_and_what_is_true(tables):
    frames = np.stack(
        [
            cell(tables, (3, 3, "red ball"), (5, 5, "blue key"), (6, 6, "green door")),
            cell(tables, (0, CELLS - 1, "red ball"), (5, 5, "blue key"), (6, 6, "open green door")),
            cell(tables, (5, 6, "red ball"), (5, 5, "blue key"), (6, 6, "open green door")),
        ]
    )
    sights = sights_of(frames, tables)
    red_ball, blue_key, green_door = (THINGS.index(name) for name in ("red ball", "blue key", "green door"))
    assert sights.in_hand == (NOTHING, red_ball, NOTHING)
    assert set(sights.beside) == {(blue_key, red_ball), (red_ball, green_door)} and sights.opened == (green_door,)
    asked = [
        (thing_named("red", "ball"),),
        (thing_named(None, "ball"), thing_named(None, "key")),
        (thing_named("red", "key"), thing_named("blue", "key")),
        (thing_named(None, "door"),),
    ]
    held, beside, opened = facts_of(asked, frames, tables).transpose(1, 0, 2)
    assert held.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert beside.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert opened.tolist() == [[0, 0, 0]] * 3 + [[0, 1, 1]]
    assert analysis_of(sights, 1, 2) == (
        "In hand: nothing, red ball, nothing. Now side by side: blue key and red ball, red ball and green door. "
        "Now open: green door. Sub-tasks: 1 done, 2 not done."
    )
    assert analysis_of(Sights((NOTHING,), (), ()), 0, 1).endswith("Now open: none. Sub-tasks: 1 not done.")


def test_what_is_done_shows(tables):
    """What was just picked up is in hand, what was just put down lies where it should, an opened door is open."""
    looked_at = {"pickup": 0, "putnext": 0, "open": 0}
    for episode in tables.episodes:
        for chain in episode.chains:
            for number, kind in enumerate(chain.kinds):
                ends = np.flatnonzero(np.diff(chain.num_done) * (chain.num_done[1:] == number + 1))
                if len(ends) and kind in looked_at:
                    facts = facts_of(chain.named, episode.codes[ends[:1] + 1], tables)[number, :, 0]
                    assert facts[("pickup", "putnext", "open").index(kind)] == 1, (chain.instruction, number)
                    looked_at[kind] += 1
    assert min(looked_at.values()) > 0


def test_cases_end_where_levels_differ_and_show_what_runs_show(tables):
    cases, rng = Cases(tables.episodes), np.random.default_rng(0)
    assert {kinds for kinds, _ in cases.states} == set(KINDS)
    counts = {state: 0 for state in cases.states}
    for _ in range(600):
        case = cases.draw(rng)
        counts[case.chain.kinds, case.num_done] += 1
        assert case.shown[0] == 1 and len(case.codes) == NUM_FRAMES
        before = case.chain.num_done[: case.shown[-1]]
        assert before.max(initial=0) < case.chain.num_subtasks, "an episode goes on after its end"
        assert case.done[:, -1].sum() == case.num_done
    assert min(counts.values()) > 0.4 * np.mean(list(counts.values()))
    episode = next(one for one in tables.episodes if len(one.codes) > 10)
    # An episode of ten steps: what was seen after the first, the fourth, the seventh and the last.
    assert case_of(episode, 0, 10).shown.tolist() == [1, 4, 7, 10]


def test_sub_tasks_that_are_made_up_are_in_babyais_words_and_often_so(tables):
    rng, said, true = np.random.default_rng(0), set(), []
    doors = [
        one
        for one in tables.episodes
        if tables.opened[one.codes].any() and (in_hand(tables.things[one.codes]) >= 0).any()
    ]
    frames = doors[0].codes[:: max(1, len(doors[0].codes) // 20)]
    for text, named in sights_to_ask(frames, tables, 200, rng):
        said.add(text.split()[0])
        true.append(facts_of([named], frames, tables).any())
    assert said == {"pick", "put", "open", "go"} and 0.15 < np.mean(true) < 0.8
    real = {part for one in tables.episodes for chain in one.chains for part in chain.instruction.split(THEN)}
    for part in real:
        kind = {"pick": "pickup", "go": "goto", "open": "open", "put": "putnext"}[part.split()[0]]
        rest = part.removeprefix({"pickup": "pick up ", "goto": "go to ", "open": "open ", "putnext": "put "}[kind])
        assert subtask_in_words(kind, rest.split(" next to ")) == part
    assert THEN == THEN_OF_LEVELS


def test_views_differ_and_mean_the_same(watched):
    views = episodes_to_learn(watched[:2], 8, 0)
    assert len({one.codes.tobytes() for one in views[:8]}) > 4
    tables = with_tiles(views)
    for one in views[1:8]:
        assert [chain.instruction for chain in one.chains] == [chain.instruction for chain in views[0].chains]
        assert np.array_equal(pairs_of(tables.things[one.codes[-1]]), pairs_of(tables.things[views[0].codes[-1]]))


def test_levels_are_those_of_the_world():
    assert levels()[3, 1] == (0, 2) and levels()[3, 2] == (0, 1, 2) and levels()[5, 3] == (0, 1, 2, 4)
    assert levels()[2, 3] == (0, 0, 0, 1) and len(levels()) == 12


@pytest.mark.parametrize("mode", ["answer_only", "two_turn"])
@pytest.mark.parametrize("num_ratings", [2, 5])
def test_questions_are_those_of_a_run(questions, tokenizer, mode, num_ratings):
    segment = {"kind": "episode", "num_frames": NUM_FRAMES}
    asking = {
        "name": "asking",
        "task": {"world": "babyai", "name": "mine", "chain": ["pickup", "putnext"]},
        "feedback": {"num_ratings": num_ratings, "segment": segment},
        "rater": {"mode": mode},
        "policy": {"algorithm": "iql"},
        "reward_model": {"image_px": FRAME_PX},
    }
    maker = QuestionMaker(OnlineExperiment.model_validate(asking))
    pngs = [encode_png(np.zeros((FRAME_PX, FRAME_PX, 3), dtype=np.uint8))] * NUM_FRAMES
    instruction = "pick up a ball, then put a ball next to the red door"
    asked = maker.question(pngs, 0, False, instruction).request
    assert len(asked.images) == NUM_FRAMES
    said = "Sub-tasks: 1 done, 2 not done."
    ours = {
        answer_only_prompt: (NUM_FRAMES, questions.answer_only(instruction, num_ratings)),
        analysis_prompt: (NUM_FRAMES, questions.analysis(instruction)),
        lambda one: rating_prompt(one, said): (0, questions.rating(instruction, num_ratings, said)),
    }
    for prompt, (num_images, tokens) in ours.items():
        theirs = tokenizer.encode(chat_text(tokenizer, prompt(asked), num_images), add_special_tokens=False)
        once = [token for token, _ in itertools.groupby(tokens)]
        assert once == [token for token, _ in itertools.groupby(theirs)]
        assert tokens.count(questions.image_token) == num_images * 4


def test_words_end_where_they_end(questions, tokenizer):
    talk = questions.looking(["pick up a ball", "open the red door", "go to the box"])
    assert [tokenizer.decode([token]).strip() for token in talk.tokens[talk.ends]] == ["ball", "door", "box"]
    assert not talk.weights.any() and talk.ends[-1] >= len(talk.tokens) - 2


def test_positions_are_those_of_transformers(questions, model):
    tokens = np.array(questions.analysis("pick up a ball"))
    grid = torch.tensor([[1, 4, 4]] * NUM_FRAMES)
    types = torch.from_numpy((tokens == questions.image_token).astype(np.int64))[None]
    theirs, _ = model.model.get_rope_index(torch.from_numpy(tokens)[None], types, image_grid_thw=grid)
    assert questions.positions_of(tokens).tolist() == theirs[:, 0].tolist()


def test_pictures_are_seen_as_transformers_sees_them(model, tables):
    shown = torch.from_numpy(images(tables.episodes[0].codes[:2], tables.pixels))
    flat = LAYOUT.patches(shown).flatten(0, 1)
    # A still picture fills both frames of a temporal patch.
    patches = flat.view(-1, 3, 1, 14, 14).expand(-1, 3, 2, 14, 14).reshape(len(flat), -1)
    with torch.inference_mode():
        theirs = model.model.visual(patches, grid_thw=torch.tensor([[1, 4, 4]] * 2)).pooler_output
        ours = image_features(model, shown)
    torch.testing.assert_close(ours.flatten(0, 1), theirs, atol=1e-4, rtol=1e-3)
    assert torch.equal(features_of(model, shown[None], part=1)[0], ours.flatten(0, 1))


def test_patches_tell_tiles_apart_from_the_start_in_the_precision_that_ships(model, tables):
    kernel = model.model.visual.patch_embed.proj.weight.to(torch.bfloat16).float().sum(dim=2).flatten(1)
    looks = np.unique(tables.pixels[tables.pixels.any(axis=(1, 2, 3))], axis=0)
    # A picture of one tile only shows each patch the same four times.
    pictures = torch.from_numpy(np.tile(looks, (1, CELLS, CELLS, 1)))
    told = (LAYOUT.patches(pictures) @ kernel.T)[:, 0].view(len(looks), 4, -1)
    assert len(looks) > 30
    for corner in range(4):
        apart = torch.cdist(told[:, corner], told[:, corner]) + 10 * torch.eye(len(looks))
        assert apart.min() > 0.5


def test_judging_counts_right_answers(model, questions, tables, monkeypatch):
    from actors.pocket.episodes import evaluation

    cases = cases_to_judge(tables, 1)
    truth = [analysis_of(sights_of(case.codes, tables), case.num_done, case.chain.num_subtasks) for case in cases]
    monkeypatch.setattr(evaluation, "analyses_of", lambda *_: truth)

    def right(model, questions, asked, seen, labels):
        return np.array([questions.level(len(labels), case.chain.num_subtasks, case.num_done) for case in cases])

    monkeypatch.setattr(evaluation, "_choose", right)
    judged = judge(model, questions, cases, tables)
    kinds = [case.chain.kinds for case in cases]
    table = report([making.HeldOutEpisodes(split, kinds, one) for split in making.HELD_OUT for one in judged])
    lines = [line for line in table.splitlines() if line.startswith("| held_out | all | two_turn")]
    assert lines[0].endswith(f"| {len(cases)} | 1.000 | 1.000 | 1.000 | 1.000 |")


@pytest.mark.slow
def test_a_tiny_training_makes_a_rater_and_its_report(tmp_path, capfd):
    judged = train_episodes(tmp_path, seed=3, recipe=TINY)
    assert (tmp_path / "report.md").read_text() == report(judged)
    model, _ = checkpoint.load(tmp_path)
    assert model.config.text_config.num_hidden_layers == 4
    told = capfd.readouterr().err
    for phase in ("draw episodes: 3/3", "sight: 1/1", "ground: 2/2", "text: 1/1", "joint: 1/1", "judge: 8/8 parts"):
        assert phase in told


def test_things_have_babyais_names():
    from actors.babyai.settings import COLOURS, OBJECTS

    assert words.COLOURS == COLOURS and words.KINDS == (*OBJECTS, "door")


def test_without_weights_the_message_says_how_to_make_them(monkeypatch, tmp_path):
    settings = RaterSettings(model="pocket_episodes")
    assert settings.min_pixels == settings.max_pixels == FRAME_PX**2
    monkeypatch.setitem(models.POCKET_FOLDERS, "pocket_episodes", tmp_path)
    with pytest.raises(ValueError, match="rebuild it with `likert pocket train --episodes`"):
        models.resolve_model(settings)
