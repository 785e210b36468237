"""What `likert label` does and prints."""

import time
from collections.abc import Sequence
from pathlib import Path

from actors.rating.backend import Needs
from algorithms.ratings import RaterIdentity
from algorithms.scoring_prompts import SCORE_LETTERS, SCORING_PROMPT_VERSION, scores_schema
from orchestrator.cluster.placement import Demand
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.labelling.estimate import Estimate, estimate
from orchestrator.labelling.seen_windows import WindowsSeen, see_windows
from orchestrator.labelling.settings import LabelSettings, PriceSettings, load_labelling
from orchestrator.labelling.telling import Teller, facts_of, print_outcome
from orchestrator.labelling.window_stream import stream_windows
from orchestrator.labelling.windows import Labelling, is_labelled, is_noted
from orchestrator.ratings.answer_counts import AnswerCounts
from orchestrator.ratings.asking import asking
from orchestrator.ratings.score_service import ScoreService
from orchestrator.ratings.score_store import ScoreStore
from orchestrator.screen.run_progress import clock
from orchestrator.screen.work_progress import WorkProgress
from orchestrator.settings.preflight import check_context, check_model, check_writable
from orchestrator.settings.served import as_served, expected_identity


def label(file: Path, overrides: Sequence[str], dry_run: bool) -> None:
    """Label the data set that a settings file names, or with `dry_run` say what that would ask. Raises LikertError."""
    settings = load_labelling(file, overrides)
    settings = settings.model_copy(update={"rater": as_served(settings.rater)})
    dataset = TrajectoryDataset(settings.data)
    if settings.labeller.kind == "likert":
        from orchestrator.labelling.likert_command import label_by_ratings

        label_by_ratings(settings, dataset, dry_run)
        return
    if settings.labeller.kind != "rg_vlm":
        from orchestrator.labelling.labeller_command import label_with

        label_with(settings, dataset, dry_run)
        return
    if settings.rater.endpoint is None:
        check_model(settings.rater)
    if dry_run:
        _print_estimate(settings, dataset)
        return
    _check_windows_fit(settings, see_windows(dataset, dataset.parts, settings.window, settings.mode))
    check_writable("data", settings.data)
    check_writable("ratings_folder", settings.ratings_folder)
    run_labelling(settings, dataset)


def _check_windows_fit(settings: LabelSettings, seen: WindowsSeen) -> None:
    less = ", window.num_actions or window.frame_px"
    check_context(settings.rater, seen.drawn, "windows", less, settings.tolerated_failure_share)
    # One alone is no reason to label none of the others.
    check_context(settings.rater, seen.longest, "windows, the one with the most words,", less, tolerated=1.0)


def run_labelling(settings: LabelSettings, dataset: TrajectoryDataset) -> AnswerCounts:
    """Start what is needed, label, and put it away again."""
    readers = Demand("reader", settings.num_readers, {"CPU": 1.0}, "num_readers")
    name = f"label-{dataset.info.name}"
    with asking(settings.rater, settings.ratings_folder, name, needs_of(settings), [readers]) as (service, identity):
        return _label_all(settings, dataset, service, identity)


def needs_of(settings: LabelSettings) -> Needs:
    """What windows of actions ask of a rater: a list of scores, or the probabilities of letters."""
    if settings.mode == "logits":
        return Needs(SCORE_LETTERS, probabilities=True)
    return Needs(schema=scores_schema(settings.window.num_actions))


def _label_all(
    settings: LabelSettings, dataset: TrajectoryDataset, service: ScoreService, identity: RaterIdentity
) -> AnswerCounts:
    parts = [part for part in dataset.parts if not _done(settings, dataset, part, identity)]
    total = see_windows(dataset, parts, settings.window, settings.mode).counts.total()
    started = time.monotonic()
    with WorkProgress(f"labels of {dataset.info.name}", total, "windows") as progress:
        teller = Teller(progress)

        def show(counts: AnswerCounts) -> None:
            facts = facts_of(counts, settings.price, time.monotonic() - started)
            progress.update(counts.windows, facts, free=counts.from_store)

        labelling = Labelling(settings, dataset, service, identity, teller.tell, show)
        if parts or not is_noted(dataset, settings):
            labelling.run(stream_windows(settings.data, parts, settings.window, settings.num_readers))
    counts = labelling.counts
    print_outcome(settings, dataset, len(parts), counts)
    return counts


def _done(settings: LabelSettings, dataset: TrajectoryDataset, part: str, identity: RaterIdentity) -> bool:
    digest = settings.digest(identity.model, identity.revision, SCORING_PROMPT_VERSION)
    return is_labelled(dataset, part, settings, digest)


def _print_estimate(settings: LabelSettings, dataset: TrajectoryDataset) -> None:
    identity = expected_identity(settings.rater)
    parts = [part for part in dataset.parts if not _done(settings, dataset, part, identity)]
    seen = see_windows(dataset, parts, settings.window, settings.mode)
    found = estimate(settings, dataset, seen, len(parts), identity, ScoreStore(settings.ratings_folder))
    for line in estimate_lines(settings, found):
        print(line)
    _check_windows_fit(settings, seen)


def estimate_lines(settings: LabelSettings, found: Estimate) -> list[str]:
    """An estimate in words."""
    lines = [
        f"{settings.data}: {found.num_parts_done} of {found.num_parts} parts are labelled; the others have "
        f"{found.num_windows:,} windows with {found.num_actions:,} actions",
        f"tokens: {found.prompt_tokens:,} to read, {found.completion_tokens:,} to write ({_source(settings, found)})",
    ]
    if found.duration_s is not None:
        lines.append(f"time: {clock(found.duration_s)} at {found.windows_per_s:.1f} windows/s, as the store measured")
    else:
        lines.append("time: unknown, because this rater has answered too little yet")
    if settings.price != PriceSettings():
        lines.append(f"cost: {found.cost(settings.price):,.2f}")
    return [*lines, "Windows that are in the store already cost nothing; only asking tells which those are."]


def _source(settings: LabelSettings, found: Estimate) -> str:
    """How sure the tokens are."""
    if found.num_measured:
        return f"the mean of {found.num_measured:,} answers of this rater about this set in {settings.ratings_folder}"
    counted = "all" if found.num_drawn == found.num_windows else f"{found.num_drawn:,} drawn"
    how = "by the model's tokenizer" if found.is_exact else "each byte of text as a token: as a rule a token is 3 or 4"
    return f"at most; counted in {counted} of {found.num_windows:,} windows, {how}"
