"""What `likert label` says while it labels and at its end, whichever labeller does it."""

from algorithms.delay import delay_warning
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.labelling.delay import DISCOUNT, delay_correlations
from orchestrator.labelling.estimate import cost_of
from orchestrator.labelling.settings import LabelSettings, PriceSettings
from orchestrator.ratings.answer_counts import AnswerCounts
from orchestrator.screen.counts import counted
from orchestrator.screen.work_progress import WorkProgress

PROBLEMS_TOLD = 100
"""Problems printed while labelling; `likert data check` prints all."""


def print_outcome(settings: LabelSettings, dataset: TrajectoryDataset, num_parts: int, counts: AnswerCounts) -> None:
    """What a labelling of `num_parts` parts came to."""
    names = ", ".join(f"reward_{name}" for name in settings.rewards)
    parts = f"{num_parts} of {counted(len(dataset.parts), 'part')}"
    print(f"{settings.data}: {counted(counts.actions, 'action')} labelled in {parts}: {names}")
    if counts.failed:
        print(
            f"{counted(counts.failed, 'question')} got no answer and left actions without a label (first: "
            f"{counts.first_failure}); the same command asks again"
        )
    if counts.problems:
        problems = counted(counts.problems, "problem")
        print(f"{problems} in the data; what has none was labelled. `likert data check` lists them all")
    if (word := delay_warning(delay_correlations(dataset, list(settings.rewards)), DISCOUNT)) is not None:
        print(word)


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


def facts_of(counts: AnswerCounts, price: PriceSettings, duration_s: float) -> str:
    """What progress says beside the number of windows."""
    tokens = f"{counts.prompt_tokens:,} tokens read, {counts.completion_tokens:,} written"
    facts = [f"{counts.from_store:,} from the store", f"{counts.failed:,} failed", tokens]
    if price != PriceSettings():
        cost = cost_of(price, counts.prompt_tokens, counts.completion_tokens, duration_s)
        facts.append(f"cost {cost:.2f}")
    return ", ".join(facts)
