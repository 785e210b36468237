"""`likert pocket train --episodes`: the pocket rater of BabyAI episodes from nothing, by one call."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actors.babyai import tiles
from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.settings import BabyAISettings, Split, SubtaskKind
from actors.babyai.watching import Watched, watch
from actors.pocket.episodes import FRAME_PX
from actors.worlds.babyai.settings import BabyAITask
from actors.worlds.shares import level_of
from algorithms.ratings import TaskText
from algorithms.scales import SCALE_WORDS
from orchestrator.pocket.making import fresh_processes, make
from orchestrator.pocket.phases import Phases

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

    from actors.pocket.episodes.data import Case, Episodes, TiledEpisode
    from actors.pocket.episodes.evaluation import EpisodeJudgement
    from actors.pocket.episodes.training import EpisodePlan, EpisodeTrainer
    from actors.pocket.together import OnStep, Peers

KINDS: tuple[tuple[SubtaskKind, ...], ...] = (
    ("pickup",),
    ("pickup", "putnext"),
    ("pickup", "open", "putnext"),
    ("pickup", "goto", "putnext"),
)
"""The chains that it knows: counterparts of the four kinds of tasks that ERL-VLM rates in ALFRED."""
TASK = BabyAITask(world="babyai", name="pocket_episodes")
"""How runs ask about BabyAI, if nothing else is set."""
ROOMS = (
    BabyAISettings(room_size=7, num_rows=1, num_cols=1, num_objects=4, subtasks=("pickup",)),
    BabyAISettings(room_size=4, num_objects=3),
    BabyAISettings(room_size=7, num_rows=1, num_cols=1, num_objects=6, subtasks=("pickup",)),
)
"""What it knows: one room, or four small ones, with more or fewer things. Frames are equally large."""
SUBTASK_ENV_STEPS = 32
"""An episode lasts so long for each sub-task of its chain, as in the settings files of these tasks."""
HELD_OUT: tuple[Split, ...] = ("held_out", "held_out_pairs")
EPISODES_PER_TASK = 40
"""Episodes that one call to a process draws."""


@dataclass(frozen=True)
class EpisodeRecipe:
    """How much is drawn and learnt."""

    num_episodes: int = 3000
    """Episodes to learn from, each watched for about nine chains."""
    num_views: int = 4
    """How often each is used: turned by a random number of quarters, and mirrored or not."""
    num_held_out: int = 600
    """Episodes to judge on, of each held-out split."""
    num_cases: int = 100
    """Cases to judge on, for each kind of chain and each number of sub-tasks done."""
    num_processes: int = 2
    """Processes that train together. Other numbers draw other batches, and so give slightly other weights."""
    plan: "EpisodePlan | None" = None
    """Lengths of the phases; the default's if absent."""


@dataclass(frozen=True)
class HeldOutEpisodes:
    """How the cases of one held-out split were rated on one scale in one mode."""

    split: Split
    kinds: list[tuple[str, ...]]
    """Of each case's chain."""
    judged: "EpisodeJudgement"


def train_episodes(out_folder: Path, seed: int = 0, recipe: EpisodeRecipe | None = None) -> list[HeldOutEpisodes]:
    """Rebuild the pocket rater of episodes into `out_folder` and judge it; `report.md` there holds the tables.

    Equal arguments give equal weights on equal machines.
    """
    recipe = recipe or EpisodeRecipe()
    with Phases() as phases:
        counts: dict[Split, int] = {"train": recipe.num_episodes} | dict.fromkeys(HELD_OUT, recipe.num_held_out)
        drawn: dict[Split, list[Watched]] = {}
        for split, count in counts.items():
            drawn[split] = draw_episodes(split, count, seed)
            phases.show("draw episodes", len(drawn), len(counts), "splits")
        fit(out_folder, drawn.pop("train"), recipe, seed, phases.on_step)
        parts = itertools.count(1)
        total = len(HELD_OUT) * len(SCALE_WORDS)
        on_part = lambda: phases.show("judge", next(parts), total, "parts")  # noqa: E731
        judged = judge_episodes(out_folder, drawn, recipe.num_cases, on_part)
    (out_folder / "report.md").write_text(report(judged))
    return judged


def fit(out_folder: Path, watched: list[Watched], recipe: EpisodeRecipe, seed: int, on_step: "OnStep") -> None:
    """Train tokenizer and weights on episodes, and write the checkpoint."""
    from actors.pocket.episodes.questions import all_texts
    from actors.pocket.episodes.training import EpisodePlan

    learnt = episodes_to_learn(watched, recipe.num_views, seed)
    some = (chain.instruction for episode in learnt[:: recipe.num_views] for chain in episode.chains)
    texts = all_texts(task_text(), itertools.islice(some, 2000))
    shards = [learnt[rank :: recipe.num_processes] for rank in range(recipe.num_processes)]
    make(out_folder, texts, FRAME_PX, partial(_trainer, recipe.plan or EpisodePlan()), shards, seed, on_step)


def _trainer(
    plan: "EpisodePlan",
    tokenizer: "Qwen2Tokenizer",
    learnt: list["TiledEpisode"],
    seed: int,
    on_step: "OnStep",
    peers: "Peers",
) -> "EpisodeTrainer":
    from actors.pocket.episodes.model import new_model
    from actors.pocket.episodes.questions import EpisodeQuestions
    from actors.pocket.episodes.training import EpisodeTrainer

    questions, tables = EpisodeQuestions(task_text(), levels(), tokenizer), with_tiles(learnt)
    return EpisodeTrainer(new_model(tokenizer, tables), questions, tables, plan, seed, on_step, peers)


def judge_episodes(
    folder: Path, held_out: dict[Split, list[Watched]], num_cases: int, on_part: Callable[[], None] = lambda: None
) -> list[HeldOutEpisodes]:
    """The checkpoint in a folder on held-out cases: on every scale, in both modes."""
    from actors.pocket import checkpoint
    from actors.pocket.episodes.evaluation import judge
    from actors.pocket.episodes.questions import EpisodeQuestions

    model, tokenizer = checkpoint.load(folder)
    questions = EpisodeQuestions(task_text(), levels(), tokenizer)
    found = []
    for split, watched in held_out.items():
        episodes = with_tiles([tiled(one) for one in watched])
        cases = cases_to_judge(episodes, num_cases)
        kinds = [case.chain.kinds for case in cases]
        found += [HeldOutEpisodes(split, kinds, one) for one in judge(model, questions, cases, episodes, on_part)]
    return found


def cases_to_judge(episodes: "Episodes", num_cases: int) -> list["Case"]:
    """Up to so many cases for each kind of chain and each number of sub-tasks done."""
    from actors.pocket.episodes.data import Cases

    rng, cases = np.random.default_rng(0), Cases(episodes.episodes)
    return [case for state in cases.states for case in cases.some(state, num_cases, rng)]


def report(judged: list[HeldOutEpisodes]) -> str:
    """Tables in Markdown: balanced accuracy by split, kind of chain, scale and mode, and confusion at three levels."""
    from actors.pocket.frames.evaluation import balanced_accuracy, confusion

    lines = ["| split | chain | mode | cases | n = 2 | n = 3 | n = 4 | n = 5 |", "|---|---|---|---|---|---|---|---|"]
    crossed = ["| split | chain | mode | Bad | Average | Good |", "|---|---|---|---|---|---|"]
    by_key = {(one.split, one.judged.mode, one.judged.num_ratings): one for one in judged}
    for split, mode in itertools.product(HELD_OUT, ("answer_only", "two_turn")):
        of_scale = {n: by_key[split, mode, n] for n in SCALE_WORDS if (split, mode, n) in by_key}
        for kinds in (*KINDS, None):
            counts = {}
            for n, one in of_scale.items():
                rows = np.array([kinds in (None, own) for own in one.kinds])
                counts[n] = confusion(one.judged.true[rows], one.judged.chosen[rows], n)
            name = "all" if kinds is None else ", ".join(kinds)
            cells = " | ".join(f"{balanced_accuracy(of_n):.3f}" for of_n in counts.values())
            lines.append(f"| {split} | {name} | {mode} | {counts[3].sum()} | {cells} |")
            rows_of_3 = " | ".join(" / ".join(map(str, row)) for row in counts[3].tolist())
            crossed.append(f"| {split} | {name} | {mode} | {rows_of_3} |")
    title = "Confusion at n = 3: a cell for each true level, with how often Bad, Average and Good were chosen.\n"
    return "\n".join([*lines, "", title, *crossed]) + "\n"


def draw_episodes(split: Split, number: int, seed: int) -> list[Watched]:
    """That many episodes, drawn in processes that never import torch; those without a level are left out."""
    size = EPISODES_PER_TASK
    jobs = [(split, first, min(size, number - first), seed) for first in range(0, number, size)]
    with fresh_processes() as pool:
        return [one for part in pool.map(_draw_some, jobs) for one in part]


def _draw_some(job: tuple[Split, int, int, int]) -> list[Watched]:
    split, first, number, seed = job
    environments = [ChainEnvironment(rooms, seed, with_frames=False, measures=False) for rooms in ROOMS]
    drawn = []
    for index in range(first, first + number):
        which = index % len(ROOMS)
        kinds = [chain for chain in KINDS if "open" not in chain or ROOMS[which].num_cols > 1]
        # The shortest is the beginning of all others, and is watched with them.
        chain = kinds[1 + index // len(ROOMS) % (len(kinds) - 1)]
        task = ChainTask(split, index, len(chain), chain)
        try:
            drawn.append(watch(environments[which], seed, task, 2 * kinds, SUBTASK_ENV_STEPS * len(chain)))
        except ValueError:
            continue
    return drawn


def tiled(watched: Watched, quarters: int = 0, mirrored: bool = False) -> "TiledEpisode":
    """The episode as the rater learns it, in its level turned and mirrored. A chain's first sub-task alone is a chain
    too."""
    from actors.pocket.episodes.data import TiledChain, TiledEpisode
    from actors.pocket.episodes.words import thing_named

    chains = []
    for one in watched.chains:
        named = tuple(tuple(thing_named(*thing) for thing in things) for things in one.named)
        chain = TiledChain(one.instruction, one.kinds, named, one.num_done)
        chains += [chain, chain.first(1)] if len(one.kinds) > 1 else [chain]
    return TiledEpisode(tiles.codes_of(tiles.turned(watched.symbolic, quarters, mirrored)), tuple(chains))


def episodes_to_learn(watched: list[Watched], num_views: int, seed: int) -> list["TiledEpisode"]:
    """Every episode in several views."""
    rng = np.random.default_rng(seed)
    return [tiled(one, int(rng.integers(4)), bool(rng.integers(2))) for one in watched for _ in range(num_views)]


def with_tiles(episodes: list["TiledEpisode"]) -> "Episodes":
    """Episodes with what their codes mean."""
    from actors.pocket.episodes.data import Episodes
    from actors.pocket.episodes.words import COLOURS, THINGS
    from actors.pocket.episodes.words import KINDS as KINDS_OF_THINGS

    looks = tiles.tiles(ROOMS[0].tile_px)
    codes, things = np.arange(tiles.NUM_CODES), np.full(tiles.NUM_CODES, -1)
    for kind in KINDS_OF_THINGS:
        for colour in COLOURS:
            things[tiles.holds(codes, kind, colour)] = THINGS.index(f"{colour} {kind}")
    return Episodes(episodes, looks.pixels, looks.contents, things, tiles.opened(codes))


def levels() -> dict[tuple[int, int], tuple[int, ...]]:
    """The true level by number of ratings, number of sub-tasks, and how many of them are done."""
    longest = max(map(len, KINDS))
    return {
        (n, length): tuple(level_of(np.arange(length + 1) / length, n).tolist())
        for n in SCALE_WORDS
        for length in range(1, longest + 1)
    }


def task_text() -> TaskText:
    """What runs tell the rater, but for the episode's instruction."""
    return TaskText(TASK.instruction, TASK.focus, TASK.agent)
