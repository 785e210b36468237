"""The report of `likert doctor`, and what it is asked about."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.doctor import command
from orchestrator.doctor.findings import DoctorFailed, Unfit
from orchestrator.errors import SettingsError
from tests.fakes.dying import die


def report(monkeypatch, checks):
    monkeypatch.setattr(command, "checks", lambda patient, load_model: iter(checks))
    text = io.StringIO()
    try:
        command.doctor(None, [], False, Console(file=text, width=200, markup=False, highlight=False))
        failed = None
    except DoctorFailed as error:
        failed = error
    return text.getvalue(), failed


def test_a_model_that_does_not_fit_is_not_loaded(monkeypatch):
    def too_large():
        raise SettingsError("rater.model: it does not fit")

    text, failed = report(monkeypatch, [("memory", too_large), ("model", die)])
    assert failed is not None and str(failed) == "1 of 2 checks failed: memory"
    assert "note  model       not looked at: the model does not fit" in text


def test_all_is_well(monkeypatch):
    text, failed = report(monkeypatch, [("python", lambda: "3.11.7")])
    assert failed is None and "ok    python      3.11.7" in text and "all 1 check passed" in text


def test_every_check_is_made_and_failures_count(monkeypatch):
    def unfit(warning=False):
        raise Unfit("it is broken", "mend it", warning)

    def fault():
        raise KeyError("x")

    checks = [("frames", unfit), ("clock", lambda: unfit(True)), ("ray", fault), ("resources", lambda: 1 / 0)]
    text, failed = report(monkeypatch, checks)
    assert failed is not None and failed.exit_code == 1
    assert str(failed) == "2 of 4 checks failed: frames, ray"
    assert "FAIL  frames      it is broken\n      do: mend it" in text
    assert "note  clock" in text and "report this" in text
    assert "note  resources   not looked at" in text


def test_what_is_to_run_may_be_a_sweep(tmp_path):
    patient = command.load_patient(None, [])
    assert patient.first.name == "doctor" and [demand.kind for demand in patient.demands]
    (tmp_path / "sweep.yaml").write_text(
        "name: test\ntask: drawer_close\nreward_model: {network: small, image_px: 56}\n"
        "search: {seed: {grid: [0, 1]}, feedback.num_ratings: {grid: [2, 3]}}\n"
    )
    assert len(command.load_patient(tmp_path / "sweep.yaml", []).experiments) == 4
    names = [name for name, _ in command.checks(patient, load_model=True)]
    assert names[:2] == ["python", "packages"] and {"frames", "ray", "resources", "model"} <= set(names)
    assert names.index("memory") < names.index("tokens") < names.index("ray")


def test_a_world_of_another_family_is_looked_at_as_a_world_even_where_it_is_known_beforehand(tmp_path):
    (tmp_path / "chain.yaml").write_text(
        "name: test\ntask: {world: babyai, name: chain}\nreward_model: {input: state}\npolicy: {algorithm: iql}\n"
    )
    patient = command.load_patient(tmp_path / "chain.yaml", [])
    names = [name for name, _ in command.checks(patient, load_model=False)]
    assert {"world", "words"} <= set(names) and "frames" not in names


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((None, ("seed=1",), True), (None, ["seed=1"])),
        (("rater.mode=answer_only", ("seed=1",), False), (None, ["rater.mode=answer_only", "seed=1"])),
        (("Qwen/Qwen2-VL-7B-Instruct", (), True), (None, ['rater.model="Qwen/Qwen2-VL-7B-Instruct"'])),
        (("Qwen/Qwen2-VL-7B-Instruct", (), False), ("Qwen/Qwen2-VL-7B-Instruct", [])),
        (("missing.yaml", (), True), ("missing.yaml", [])),
    ],
)
def test_the_first_argument_may_be_a_model_or_a_setting(given, found):
    file, overrides, load_model = given
    named, laid_over = command._named(file and Path(file), overrides, load_model)
    assert (named and str(named), list(laid_over)) == found
