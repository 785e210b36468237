"""What `likert label` does with `labeller: {kind: likert}`: ERL-VLM on recordings."""

import itertools
import time

from actors.rating.labellers.settings import LikertLabeller
from algorithms.reward_networks import frame_features
from algorithms.scales import RatingScale
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import SettingsError
from orchestrator.labelling.likert import LikertLabelling, about_ratings, needs_of_ratings, requests, unlabelled_parts
from orchestrator.labelling.likert_moments import draw_moments, lengths_by_instruction
from orchestrator.labelling.settings import LabelSettings
from orchestrator.labelling.telling import Teller, facts_of, print_outcome
from orchestrator.ratings.answer_counts import AnswerCounts
from orchestrator.ratings.asking import asking_ratings
from orchestrator.ratings.store import RatingStore
from orchestrator.screen.work_progress import WorkProgress
from orchestrator.settings.preflight import check_context, check_model, check_writable
from orchestrator.settings.served import expected_identity

LOOKED_AT = 64
"""Questions that are counted before a rater is loaded."""


def label_by_ratings(settings: LabelSettings, dataset: TrajectoryDataset, dry_run: bool) -> None:
    """Label, or with `dry_run` say how much there is to do. Raises LikertError."""
    labeller = settings.labeller
    assert isinstance(labeller, LikertLabeller)
    if settings.rater.endpoint is None:
        check_model(settings.rater)
    check_frames(dataset, labeller)
    moments = draw_moments(lengths_by_instruction(dataset), labeller)
    num_questions = sum(map(len, moments.values()))
    if dry_run:
        about = about_ratings(settings, expected_identity(settings.rater))
        todo = len(unlabelled_parts(settings, dataset, about))
        print(
            f"{settings.data}: {len(dataset.parts) - todo} of {len(dataset.parts)} parts are labelled; "
            f"{num_questions if todo else 0:,} ratings would be asked, of {len(moments):,} instructions; what is in "
            "the store costs nothing"
        )
    asked = list(itertools.islice(requests(settings, dataset, moments), LOOKED_AT))
    check_context(settings.rater, asked, "questions", " or labeller.num_frames", settings.tolerated_failure_share)
    if dry_run:
        return
    check_writable("data", settings.data)
    check_writable("ratings_folder", settings.ratings_folder)
    store, name = RatingStore(settings.ratings_folder), f"label-{dataset.info.name}"
    started = time.monotonic()
    with asking_ratings(settings.rater, store, name, needs_of_ratings(labeller)) as (service, identity):
        title = f"{settings.name} of {dataset.info.name}"
        with WorkProgress(title, num_questions, "ratings") as progress:

            def show(phase: str, counts: AnswerCounts) -> None:
                facts = facts_of(counts, settings.price, time.monotonic() - started)
                progress.update(counts.windows, f"{phase}; {facts}", free=counts.from_store)

            labelling = LikertLabelling(settings, dataset, service, identity, Teller(progress).tell, show)
            num_parts = labelling.run()
    print_outcome(settings, dataset, num_parts, labelling.counts)
    about = TrajectoryDataset(settings.data).info.labels[next(iter(settings.rewards))]
    for line in outcome_lines(about["instructions"], labeller):
        print(line)


def check_frames(dataset: TrajectoryDataset, labeller: LikertLabeller) -> None:
    """Raise SettingsError if the set's frames are smaller than what the reward model sees, or that is too small."""
    try:
        frame_features(labeller.reward_model.network, labeller.reward_model.image_px)
    except ValueError as error:
        raise SettingsError(f"labeller.{error}") from None
    px, recorded = labeller.reward_model.image_px, dataset.info.frame_px
    if recorded is not None and min(recorded) < px:
        raise SettingsError(
            f"labeller.reward_model.image_px = {px}: frames of {recorded[1]} x {recorded[0]} pixels are smaller; lower "
            "it, or import larger frames by frame_px"
        )


def outcome_lines(instructions: dict[str, dict], labeller: LikertLabeller, most: int = 20) -> list[str]:
    """Ratings by level, and how far each reward model agrees with ratings that it did not learn from."""
    words = RatingScale.likert(labeller.num_ratings).words
    lines = []
    for text, one in list(instructions.items())[:most]:
        levels = ", ".join(f"{number} {word}" for word, number in zip(words, one["ratings"], strict=True))
        agreement = one["held_out_agreement"]
        agrees = "not known" if agreement is None else f"{agreement:.0%} of pairs in order (chance 50%)"
        learned = "" if one["learned"] else "; all of one level, so its actions have no label"
        lines.append(f"{text!r}: {levels}; {one['held_out']} held-out ratings: {agrees}{learned}")
    return lines + ([f"and {len(instructions) - most} more, in metadata.json"] if len(instructions) > most else [])
