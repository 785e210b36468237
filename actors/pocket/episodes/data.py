"""What the pocket rater learns episodes from: frames as tiles, and how far chains were at every moment."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actors.pocket.episodes import NUM_FRAMES
from actors.pocket.episodes.words import NOTHING, NUM_PORTABLE, THEN, THINGS, Sights, subtask_in_words, thing_named
from algorithms.segments import frame_offsets

ENDS_SHARE = 0.3
"""Share of unfinished episodes that end where the chain's state does: at the limit, or just before a sub-task is done.
The others end anywhere."""


Named = tuple[frozenset[int], ...]
"""The things that a sub-task names, one after the other, each by the numbers of what is meant."""


@dataclass(frozen=True)
class TiledChain:
    """A chain that an episode was watched for."""

    instruction: str
    kinds: tuple[str, ...]
    named: tuple[Named, ...]
    """For each sub-task the things that it names, in order, by number."""
    num_done: np.ndarray
    """int8 [T + 1]: sub-tasks done so far."""

    @property
    def num_subtasks(self) -> int:
        """Of the chain."""
        return len(self.kinds)

    def first(self, number: int) -> "TiledChain":
        """The chain of its first sub-tasks alone."""
        words = THEN.join(self.instruction.split(THEN)[:number])
        return TiledChain(words, self.kinds[:number], self.named[:number], np.minimum(self.num_done, number))


@dataclass(frozen=True)
class TiledEpisode:
    """T steps as T + 1 frames of codes of tiles."""

    codes: np.ndarray
    """int16 [T + 1, CELLS, CELLS]."""
    chains: tuple[TiledChain, ...]


@dataclass(frozen=True)
class Episodes:
    """What is learnt from, or judged on."""

    episodes: list[TiledEpisode]
    pixels: np.ndarray
    """uint8 [codes, 7, 7, 3]: what a tile looks like."""
    contents: np.ndarray
    """int64 [codes]: what a tile holds."""
    things: np.ndarray
    """int64 [codes]: number of the thing that a tile shows; NOTHING for floor and walls."""
    opened: np.ndarray
    """bool [codes]: a tile shows an open door."""


@dataclass(frozen=True)
class Case:
    """One episode that ended at some step, as a rater is asked about it for one chain."""

    codes: np.ndarray
    """int16 [NUM_FRAMES, CELLS, CELLS]: the frames that are shown."""
    chain: TiledChain
    shown: np.ndarray
    """int64 [NUM_FRAMES]: steps taken before each of them."""

    @property
    def num_done(self) -> int:
        """Sub-tasks done at the end."""
        return int(self.chain.num_done[self.shown[-1]])

    @property
    def done(self) -> np.ndarray:
        """Whether each sub-task is done by each frame, bool [sub-tasks, NUM_FRAMES]."""
        return self.chain.num_done[self.shown] > np.arange(self.chain.num_subtasks)[:, None]


class Cases:
    """Draws cases: chains of all kinds, with each number of sub-tasks done equally often."""

    def __init__(self, episodes: list[TiledEpisode]) -> None:
        self._episodes = episodes
        self._spans: dict[tuple, list[tuple[int, int, int, int]]] = defaultdict(list)
        for number, episode in enumerate(episodes):
            for which, chain in enumerate(episode.chains):
                for done in range(chain.num_subtasks + 1):
                    steps = np.flatnonzero(chain.num_done == done)
                    # With the last sub-task an episode is over.
                    last = steps[:1] if done == chain.num_subtasks else steps[-1:]
                    if len(steps) and last[0] > 0:
                        first = last[0] if done == chain.num_subtasks else max(1, steps[0])
                        self._spans[chain.kinds, done].append((number, which, int(first), int(last[0])))
        self.states = sorted(self._spans)
        """Pairs of a chain's kinds and of how many are done, that there are."""

    def draw(self, rng: np.random.Generator) -> Case:
        """One in any state, equally often in each."""
        spans = self._spans[self.states[int(rng.integers(len(self.states)))]]
        return self._cut(spans[int(rng.integers(len(spans)))], rng)

    def some(self, state: tuple, count: int, rng: np.random.Generator) -> list[Case]:
        """Up to `count` in one of `states`, all of different episodes or chains."""
        chosen = [self._spans[state][index] for index in rng.permutation(len(self._spans[state]))[:count]]
        return [self._cut(span, rng) for span in chosen]

    def _cut(self, span: tuple[int, int, int, int], rng: np.random.Generator) -> Case:
        number, which, first, last = span
        end = last if rng.random() < ENDS_SHARE else int(rng.integers(first, last + 1))
        return case_of(self._episodes[number], which, end)


def case_of(episode: TiledEpisode, which: int, num_steps: int) -> Case:
    """The case of one of an episode's chains, as if it had ended after so many steps. Frames are those that runs show:
    what was seen after a step."""
    shown = 1 + frame_offsets(num_steps, NUM_FRAMES)
    return Case(episode.codes[shown], episode.chains[which], shown)


def images(codes: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Pictures uint8 [..., 56, 56, 3] of frames of codes [..., CELLS, CELLS]."""
    rows = np.moveaxis(pixels[codes], -3, -4)
    *many, height, px, width, _, _ = rows.shape
    return rows.reshape(*many, height * px, width * px, 3)


def in_hand(things: np.ndarray) -> np.ndarray:
    """Number of what is carried, int64 [...], of frames of things [..., CELLS, CELLS]; it is drawn at the top right."""
    return things[..., 0, -1]


def pairs_of(things: np.ndarray) -> np.ndarray:
    """Which things lie beside which, bool [..., portable, things], of frames of things [..., CELLS, CELLS]."""
    rooms = things[..., 1:, 1:]
    found = np.zeros((*things.shape[:-2], NUM_PORTABLE, len(THINGS)), dtype=bool)
    for one, other in (
        (rooms[..., :-1], rooms[..., 1:]),
        (rooms[..., 1:], rooms[..., :-1]),
        (rooms[..., :-1, :], rooms[..., 1:, :]),
        (rooms[..., 1:, :], rooms[..., :-1, :]),
    ):
        places = np.nonzero((one >= 0) & (one < NUM_PORTABLE) & (other >= 0))
        found[(*places[:-2], one[places], other[places])] = True
    return found


def sights_of(codes: np.ndarray, tables: Episodes) -> Sights:
    """What frames of codes [F, CELLS, CELLS] show."""
    things = tables.things[codes]
    pairs = pairs_of(things[[0, -1]])
    beside = {(min(pair), max(pair)) for pair in np.argwhere(pairs[1] & ~pairs[0]).tolist()}
    before, after = (set(things[at][tables.opened[codes[at]]].tolist()) for at in (0, -1))
    return Sights(tuple(in_hand(things).tolist()), tuple(sorted(beside)), tuple(sorted(after - before)))


def facts_of(named: Sequence[Named], codes: np.ndarray, tables: Episodes) -> np.ndarray:
    """What sub-tasks are judged by, float32 [sub-tasks, 3, F], as frames of codes [F, CELLS, CELLS] show it: what each
    names first is in hand; its two things lie side by side; such a door is open."""
    things = tables.things[codes]
    held, pairs, opened = in_hand(things), pairs_of(things), np.where(tables.opened[codes], things, NOTHING)
    facts = np.zeros((len(named), 3, len(codes)), dtype=np.float32)
    for number, (first, *second) in enumerate(named):
        facts[number, 0] = np.isin(held, list(first))
        facts[number, 2] = np.isin(opened, list(first)).any(axis=(1, 2))
        if second and min(first) < NUM_PORTABLE:
            facts[number, 1] = pairs[:, sorted(first)][:, :, sorted(second[0])].any(axis=(1, 2))
    return facts


def sights_to_ask(codes: np.ndarray, tables: Episodes, count: int, rng: np.random.Generator) -> list[tuple[str, Named]]:
    """So many sub-tasks in words, and what they name, that are made up for frames of codes [F, CELLS, CELLS].

    About half are of something that a frame shows; the others name things that are there, and mostly are not so.
    """
    things, opened = tables.things[codes], tables.opened[codes]
    there, pairs = np.unique(things[things != NOTHING]), np.argwhere(pairs_of(things).any(axis=0))
    portable, doors = there[there < NUM_PORTABLE], there[there >= NUM_PORTABLE]
    held = in_hand(things)
    true_of = {"pickup": held[held != NOTHING][:, None], "open": things[opened][:, None], "putnext": pairs}
    asked = []
    for _ in range(count):
        kind = ("pickup", "putnext", "putnext", "open", "goto")[int(rng.integers(5))]
        choices = true_of.get(kind, there[:0, None])
        if len(choices) and rng.random() < 0.5:
            chosen = choices[int(rng.integers(len(choices)))].tolist()
        else:
            firsts = {"open": doors, "goto": there}.get(kind, portable)
            if not len(firsts):
                continue
            chosen = [int(rng.choice(firsts))] + ([int(rng.choice(there))] if kind == "putnext" else [])
        # As in chains, some are named by their kind alone.
        words = [THINGS[thing] if rng.random() < 0.7 else THINGS[thing].split()[1] for thing in chosen]
        named = tuple(thing_named(*one.split()) if " " in one else thing_named(None, one) for one in words)
        said = [f"{'a' if rng.random() < 0.4 else 'the'} {one}" for one in words]
        asked.append((subtask_in_words(kind, said), named))
    return asked
