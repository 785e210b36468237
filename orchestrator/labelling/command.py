"""What `likert label` does and prints."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ray

from actors.rating.models import rater_identity, resolve_model
from actors.rating.settings import RaterSettings
from algorithms.ratings import RaterIdentity
from algorithms.scoring_prompts import SCORING_PROMPT_VERSION
from orchestrator.cluster import actors as cluster
from orchestrator.cluster.placement import Demand, raters_demand
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import SettingsError
from orchestrator.labelling.estimate import Estimate, cost_of, count_windows, estimate
from orchestrator.labelling.settings import LabelSettings, PriceSettings, load_labelling
from orchestrator.labelling.window_stream import stream_windows
from orchestrator.labelling.windows import LabelCounts, Labelling, is_labelled
from orchestrator.ratings import shared_server
from orchestrator.ratings.score_service import ScoreService
from orchestrator.ratings.score_store import ScoreStore
from orchestrator.screen.run_progress import clock
from orchestrator.screen.work_progress import WorkProgress
from orchestrator.settings.preflight import check_writable
from orchestrator.storage.locations import RemotePath

PROBLEMS_TOLD = 100
"""Problems printed while labelling; `likert data check` prints all."""


def label(file: Path, overrides: Sequence[str], dry_run: bool) -> None:
    """Label the data set that a settings file names, or with `dry_run` say what that would ask. Raises LikertError."""
    settings = load_labelling(file, overrides)
    dataset = TrajectoryDataset(settings.data)
    if settings.labeller.kind != "rg_vlm":
        from orchestrator.labelling.labeller_command import label_with

        label_with(settings, dataset, dry_run)
        return
    if settings.rater.endpoint is None:
        check_model(settings.rater)
    if dry_run:
        _print_estimate(settings, dataset)
        return
    check_writable("data", settings.data)
    check_writable("ratings_folder", settings.ratings_folder)
    run_labelling(settings, dataset)


def run_labelling(settings: LabelSettings, dataset: TrajectoryDataset) -> LabelCounts:
    """Start what is needed, label, and put it away again."""
    readers = Demand("reader", settings.num_readers, {"CPU": 1.0}, "num_readers")
    name = f"label-{dataset.info.name}"
    with asking(settings.rater, settings.ratings_folder, name, [readers]) as (service, identity):
        return _label_all(settings, dataset, service, identity)


@contextmanager
def asking(
    rater: RaterSettings, ratings_folder: Path | RemotePath, name: str, others: Sequence[Demand] = ()
) -> Iterator[tuple[ScoreService, RaterIdentity]]:
    """Ray with a rater in it, loaded, until the end of the block. `name` is what a shared rater knows the asker by;
    `others` are demands of the asker's own."""
    cluster.connect([*others, *([] if rater.server else [raters_demand(rater)])])
    try:
        servers = shared_server.attach(rater) if rater.server else cluster.start_rating_servers(rater)
        service = ScoreService(ScoreStore(ratings_folder), servers, rater, name)
        try:
            print("loading the rater", file=sys.stderr, flush=True)
            yield service, service.finish_start()
        finally:
            service.close()
    finally:
        ray.shutdown()


def _label_all(
    settings: LabelSettings, dataset: TrajectoryDataset, service: ScoreService, identity: RaterIdentity
) -> LabelCounts:
    parts = [part for part in dataset.parts if not _done(settings, dataset, part, identity)]
    total = count_windows(dataset, parts, settings.window).total()
    started = time.monotonic()
    with WorkProgress(f"labels of {dataset.info.name}", total, "windows") as progress:
        teller = Teller(progress)

        def show(counts: LabelCounts) -> None:
            facts = facts_of(counts, settings.price, time.monotonic() - started)
            progress.update(counts.windows, facts, free=counts.from_store)

        labelling = Labelling(settings, dataset, service, identity, teller.tell, show)
        if parts:
            labelling.run(stream_windows(settings.data, parts, settings.window, settings.num_readers))
    counts = labelling.counts
    print_outcome(settings, dataset, len(parts), counts)
    return counts


def print_outcome(settings: LabelSettings, dataset: TrajectoryDataset, num_parts: int, counts: LabelCounts) -> None:
    """What a labelling of `num_parts` parts came to."""
    names = ", ".join(f"reward_{name}" for name in settings.rewards)
    print(f"{settings.data}: {counts.actions:,} actions labelled in {num_parts} of {len(dataset.parts)} parts: {names}")
    if counts.failed:
        print(
            f"{counts.failed:,} questions got no answer and left their actions without a label (first: "
            f"{counts.first_failure}); the same command asks them again"
        )
    if counts.problems:
        print(f"{counts.problems:,} problems in the data; what has none was labelled. `likert data check` lists them")


class Teller:
    """Prints problems, up to a number."""

    def __init__(self, progress: WorkProgress) -> None:
        self._progress = progress
        self._number = 0

    def tell(self, problem: object) -> None:
        """Print one."""
        self._number += 1
        if self._number <= PROBLEMS_TOLD:
            self._progress.note(str(problem))
        elif self._number == PROBLEMS_TOLD + 1:
            self._progress.note("more problems; `likert data check` lists them all")


def facts_of(counts: LabelCounts, price: PriceSettings, duration_s: float) -> str:
    """What progress says beside the number of windows."""
    tokens = f"{counts.prompt_tokens:,} tokens read, {counts.completion_tokens:,} written"
    facts = [f"{counts.from_store:,} from the store", f"{counts.failed:,} failed", tokens]
    if price != PriceSettings():
        cost = cost_of(price, counts.prompt_tokens, counts.completion_tokens, duration_s)
        facts.append(f"cost {cost:.2f}")
    return ", ".join(facts)


def _done(settings: LabelSettings, dataset: TrajectoryDataset, part: str, identity: RaterIdentity) -> bool:
    digest = settings.digest(identity.model, identity.revision, SCORING_PROMPT_VERSION)
    return is_labelled(dataset, part, settings, digest)


def check_model(rater: RaterSettings) -> None:
    """Raise SettingsError if there is no such model here, or if it does not fit."""
    try:
        resolve_model(rater)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _print_estimate(settings: LabelSettings, dataset: TrajectoryDataset) -> None:
    rater = settings.rater
    # What an endpoint serves is not asked for an estimate.
    identity = RaterIdentity(rater.model, rater.revision or "endpoint") if rater.endpoint else rater_identity(rater)
    parts = [part for part in dataset.parts if not _done(settings, dataset, part, identity)]
    for line in estimate_lines(
        settings, estimate(settings, dataset, parts, identity, ScoreStore(settings.ratings_folder))
    ):
        print(line)


def estimate_lines(settings: LabelSettings, found: Estimate) -> list[str]:
    """An estimate in words."""
    lines = [
        f"{settings.data}: {found.num_parts_done} of {found.num_parts} parts are labelled; the others have "
        f"{found.num_windows:,} windows with {found.num_actions:,} actions",
        f"tokens: {found.prompt_tokens:,} to read, {found.completion_tokens:,} to write "
        + (
            f"(the mean of {found.num_measured:,} answers of this rater in {settings.ratings_folder})"
            if found.num_measured
            else "at most (calculated from picture and text)"
        ),
    ]
    if found.duration_s is not None:
        lines.append(f"time: {clock(found.duration_s)} at {found.windows_per_s:.1f} windows/s, as the store measured")
    else:
        lines.append("time: unknown, because this rater has answered too little yet")
    if settings.price != PriceSettings():
        lines.append(f"cost: {found.cost(settings.price):,.2f}")
    return [*lines, "Windows that are in the store already cost nothing; only asking tells which those are."]
