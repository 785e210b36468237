"""A reward learner that can be told where to die. It imports torch, which the processes of other actors need not."""

from actors.reward.learner import RewardLearner
from tests.fakes.mortal import die_if


class MortalLearner(RewardLearner):
    """Dies in its second training, or in a scoring after the first, if its grave is dug."""

    def __init__(self, graves, *arguments):
        super().__init__(*arguments)
        self._graves = graves

    def train(self, ratings=None, weights=None):
        if self._version == 1:
            die_if(self._graves / "train")
        return super().train(ratings, weights)

    def score(self, inputs, instructions=()):
        if self._version == 1:
            die_if(self._graves / "score")
        return super().score(inputs, instructions)
