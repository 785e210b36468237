"""The pocket rater of windows: tiles as the level draws them, its forward pass, its questions, a tiny training."""

import dataclasses

import numpy as np
import pytest
import torch

from actors.babyai import tiles
from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.expert import Demonstration, demonstrate
from actors.babyai.settings import ACTION_NAMES, BabyAISettings
from actors.babyai.skills import skills_of
from actors.pocket.model import apply_rotary_pos_emb_vision
from actors.pocket.pictures import MERGE
from actors.pocket.tokenizer import train_tokenizer
from actors.pocket.windows import PICTURE_PX
from actors.pocket.windows import evaluation as judging
from actors.pocket.windows.data import SETTINGS, Levels, picture, windows_in
from actors.pocket.windows.model import FULL_BLOCK, LAYOUT, image_features, in_reading_order, new_model, patch_states
from actors.pocket.windows.pointing import point_heads
from actors.pocket.windows.questions import DECISION_WEIGHT, WindowQuestions, all_texts
from actors.pocket.windows.teacher import ABSENT, NEIGHBOURS, Teacher, facts_of
from actors.pocket.windows.training import WindowPlan, WindowTrainer
from actors.pocket.windows.words import (
    CHANGED_THINGS,
    EFFECTS,
    NOTHING,
    SCORE_OF,
    SIGHTS,
    analysis_of,
    effect_of,
)
from actors.rating.chat import chat_text
from actors.rating.engine.level_tokens import label_tokens
from actors.rating.settings import RaterSettings
from algorithms.images import decode_png, encode_png
from algorithms.scoring_prompts import SCORE_LETTERS, parse_scores, scores_prompt
from algorithms.windows import score_request, windows_of
from orchestrator.pocket.windows import (
    BABYAI,
    WindowRecipe,
    report,
    tiled,
    train_windows,
    windows_to_judge,
)

TILES = tiles.tiles(BABYAI.tile_px)
GRID = LAYOUT.side * MERGE
"""Patches on a side of the picture."""


@pytest.fixture(scope="module")
def chains():
    """Four demonstrations with frames; the third and fourth carry and put down things."""
    environment = ChainEnvironment(BabyAISettings(), 0)
    drawn = [demonstrate(environment, 0, Demonstration(ChainTask("train", index, 3), 0.2)) for index in range(4)]
    return [one for one in drawn if one is not None]


@pytest.fixture(scope="module")
def windows(chains):
    return windows_to_judge(chains, "subtask")


@pytest.fixture(scope="module")
def tokenizer(windows):
    return train_tokenizer(all_texts(windows), 800)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    return new_model(tokenizer).eval()


@pytest.fixture(scope="module")
def questions(tokenizer):
    return WindowQuestions(tokenizer)


def test_tiles_draw_the_frames_that_the_level_draws(chains):
    assert any((chain.symbolic[:, 0, 0, 0] != 2).any() for chain in chains), "nothing is ever carried"
    for chain in chains:
        drawn = tiles.draw(tiles.codes_of(chain.symbolic), TILES)
        for frame, png in zip(drawn, chain.frames, strict=True):
            assert np.array_equal(frame, decode_png(png))


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_actions_do_the_same_in_a_level_that_is_turned_and_mirrored(chains, quarters, mirrored):
    ahead = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    turns = {"turn left": 3, "turn right": 1}
    for chain in chains:
        seen = tiled(chain, quarters, mirrored)
        moved = 0
        for before, after, name in zip(seen.places[:-1], seen.places[1:], seen.action_names, strict=True):
            assert (after[2] - before[2]) % 4 == turns.get(name, 0)
            if tuple(after[:2]) != tuple(before[:2]):
                assert name == "move forward" and tuple(after[:2] - before[:2]) == ahead[before[2]]
                moved += 1
        assert moved > 0
        assert sorted(np.unique(seen.codes[0])) != []


def test_a_level_turned_four_times_is_itself(chains):
    cells = chains[0].symbolic
    for _ in range(4):
        cells = tiles.turned(cells, 1, False)
    assert np.array_equal(cells, chains[0].symbolic)
    twice = tiles.turned(tiles.turned(cells, 0, True), 0, True)
    assert np.array_equal(twice, cells) and not np.array_equal(tiles.turned(cells, 0, True), cells)


def test_effects_by_hand():
    assert EFFECTS[effect_of(1, True, True)] == "completes"
    assert EFFECTS[effect_of(1, False, True)] == "closer"
    assert EFFECTS[effect_of(-1, False, True)] == "farther"
    assert EFFECTS[effect_of(0, False, True)] == "no help"
    assert EFFECTS[effect_of(0, False, False)] == "no change"
    said = "1 moved, 2 nothing, 3 changed things. 1: closer. 2: no change. 3: completes."
    assert analysis_of([1, 0, 4], [3, 1, 4]) == said
    # What helps more never scores less, and a list of scores has as many digits as scores.
    assert SCORE_OF[0] < SCORE_OF[1] == SCORE_OF[2] < SCORE_OF[3] == SCORE_OF[4] < 10


def test_pictures_and_questions_are_those_that_labelling_makes(chains):
    for part in skills_of(chains[0]):
        for ours, window in zip(windows_in(tiled(part)), windows_of(len(part), SETTINGS), strict=True):
            theirs = score_request(window, part.frames, part.action_names, part.instruction, "two_turn", SETTINGS)
            assert encode_png(picture(ours.frames, TILES.pixels)) == theirs.images[0]
            assert dataclasses.replace(ours.request("two_turn"), images=theirs.images) == theirs


def test_tokens_of_a_conversation_are_those_of_its_text(questions, tokenizer, windows):
    for window in windows[:5]:
        talk = questions.two_turns(window, window.effects)
        analysis = analysis_of(window.sights, window.effects)
        prompt = scores_prompt(window.request("two_turn"), analysis)
        said = tokenizer.encode(chat_text(tokenizer, prompt, 1), add_special_tokens=False)
        asked = [token for token in talk.tokens.tolist() if token != questions.image_token]
        # All but the place holders of the picture, and the answer at the end.
        assert asked[: len(said) - 1] == [token for token in said if token != questions.image_token]
        assert (talk.tokens == questions.image_token).sum() == LAYOUT.num_tokens
        first, second = _answers(talk, questions)
        assert first == analysis
        assert parse_scores(second, len(window.actions)) == tuple(SCORE_OF[effect] for effect in window.effects)


def test_other_modes_answer_the_same(questions, windows):
    window = windows[0]
    (scores,) = _answers(questions.single_turn(window, window.effects), questions)
    assert parse_scores(scores, len(window.actions)) == tuple(SCORE_OF[effect] for effect in window.effects)
    for place, effect in enumerate(window.effects):
        assert _answers(questions.one_score(window, place, window.effects), questions) == [
            SCORE_LETTERS[SCORE_OF[effect]]
        ]


def test_each_judgement_is_marked_where_it_begins(questions, tokenizer, windows):
    for window in windows[:5]:
        asked = window, window.effects
        talks = {"two": questions.two_turns(*asked), "one": questions.single_turn(*asked)}
        for name, talk in talks.items():
            marked = np.flatnonzero(talk.judges >= 0)
            assert talk.judges[marked].tolist() == list(range(len(window.actions)))
            assert (talk.weights[marked] == DECISION_WEIGHT).all()
            for place, effect in zip(marked, window.effects, strict=True):
                said = tokenizer.decode(talk.tokens[place : place + 3].tolist()).strip()
                truth = EFFECTS[effect] if name == "two" else str(SCORE_OF[effect])
                assert truth.startswith(said[:2].strip("., ]")), (said, truth)
        last = questions.one_score(window, len(window.actions) - 1, window.effects)
        (place,) = np.flatnonzero(last.judges >= 0)
        assert last.judges[place] == len(window.actions) - 1
        assert last.weights[place] > 0 and last.weights[place - 1] == 0


def test_what_decides_an_answer_counts_most(questions, tokenizer, windows):
    for window in windows[:5]:
        talk = questions.two_turns(window, window.effects)
        decided = np.flatnonzero(talk.weights == DECISION_WEIGHT)
        said = [tokenizer.decode([token]).strip() for token in talk.tokens[decided].tolist()]
        sights, effects, scores = np.split(np.array(said), 3)
        assert [SIGHTS[sight].split()[0] for sight in window.sights] == sights.tolist()
        assert [EFFECTS[effect].split()[0] for effect in window.effects] == effects.tolist()
        assert [str(SCORE_OF[effect]) for effect in window.effects] == scores.tolist()
        assert set(np.unique(talk.weights)) == {0, 1, DECISION_WEIGHT}


def test_windows_with_rare_actions_are_drawn_more_often(tokenizer, questions, chains):
    learnt = [tiled(part) for chain in chains for part in skills_of(chain)]
    levels = Levels(learnt, TILES.pixels, TILES.contents)
    every = [window for one in learnt for window in windows_in(one)]
    trainer = WindowTrainer(
        new_model(tokenizer), questions, levels, Teacher(every, ACTION_NAMES), TINY, 0, lambda *done: None
    )

    def share(windows):
        return np.mean([sight in (NOTHING, CHANGED_THINGS) for window in windows for sight in window.sights])

    drawn = [window for _ in range(20) for window in trainer.draw(16).windows]
    assert 0.05 < share(every) and share(every) + 0.05 < share(drawn) < 0.9


def test_facts_about_an_action_and_those_around_it(windows):
    window = max(windows, key=lambda one: len(one.actions))
    facts = facts_of(window, ACTION_NAMES)
    assert facts.shape == (8, 2 * len(NEIGHBOURS)) and len(NEIGHBOURS) == 5
    own = facts[:, 4:6]
    assert own[:, 0].tolist() == window.sights
    assert tuple(ACTION_NAMES[name] for name in own[:, 1]) == window.action_names
    assert np.array_equal(facts[1:, 2:4], own[:-1]) and np.array_equal(facts[:-2, 8:10], own[2:])
    assert (facts[0, :4] == ABSENT).all() and (facts[-1, 6:] == ABSENT).all()


def test_the_teacher_says_the_likeliest_effect_of_what_is_seen(windows):
    teacher = Teacher(windows * 10, ACTION_NAMES)
    judged = teacher.judge(windows)
    assert [len(effects) for effects in judged] == [len(window.actions) for window in windows]
    known: dict[tuple[int, ...], list[int]] = {}
    for window in windows:
        for facts, effect in zip(facts_of(window, ACTION_NAMES), window.effects, strict=True):
            known.setdefault(tuple(facts), []).append(effect)
    for window, effects in zip(windows, judged, strict=True):
        for facts, said in zip(facts_of(window, ACTION_NAMES), effects, strict=True):
            seen = known[tuple(facts)]
            # Where the same facts always meant the same, there is nothing to weigh up.
            assert said in seen if len(set(seen)) > 1 else said == seen[0]
    # What was done without any change is known for certain, whatever stood around it.
    unseen = [window for window in windows if 0 in window.sights]
    assert unseen
    for window, effects in zip(unseen, teacher.judge(unseen), strict=True):
        for sight, effect in zip(window.sights, effects, strict=True):
            assert (EFFECTS[effect] == "no change") == (SIGHTS[sight] == "nothing")


def test_letters_are_single_tokens(tokenizer):
    assert len(set(label_tokens(tokenizer, SCORE_LETTERS).values())) == len(SCORE_LETTERS)


def test_many_pictures_at_once_give_what_transformers_gives(model, questions, windows):
    some = windows[:3]
    images = torch.from_numpy(np.stack([picture(window.frames, TILES.pixels) for window in some]))
    # Transformers wants the patches of merged windows row by row of the whole picture.
    rows, columns = LAYOUT.patch_positions().T
    order = np.lexsort((columns % 2, rows % 2, columns // 2, rows // 2))
    cut = LAYOUT.patches(images)[:, order].view(len(some), -1, 3, 1, 14, 14).expand(-1, -1, -1, 2, -1, -1)
    pixels = cut.reshape(-1, 3 * 2 * 14 * 14)
    grid = torch.tensor([[1, GRID, GRID]] * len(some))
    with torch.inference_mode():
        ours = in_reading_order(image_features(model, images))
        theirs = model.model.visual(pixels, grid_thw=grid).pooler_output
        torch.testing.assert_close(ours, theirs.view_as(ours), atol=1e-5, rtol=1e-4)
        talk = questions.two_turns(some[0], some[0].effects)
        batch = questions.batch_of([talk])
        kinds = (batch.tokens == questions.image_token).int()
        positions, _ = model.model.get_rope_index(
            batch.tokens, mm_token_type_ids=kinds, image_grid_thw=grid[:1], attention_mask=torch.ones_like(batch.tokens)
        )
        assert torch.equal(positions, batch.positions)


def test_heads_begin_by_looking_at_the_next_frame_and_at_the_word_before(tokenizer, questions, windows):
    torch.manual_seed(0)
    model = new_model(tokenizer).eval()
    point_heads(model)
    images = torch.from_numpy(np.stack([picture(windows[0].frames, TILES.pixels)]))
    places = LAYOUT.patch_positions()
    numbers = {tuple(place): number for number, place in enumerate(places.tolist())}
    frame = GRID // 3
    with torch.inference_mode():
        block = model.model.visual.blocks[FULL_BLOCK].attn
        hidden = model.model.visual.blocks[FULL_BLOCK].norm1(patch_states(model, images, FULL_BLOCK))
        query, key, _ = block.qkv(hidden).view(len(places), 3, block.num_heads, -1).unbind(1)
        query, key = apply_rotary_pos_emb_vision(query, key, *model.model.visual.rotary_pos_emb(hidden, places))
        beside, below = (query.transpose(0, 1) @ key.permute(1, 2, 0))[:2].argmax(dim=2).tolist()
    for (row, column), number in numbers.items():
        if column < 2 * frame:
            assert beside[number] == numbers[row, column + frame]
        elif row < 2 * frame:
            assert below[number] == numbers[row + frame, column - 2 * frame]
    words = torch.tensor([questions.one_turn(windows[0])[-20:]])
    model.set_attn_implementation({"text_config": "eager"})
    with torch.inference_mode():
        seen = model.model.language_model(input_ids=words, output_attentions=True).attentions[0][0]
    assert seen[0].argmax(dim=1)[1:].tolist() == list(range(19))
    assert seen[1].argmax(dim=1)[2:].tolist() == list(range(18))


def test_sights_are_what_actions_do(chains):
    known = {"move forward": "moved", "turn left": "turned left", "turn right": "turned right"}
    for chain in chains:
        shown = tiled(chain)
        for name, sight, effect in zip(shown.action_names, shown.sights, shown.effects, strict=True):
            assert SIGHTS[sight] in ("nothing", known.get(name, "changed things"))
            assert (SIGHTS[sight] == "nothing") == (EFFECTS[effect] == "no change")


def test_an_answer_does_not_depend_on_the_batch(model, questions, windows):
    some = sorted(windows, key=lambda window: len(window.actions))[:: max(1, len(windows) // 4)]
    seen = judging.features_of(model, some, TILES.pixels)
    together = judging.analyses_of(model, questions, some, seen)
    alone = [judging.analyses_of(model, questions, [one], seen[[row]])[0] for row, one in enumerate(some)]
    assert together == alone


def test_a_malformed_answer_is_counted_and_gives_no_score(windows):
    some = [window for window in windows if len(window.actions) > 2][:3]
    truth = [tuple(float(SCORE_OF[effect]) for effect in window.effects) for window in some]
    judged = judging.judgement("two_turn", some, [truth[0], None, truth[2]])
    assert (judged.num_windows, judged.num_failures) == (3, 1)
    assert judged.num_actions == len(truth[0]) + len(truth[2])
    assert judged.correlation > 0.8
    assert judging.judgement("two_turn", some, [None] * 3).correlation == 0.0


TINY = WindowPlan(
    cell_steps=2,
    cell_batch=2,
    frame_steps=2,
    frame_batch=2,
    text_pool=4,
    text_steps=2,
    text_batch=2,
    joint_steps=2,
    joint_batch=2,
)


@pytest.mark.slow
def test_equal_seeds_make_equal_checkpoints(tmp_path):
    recipe = WindowRecipe(num_chains=3, num_views=2, num_held_out=2, num_processes=2, plan=TINY)
    for name in ("one", "other"):
        judged = train_windows(tmp_path / name, seed=5, recipe=recipe)
    one, other = (tmp_path / name / "model.safetensors" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
    assert {(part.split, part.unit, part.judged.mode) for part in judged} >= {("held_out", "chain", "logits")}
    assert (tmp_path / "one" / "report.md").read_text() == report(judged)


def test_every_phase_lowers_its_loss(tokenizer, questions, chains):
    losses: dict[str, list[float]] = {}
    plan = dataclasses.replace(TINY, cell_steps=25, frame_steps=12, text_steps=25, joint_steps=6)
    learnt = [tiled(part) for part in skills_of(chains[0])]
    torch.manual_seed(1)
    on_step = lambda phase, step, total, loss: losses.setdefault(phase, []).append(loss)  # noqa: E731
    fresh = new_model(tokenizer)
    levels = Levels(learnt, TILES.pixels, TILES.contents)
    teacher = Teacher([window for one in learnt for window in windows_in(one)], ACTION_NAMES)
    WindowTrainer(fresh, questions, levels, teacher, plan, 0, on_step).fit()
    assert list(losses) == ["cells", "frames", "text", "joint"]
    for phase in ("cells", "frames", "text"):
        assert np.mean(losses[phase][-4:]) < 0.9 * np.mean(losses[phase][:3]), phase


def test_the_server_gives_it_pictures_of_its_size():
    settings = RaterSettings(model="pocket_windows")
    assert settings.min_pixels == settings.max_pixels == PICTURE_PX**2
    assert RaterSettings().max_pixels == 112**2


def _answers(talk, questions):
    """The texts of the answers in a conversation."""
    texts, current = [], []
    for token, is_answer in zip(talk.tokens.tolist(), (talk.weights > 0).tolist(), strict=True):
        if is_answer:
            current.append(token)
        elif current:
            texts.append(questions.text(current))
            current = []
    return [*texts, questions.text(current)]
