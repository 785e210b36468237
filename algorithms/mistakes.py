"""Mistakes put into a rater's answers on purpose: what would a worse rater have led to?"""

from dataclasses import replace

import numpy as np

from algorithms.ratings import Rating
from algorithms.settings import MistakeSettings


def mistaken(rating: Rating, settings: MistakeSettings, num_levels: int, seed: int) -> Rating:
    """`rating`, or in `settings.share` of all cases another one of the first `num_levels` levels, each as likely.

    An answer beyond those levels, such as "cannot tell", stays. What becomes of an answer depends on its key and `seed`
    alone, so that a rater asked again makes the same mistake, whenever that is and whatever else it is asked.

    Of confidence `sure`, the probabilities of the right level and of the wrong one are exchanged. Of `doubtful`, twice
    that share of all answers, half of them mistakes, is in doubt between the two: the level that is answered has
    between a half and all of what both had together. An answer without probabilities counts as certain there.
    """
    right = rating.rating
    rng = np.random.default_rng([seed, int(rating.key[:16], 16)])
    chance, other, kept = rng.random(), int(rng.integers(num_levels - 1)), rng.uniform(0.5, 1.0)
    is_doubtful = settings.confidence == "doubtful"
    if right >= num_levels or chance >= settings.share * (2 if is_doubtful else 1):
        return rating
    wrong = other + (other >= right)
    answer, not_it = (wrong, right) if chance < settings.share else (right, wrong)
    if not rating.probabilities and not is_doubtful:
        return replace(rating, rating=answer)
    told = list(rating.probabilities) or [float(level == right) for level in range(num_levels)]
    if is_doubtful:
        both = told[right] + told[wrong]
        told[answer], told[not_it] = kept * both, (1.0 - kept) * both
    else:
        told[right], told[wrong] = told[wrong], told[right]
    return replace(rating, rating=answer, probabilities=tuple(told))
