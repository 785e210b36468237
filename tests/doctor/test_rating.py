"""What `likert doctor` looks at of the cluster and the rater: passing and failing."""

import asyncio
import dataclasses
import types

import numpy as np
import pytest
import ray

from actors.rating.backend import Reply
from actors.rating.fake import FunctionBackend
from actors.rating.server import RatingServer
from actors.rating.sizing import Machine
from algorithms.images import encode_png
from algorithms.prompts import SYSTEM, answer_only_prompt
from orchestrator.cluster.placement import Demand
from orchestrator.doctor import fit, model, ray_cluster
from orchestrator.doctor.findings import Unfit, examine
from orchestrator.errors import SettingsError
from orchestrator.kinds import kind_of
from tests.fakes.tiny_qwen import build_tiny_qwen
from tests.fakes.toy_reach import CountingServer


def check_rating(one, server, frame):
    return model.check_rating(one.rater, one.task, kind_of(one).asks_of_frames(one), server, frame)


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
    assert "of key-value cache " in fit.check_memory(rater, processor)
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
