"""What `likert judge` does and prints."""

from collections.abc import Sequence
from pathlib import Path

from actors.rating.backend import Needs
from algorithms.progress_prompts import VERDICTS
from algorithms.ratings import RaterIdentity
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.judging.asking import Drawn, ask_rater, draw_trajectories, first_questions
from orchestrator.judging.report import RaterResult, write_judgement
from orchestrator.judging.settings import JudgeSettings, load_judging
from orchestrator.ratings.answer_counts import AnswerCounts
from orchestrator.ratings.asking import asking
from orchestrator.ratings.score_service import ScoreService
from orchestrator.screen.work_progress import WorkProgress
from orchestrator.settings.preflight import check_context, check_model, check_writable
from orchestrator.settings.served import as_served


def judge(file: Path, overrides: Sequence[str]) -> None:
    """Judge the raters that a settings file names. Raises LikertError."""
    settings = load_judging(file, overrides)
    raters = {name: as_served(rater) for name, rater in settings.raters.items()}
    settings = settings.model_copy(update={"raters": raters})
    dataset = TrajectoryDataset(settings.data)
    for rater in settings.raters.values():
        if rater.endpoint is None:
            check_model(rater)
    check_writable("out", settings.out)
    check_writable("ratings_folder", settings.ratings_folder)
    drawn = draw_trajectories(dataset, settings)
    for name, rater in settings.raters.items():
        asked = first_questions(dataset, drawn, settings, rater.mode)
        what = f"questions to raters.{name}"
        check_context(rater, asked, what, " or num_frames", settings.tolerated_failure_share)
    results = []
    for name, rater in settings.raters.items():
        needs = Needs(VERDICTS, num_pictures=settings.num_frames)
        with asking(rater, settings.ratings_folder, f"judge-{name}", needs) as (service, identity):
            results.append(judge_rater(settings, name, dataset, drawn, service, identity))
    for path in write_judgement(results, settings):
        print(path)


def judge_rater(
    settings: JudgeSettings,
    name: str,
    dataset: TrajectoryDataset,
    drawn: list[Drawn],
    service: ScoreService,
    identity: RaterIdentity,
) -> RaterResult:
    """Ask one rater, and show how far it is."""
    total = len(drawn) * (1 + len(settings.negatives))
    with WorkProgress(f"judging {name}", total, "questions") as progress:

        def show(counts: AnswerCounts) -> None:
            facts = f"{counts.from_store:,} from the store, {counts.failed:,} failed"
            progress.update(counts.windows, facts, free=counts.from_store)

        verdicts = ask_rater(settings, settings.raters[name], dataset, drawn, service, show)
    return RaterResult(name, identity, verdicts)
