"""Answers first, in one turn; the analysis, which costs many times as much, only where the answer is in doubt."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

from algorithms.ratings import Rating, RatingFailure
from orchestrator.ratings.question import Question
from orchestrator.ratings.service import RatingService, Report, SessionAnswers


def in_one_turn(question: Question) -> Question:
    """The question, to be answered without an analysis."""
    return replace(question, request=replace(question.request, mode="answer_only"))


def ask_in_doubt(
    service: RatingService, questions: Sequence[Question], below: float, report: Report
) -> "Future[SessionAnswers]":
    """Ask each in one turn, and those again as they are whose likeliest answer is less probable than `below`, or which
    got no answer, or none with probabilities. The future holds the answer that counts for each."""
    joined: Future[SessionAnswers] = Future()

    def passing_errors(then: Callable[[SessionAnswers], None]) -> Callable[[Future], None]:
        def done(asked: Future) -> None:
            try:
                then(asked.result())
            except BaseException as error:  # noqa: BLE001 - whoever waits is told, whatever it is
                joined.set_exception(error)

        return done

    def analyse(first: SessionAnswers) -> None:
        doubtful = [place for place, outcome in enumerate(first.outcomes) if not _sure(outcome, below)]
        num_sure = len(questions) - len(doubtful)
        sure_stored = sum(outcome.key in first.stored_keys for outcome in first.outcomes if _sure(outcome, below))
        report(num_sure, 0, sure_stored, first.num_shared)
        if not doubtful:
            joined.set_result(first)
            return

        def tell(answered: int, failed: int, from_store: int, shared: int) -> None:
            report(num_sure + answered, failed, sure_stored + from_store, first.num_shared + shared)

        def join(second: SessionAnswers) -> None:
            outcomes = list(first.outcomes)
            for place, outcome in zip(doubtful, second.outcomes, strict=True):
                outcomes[place] = outcome
            joined.set_result(
                SessionAnswers(
                    outcomes,
                    sure_stored + second.num_from_store,
                    first.duration_s + second.duration_s,
                    first.num_shared + second.num_shared,
                    first.stored_keys | second.stored_keys,
                )
            )

        service.ask([questions[place] for place in doubtful], tell).add_done_callback(passing_errors(join))

    service.ask([in_one_turn(question) for question in questions]).add_done_callback(passing_errors(analyse))
    return joined


def _sure(outcome: Rating | RatingFailure, below: float) -> bool:
    return isinstance(outcome, Rating) and bool(outcome.probabilities) and max(outcome.probabilities) >= below
