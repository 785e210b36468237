"""The cluster files: valid for this Ray, pinned as the package is, guarded, without a secret."""

import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest
import ray.autoscaler
import yaml
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
LAUNCHER = ("cluster.yaml", "cluster.local.yaml")
ALL = (*LAUNCHER, "cluster.kuberay.yaml")


def load(name):
    return yaml.safe_load((ROOT / name).read_text())


@pytest.fixture(scope="module")
def pins():
    """Ray's version, and Python as an image's tag has it, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (ray_pin,) = [one for text in project["dependencies"] if (one := Requirement(text)).name == "ray"]
    (version,) = [one.version for one in ray_pin.specifier]
    major, minor = re.match(r">=(\d+)\.(\d+)", project["requires-python"]).groups()
    return version, f"py{major}{minor}"


@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_up_accepts_the_file(name):
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    given = load(name)
    jsonschema.validate(given, schema)
    validate_config(prepare_config(given))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(given | {"head_start_ray_command": []}, schema)


@pytest.mark.parametrize("name", [*ALL, "Dockerfile"])
def test_versions_are_those_of_the_package(name, pins):
    text = (ROOT / name).read_text()
    ray_version, python = pins
    images = re.findall(r"(?:rayproject/ray|likert):([\w.-]+)", text)
    assert all(image.startswith(f"{ray_version}-{python}-") for image in images if not image.endswith("-"))
    assert set(re.findall(r"rayVersion: \"([\d.]+)\"", text)) <= {ray_version}
    # Machines of one's own install what requirements/ says; the others name an image.
    assert images or "make install" in text


@pytest.mark.parametrize("name", LAUNCHER)
def test_the_token_is_on_and_the_dashboard_on_loopback(name):
    file = load(name)
    starts = [file["head_start_ray_commands"][-1], file["worker_start_ray_commands"][-1]]
    assert all("RAY_AUTH_MODE=token" in start for start in starts)
    assert file["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "0.0.0.0" not in (ROOT / name).read_text()


@pytest.mark.parametrize("name", LAUNCHER)
def test_workers_do_not_stand_back_on_machines_of_ones_own(name):
    file = load(name)
    starts = [file["head_start_ray_commands"][-1], file["worker_start_ray_commands"][-1]]
    assert all(re.search(r"RAY_worker_niceness=0 .*ray start", start) for start in starts)


@pytest.mark.parametrize("name", ALL)
def test_there_is_no_secret_inside(name):
    text = (ROOT / name).read_text()
    named = r"(?i)(password|secret_access_key|auth_token)\s*[:=]\s*['\"]?[A-Za-z0-9+/]{8,}"
    assert not re.search(r"AKIA[0-9A-Z]{16}", text) and not re.search(named, text)


def test_aws_has_a_head_without_work_spot_rollouts_and_gpus():
    types = load("cluster.yaml")["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    rollouts, gpu = types["rollouts"], types["gpu"]
    assert rollouts["resources"]["env"] and rollouts["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert gpu["resources"]["GPU"] == 1 and gpu["docker"]["worker_image"].endswith("-gpu")
    assert all(types[name]["min_workers"] == 0 for name in ("rollouts", "gpu"))
    assert all("IamInstanceProfile" in kind["node_config"] for kind in types.values())


def test_kubernetes_has_a_cluster_and_a_job_on_the_same_machines():
    cluster, job = load("cluster.kuberay.yaml")["items"]
    assert (cluster["kind"], job["kind"]) == ("RayCluster", "RayJob")
    spec = cluster["spec"]
    assert job["spec"]["rayClusterSpec"] == spec and spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    for group in spec["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        assert {"name": "RAY_worker_niceness", "value": "0"} in container["env"]
        assert container["volumeMounts"] and group["template"]["spec"]["restartPolicy"] == "Never"
    rollouts, gpu = spec["workerGroupSpecs"]
    assert json.loads(json.loads(rollouts["rayStartParams"]["resources"])) == {"env": 16}
    assert gpu["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert (ROOT / job["spec"]["entrypoint"].split()[2]).exists()


def test_kubernetes_builds_on_the_image_of_the_dockerfile():
    text = (ROOT / "Dockerfile").read_text()
    built = set(re.findall(r"docker build -t (\S+)", text))
    named = set(re.findall(r"image: (\S+)", (ROOT / "cluster.kuberay.yaml").read_text()))
    assert named == built
