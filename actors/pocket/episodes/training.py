"""Training of the pocket rater of episodes: see, then find what words mean, then speak, then all together.

1. `sight`: the vision tower learns from single pictures what lies in each cell, what is in hand, and which things lie
   side by side.
2. `ground`: the text model reads lists of sub-tasks that are made up for the pictures, on the tower's frozen tokens.
   Where one's words end, a linear head must tell, frame by frame, what it is judged by: from levels alone that takes
   too long to find out, and a list of many costs little more than one.
3. `text`: it learns every question, and where a sub-task's words end, by which frame that is done.
4. `joint`: both learn together.

The linear heads are thrown away.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from actors.pocket.episodes.data import (
    Case,
    Cases,
    Episodes,
    facts_of,
    images,
    in_hand,
    pairs_of,
    sights_of,
    sights_to_ask,
)
from actors.pocket.episodes.heads import GroundHeads, SightHeads
from actors.pocket.episodes.model import features_of, image_features, read
from actors.pocket.episodes.questions import EpisodeConversation, EpisodeQuestions
from actors.pocket.episodes.words import analysis_of
from actors.pocket.model import next_token_states
from actors.pocket.questions import joined
from actors.pocket.together import ALONE, OnStep, Peers
from actors.pocket.training import Trainer, answer_loss, half_precision
from algorithms.scales import SCALE_WORDS

GROUND_WEIGHT = 2.0
TURN_TWO_SHARE = 8
"""For so many cases one turn two is learnt, which has no pictures and is easily learnt."""


@dataclass(frozen=True)
class EpisodePlan:
    """How long each phase lasts and how large its steps are."""

    sight_steps: int = 2500
    sight_batch: int = 96
    text_pool: int = 4000
    """Cases whose tokens are computed once."""
    ground_steps: int = 2400
    ground_batch: int = 16
    ground_subtasks: int = 8
    """Sub-tasks that are asked about one case."""
    text_steps: int = 1000
    text_batch: int = 24
    joint_steps: int = 600
    joint_batch: int = 24
    learning_rate: float = 2e-3
    joint_learning_rate: float = 6e-4
    weight_decay: float = 0.05


class EpisodeTrainer(Trainer):
    """Trains one model on episodes drawn of tiles."""

    def __init__(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        questions: EpisodeQuestions,
        episodes: Episodes,
        plan: EpisodePlan,
        seed: int,
        on_step: OnStep,
        peers: Peers = ALONE,
    ) -> None:
        """`episodes` are this process's own; the plan's batches are shared among `peers`."""
        self._questions, self._episodes, self._plan = questions, episodes, plan
        self._cases = Cases(episodes.episodes)
        model.set_attn_implementation({"text_config": "sdpa"})
        self.sight_heads = SightHeads(_weights(episodes))
        self.ground_heads = GroundHeads()
        super().__init__(model, [self.sight_heads, self.ground_heads], plan.weight_decay, seed, on_step, peers)

    def fit(self) -> None:
        """All phases."""
        self.fit_sight()
        pool, known = self.known_cases()
        self.fit_ground(pool, known)
        self.fit_text(pool, known)
        self.fit_jointly()

    def fit_sight(self) -> None:
        """Phase 1."""

        def loss() -> Tensor:
            drawn = self._draw(self._plan.sight_batch)
            # One picture of each: those of one episode show much the same.
            places = self._rng.integers(len(drawn[0].codes), size=len(drawn))
            codes = np.stack([case.codes[place] for case, place in zip(drawn, places, strict=True)])
            return self._sight_loss(codes, image_features(self.model, self._images(codes)))

        tower = self.model.model.visual
        modules = [tower.blocks, tower.merger, self.sight_heads]
        self._learn("sight", modules, self._plan.sight_steps, self._plan.learning_rate, loss)

    def known_cases(self) -> tuple[list[Case], Tensor]:
        """Cases, and the tower's tokens of them as it is now, [cases, tokens, width]."""
        pool = self._draw(self._plan.text_pool)
        with half_precision():
            parts = [pool[at : at + 256] for at in range(0, len(pool), 256)]
            return pool, torch.cat([features_of(self.model, self._shown(part)).float() for part in parts])

    def fit_ground(self, pool: list[Case], known: Tensor) -> None:
        """Phase 2."""

        def loss() -> Tensor:
            some = self._rng.integers(len(pool), size=self._peers.share(self._plan.ground_batch))
            return self._ground_loss([pool[index] for index in some], known[torch.from_numpy(some)])

        modules = [self.model.model.language_model, self.ground_heads]
        self._learn("ground", modules, self._plan.ground_steps, self._plan.learning_rate, loss)

    def fit_text(self, pool: list[Case], known: Tensor) -> None:
        """Phase 3."""

        def loss() -> Tensor:
            some = self._rng.integers(len(pool), size=self._peers.share(self._plan.text_batch))
            return self._text_loss([pool[index] for index in some], known[torch.from_numpy(some)])

        modules = [self.model.model.language_model, self.ground_heads]
        self._learn("text", modules, self._plan.text_steps, self._plan.learning_rate, loss)

    def fit_jointly(self) -> None:
        """Phase 4."""

        def loss() -> Tensor:
            drawn = self._draw(self._plan.joint_batch)
            shown = self._shown(drawn)
            seen = image_features(self.model, shown.flatten(0, 1))
            ends = seen.view(*shown.shape[:2], *seen.shape[1:])[:, -1]
            sight = self._sight_loss(np.stack([case.codes[-1] for case in drawn]), ends)
            return 0.2 * sight + self._text_loss(drawn, seen.view(len(drawn), -1, seen.shape[-1]))

        tower = self.model.model.visual
        modules = [tower.blocks, tower.merger, self.model.model.language_model, self.sight_heads, self.ground_heads]
        self._learn("joint", modules, self._plan.joint_steps, self._plan.joint_learning_rate, loss)

    def _sight_loss(self, codes: np.ndarray, features: Tensor) -> Tensor:
        things = self._episodes.things[codes]
        contents, pairs = torch.from_numpy(self._episodes.contents[codes]), torch.from_numpy(pairs_of(things))
        return self.sight_heads.loss(features, contents, torch.from_numpy(in_hand(things)), pairs)

    def _text_loss(self, cases: list[Case], features: Tensor) -> Tensor:
        """Half of the cases are rated on one scale, the others described: rows of one kind have about one length, so
        little is padded."""
        half, num_ratings = len(cases) // 2, int(self._rng.choice(list(SCALE_WORDS)))
        rated = [self._rated(case, num_ratings) for case in cases[:half]]
        described = [self._described(case) for case in cases[half:]]
        loss = self._answer_loss(cases[half:], described, features[half:])
        if rated:
            loss = loss + self._answer_loss(cases[:half], rated, features[:half])
        return loss + self._rating_loss(max(1, len(cases) // TURN_TWO_SHARE), num_ratings)

    def _answer_loss(self, cases: list[Case], talks: list[EpisodeConversation], features: Tensor) -> Tensor:
        batch = self._questions.batch_of(talks)
        middle, last = read(self.model, batch.tokens, batch.positions, features.flatten(0, 1))
        facts = np.concatenate([facts_of(case.chain.named, case.codes, self._episodes) for case in cases])
        done = torch.from_numpy(np.concatenate([case.done for case in cases])).float()
        grounded = self.ground_heads.loss(_at_ends(middle, talks), torch.from_numpy(facts), done)
        return answer_loss(self.model, last, batch) + GROUND_WEIGHT * grounded

    def _ground_loss(self, cases: list[Case], features: Tensor) -> Tensor:
        count = self._plan.ground_subtasks
        asked = [sights_to_ask(case.codes, self._episodes, count, self._rng) for case in cases]
        talks = [self._questions.looking([words for words, _ in one]) for one in asked]
        batch = self._questions.batch_of(talks)
        middle, _ = read(self.model, batch.tokens, batch.positions, features.flatten(0, 1))
        facts = [
            facts_of([named for _, named in one], case.codes, self._episodes)
            for case, one in zip(cases, asked, strict=True)
        ]
        return self.ground_heads.loss(_at_ends(middle, talks), torch.from_numpy(np.concatenate(facts)), None)

    def _rating_loss(self, count: int, num_ratings: int) -> Tensor:
        """Turn two: texts only, every analysis of a chain equally often."""
        talks = []
        for _ in range(count):
            case = self._cases.draw(self._rng)
            chain, num_done = case.chain, int(self._rng.integers(case.chain.num_subtasks + 1))
            analysis = analysis_of(sights_of(case.codes, self._episodes), num_done, chain.num_subtasks)
            prompt = self._questions.rating(chain.instruction, num_ratings, analysis)
            level = self._questions.level(num_ratings, chain.num_subtasks, num_done)
            talks.append(joined([(prompt, False), (self._questions.labels[level], True)]))
        batch = self._questions.batch_of(talks)
        return answer_loss(self.model, next_token_states(self.model, batch.tokens, batch.positions, None), batch)

    def _rated(self, case: Case, num_ratings: int) -> EpisodeConversation:
        questions, chain = self._questions, case.chain
        level = questions.level(num_ratings, chain.num_subtasks, case.num_done)
        prompt = questions.answer_only(chain.instruction, num_ratings)
        return questions.answered(prompt, chain.instruction, questions.labels[level])

    def _described(self, case: Case) -> EpisodeConversation:
        questions, chain = self._questions, case.chain
        said = questions.answer(analysis_of(sights_of(case.codes, self._episodes), case.num_done, chain.num_subtasks))
        return questions.answered(questions.analysis(chain.instruction), chain.instruction, said)

    def _draw(self, count: int) -> list[Case]:
        """This process's share of so many cases."""
        return [self._cases.draw(self._rng) for _ in range(self._peers.share(count))]

    def _images(self, codes: np.ndarray) -> Tensor:
        return torch.from_numpy(images(codes, self._episodes.pixels))

    def _shown(self, cases: list[Case]) -> Tensor:
        """Pictures uint8 [B, NUM_FRAMES, 56, 56, 3]."""
        return self._images(np.stack([case.codes for case in cases]))


def _at_ends(states: Tensor, talks: list[EpisodeConversation]) -> Tensor:
    """States [sub-tasks, width] at the last words of all sub-tasks, of states [B, L, width]."""
    rows = np.repeat(np.arange(len(talks)), [len(talk.ends) for talk in talks])
    return states[rows, np.concatenate([talk.ends for talk in talks])]


def _weights(episodes: Episodes) -> Tensor:
    """Weights float32 [contents]: what is rare counts more. The mean over all cells is 1."""
    codes = np.concatenate([one.codes[::8].ravel() for one in episodes.episodes])
    counts = np.bincount(episodes.contents[codes], minlength=episodes.contents.max() + 1)
    weights = 1 / np.sqrt(counts + counts.sum() / 10_000)
    return torch.from_numpy(weights * counts.sum() / (weights * counts).sum()).float()
