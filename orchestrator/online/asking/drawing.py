"""What may be asked: segments, or pairs, that are drawn, with their pictures, as questions."""

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np

from algorithms.pairs import PairDraw
from algorithms.replay import ColumnarReplay
from algorithms.segments import Segment, SegmentDraw
from orchestrator.online.asking.in_doubt import in_one_turn
from orchestrator.online.frames.step_frames import StepFrames
from orchestrator.online.questions import QuestionMaker
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.question import Question
from orchestrator.ratings.service import RatingService

MOST_REPEATS = 20
"""For each rating of a session so many segments are drawn at most whose pictures were rated before."""


@dataclass(frozen=True)
class Drawing:
    """Draws until there is something to ask that the run has not had rated."""

    experiment: OnlineExperiment
    frames: StepFrames
    service: RatingService
    maker: QuestionMaker

    def questions(
        self, draw: SegmentDraw | PairDraw, number: int, replay: ColumnarReplay, env_steps: int, rated: Set[str]
    ) -> tuple[list[tuple[Segment, Question]], int]:
        """Up to `number` segments with their questions, and how many others were left out because the run has had their
        pictures rated, under one of the keys `rated`, or pairs because both look the same."""
        ask_again = self.experiment.feedback.ask_again
        known, chosen, num_repeats = set(rated), [], 0
        while len(chosen) < number and num_repeats <= MOST_REPEATS * number:
            segments = draw.draw(number - len(chosen))
            if not segments:
                break
            for segment, pngs in zip(segments, self._pngs(replay, segments), strict=True):
                instruction = replay.instructions(segment.indices[-1:])[0]
                question = self.maker.question(pngs, env_steps, self._success(replay, segment), instruction)
                keys = self._keys(question)
                same = self.experiment.compares and pngs[0] == pngs[1]
                if same or (keys & known and not ask_again):
                    num_repeats += 1
                    continue
                known |= keys
                chosen.append((segment, question))
        return chosen, num_repeats

    def _keys(self, question: Question) -> set[str]:
        """Under which the answer to a question may be known."""
        asked = [question] if self.experiment.feedback.analyse_below is None else [question, in_one_turn(question)]
        return {self.service.key(one.request) for one in asked}

    def _pngs(self, replay: ColumnarReplay, segments: Sequence[Segment]) -> list[list[bytes]]:
        """PNG files of each segment's frames."""
        if not self.experiment.compares:
            return self.frames.pngs(replay, [segment.indices for segment in segments])
        # Moments of a pair may be of different episodes, which are drawn apart.
        moments = self.frames.pngs(replay, [index for segment in segments for index in np.split(segment.indices, 2)])
        return [[*first, *second] for first, second in zip(moments[0::2], moments[1::2], strict=True)]

    def _success(self, replay: ColumnarReplay, segment: Segment) -> bool | None:
        if self.experiment.compares or not self.experiment.task.knows_success:
            return None
        return bool(replay.successes(segment.indices)[-1])
