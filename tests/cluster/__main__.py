"""What `make test-cluster` does: `ray up`, a sweep, a machine that crashes in its middle, the end, `ray down`.

Prints a log as it goes, and raises AssertionError where something is not as it should be.
"""

import os
import re
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from orchestrator.ratings.store import RatingStore
from orchestrator.runs.layout import METRICS_FILE
from orchestrator.storage.writing import read_json_lines
from orchestrator.sweeps.trial_folder import read_record
from tests.cluster.lab import Lab, Machine

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "build" / "test-cluster" / "lab"
SHARED = FOLDER / "shared"
"""Stands for the folder that all machines share."""
SWEEP = "tests/cluster/sweep.yaml"
CLUSTER = FOLDER / "cluster.yaml"
LIMIT_S = float(os.environ.get("LIMIT_S", "3600"))
SECONDS = time.monotonic()


def main() -> None:
    """All of it."""
    # A lab that is told to stop is taken down.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    (FOLDER.parent).mkdir(parents=True, exist_ok=True)
    kept = [ROOT, Path(sys.base_prefix)]
    with Lab(FOLDER, ["head", "worker"], kept) as lab:
        head, worker = lab.machines
        SHARED.mkdir()
        write_cluster_file(lab, head, worker)
        say("two machines and a launcher, each with its own network, processes and home")
        launch(lab, "ray get-auth-token --generate >/dev/null && test -s ~/.ray/auth_token")
        try:
            tell_story(lab, worker)
        finally:
            collect_logs(lab)
        launch(lab, f"ray down -y {CLUSTER}")
        say("$ ray down -y cluster.yaml")
        # It stops the head; the others' Ray ends by itself once it has missed the head for a minute.
        wait(
            "no process of Ray is left", lambda: not [one for each in lab.machines for one in ray_processes(each)], 300
        )
    say("passed")


def tell_story(lab: Lab, worker: Machine) -> None:
    """From `ray up` to a finished sweep."""
    say("$ RAY_AUTH_MODE=token RAY_UP_enable_autoscaler_v2=0 ray up -y cluster.yaml")
    launch(lab, f"ray up -y --no-config-cache {CLUSTER}")
    wait("both machines have joined", lambda: "2 node" in nodes(lab), 600)
    refused = launch(
        lab,
        f"ray exec {CLUSTER} {quoted('curl -s -o /dev/null -w %{http_code} http://127.0.0.1:8265/api/jobs/')}",
    )
    assert "401" in refused, refused
    say("without the token the dashboard answers 401")

    say("$ ray job submit -- likert doctor sweep.yaml")
    doctor = submit(lab, "doctor", f"likert doctor {SWEEP} {settings()}", wait_for_it=True)
    for line in doctor.splitlines():
        if re.match(r"\s*(ok  |note|FAIL|all|do:)", line):
            say(f"    {line.rstrip()}")
    assert "checks passed" in doctor, doctor

    say("$ ray job submit --no-wait -- likert sweep sweep.yaml")
    submit(lab, "sweep", f"likert sweep {SWEEP} {settings()}", wait_for_it=False)
    first = wait("the first trial acts", lambda: next((run for run in runs() if env_steps(run) >= 600), None), 1500)
    say(f"    {first.name}: step {env_steps(first)} of 2,000")
    worker.crash()
    say("machine `worker` crashes, with the rollout workers on it")
    before = env_steps(first)
    time.sleep(10)
    worker.boot()
    say("machine `worker` is on again, with nothing but its SSH server")
    wait("the autoscaler has started Ray there", lambda: ray_processes(worker), 900)
    wait("both machines are in the cluster", lambda: "2 node" in nodes(lab), 900)
    # More than was under way.
    wait("the trial goes on", lambda: env_steps(first) > before + 50 or read_record(first).is_done, 900)
    say(f"    {first.name}: step {env_steps(first)} of 2,000")
    wait("the sweep has ended", lambda: state(lab, "sweep") in ("SUCCEEDED", "FAILED", "STOPPED"), LIMIT_S)
    assert state(lab, "sweep") == "SUCCEEDED", launch(lab, job("logs sweep"), may_fail=True)[-3000:]
    check_results()


def check_results() -> None:
    """Every trial finished, once at MLflow, no rating lost or doubled, a summary."""
    trials = runs()
    assert len(trials) == 2 and all(read_record(trial).outcome == "finished" for trial in trials)
    say(f"every trial has finished: {', '.join(trial.name for trial in trials)}")
    with sqlite3.connect(SHARED / "runs" / "mlflow.db") as database:
        tracked = database.execute("select name, status from runs").fetchall()
    assert len(tracked) == 3 and {status for _, status in tracked} == {"FINISHED"}, tracked
    say("MLflow shows the sweep and each trial once, FINISHED")
    keys = [row["key"] for row in RatingStore(SHARED / "ratings").rows(["key"])]
    assert len(keys) == len(set(keys)) > 0
    say(f"{len(keys)} ratings in the store, each once")
    summary = SHARED / "runs" / "cluster" / "summary.md"
    assert summary.exists(), list(summary.parent.iterdir())
    for line in summary.read_text().splitlines():
        say(f"    {line}")


def write_cluster_file(lab: Lab, head: Machine, worker: Machine) -> None:
    """`cluster.local.yaml` with these machines in it. They see this checkout and its .venv already."""
    file = yaml.safe_load((ROOT / "cluster.local.yaml").read_text())
    file["provider"] |= {"head_ip": head.address, "worker_ips": [worker.address]}
    file["auth"] = {"ssh_user": "root", "ssh_private_key": str(lab.folder / "key")}
    file["file_mounts"] = {"~/.ray/auth_token": "~/.ray/auth_token"}
    install, *others = file["setup_commands"]
    assert install.endswith("make install")
    file["setup_commands"] = [f"mkdir -p ~/likert && ln -sfn {ROOT}/.venv ~/likert/.venv", *others]
    text = yaml.safe_dump(file, sort_keys=False)
    CLUSTER.write_text(text)


def settings() -> str:
    """Where the sweep of this test keeps things."""
    return f"runs_folder={SHARED}/runs ratings_folder={SHARED}/ratings"


def submit(lab: Lab, name: str, command: str, wait_for_it: bool) -> str:
    """A job on the head, started in this checkout."""
    line = f"cd {ROOT} && PATH={ROOT}/.venv/bin:$PATH exec {command}"
    flags = "" if wait_for_it else "--no-wait "
    return launch(lab, job(f"submit {flags}--submission-id {name} -- bash -c {quoted(line)}"), may_fail=wait_for_it)


def job(words: str) -> str:
    """`ray job ...` on the head."""
    environment = "RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265 COLUMNS=200"
    return f"ray exec {CLUSTER} {quoted(f'{environment} ~/likert/.venv/bin/ray job {words}')}"


def state(lab: Lab, name: str) -> str:
    """A job's state in Ray's word; empty if the head does not say."""
    said = launch(lab, job(f"status {name}"), may_fail=True)
    found = re.search(r"Status for job.*?(PENDING|RUNNING)|Job '[^']*' (?:was )?(succeeded|failed|stopped)", said)
    return (found.group(1) or found.group(2)).upper() if found else ""


def nodes(lab: Lab) -> str:
    """'2 nodes', by the head's own count of those alive."""
    count = "import ray; ray.init(logging_level=40); print(sum(n['Alive'] for n in ray.nodes()), 'nodes')"
    command = f'RAY_ADDRESS=127.0.0.1:6379 RAY_AUTH_MODE=token ~/likert/.venv/bin/python -c "{count}"'
    found = re.search(r"\d+ nodes", launch(lab, f"ray exec {CLUSTER} {quoted(command)}", may_fail=True))
    return found.group(0) if found else ""


def launch(lab: Lab, command: str, may_fail: bool = False) -> str:
    """What a command says on the machine that launches. It has a home of its own, and so a token of its own."""
    environment = {
        "HOME": str(Path.home()),
        "PATH": f"{lab.tools}/bin:{ROOT}/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "RAY_AUTH_MODE": "token",
        "RAY_UP_enable_autoscaler_v2": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "LANG": "C.UTF-8",
    }
    done = lab.launcher.run(command, environment, LIMIT_S)
    with (FOLDER / "launcher.log").open("a") as log:
        log.write(f"$ {command}\n{done.stdout}\n[{done.returncode}]\n")
    assert may_fail or done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def runs() -> list[Path]:
    """Folders of the sweep's trials."""
    return sorted(path.parent for path in (SHARED / "runs" / "cluster").glob(f"*/{METRICS_FILE}"))


def env_steps(run: Path) -> int:
    """How far a trial has come."""
    return max((row["env_step"] for row in read_json_lines(run / METRICS_FILE)), default=0)


def ray_processes(machine: Machine) -> list[str]:
    """Ray's processes in the machine's PID namespace, by name."""
    if machine.process is None:
        return []
    first = next(iter(children(machine.process.pid)), machine.process.pid)
    space = os.readlink(f"/proc/{first}/ns/pid")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "ns" / "pid") == space:
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found += [words[:100]] if "raylet" in words or "gcs_server" in words or "ray::" in words else []
            except OSError:
                continue
    return found


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def collect_logs(lab: Lab) -> None:
    """Keep what the sweep said."""
    (FOLDER / "sweep.log").write_text(launch(lab, job("logs sweep"), may_fail=True))


def wait(what: str, ready: Callable[[], object], limit_s: float) -> object:
    """What `ready` returns once it is true."""
    began = time.monotonic()
    while not (found := ready()):
        assert time.monotonic() - began < limit_s, f"not within {limit_s:.0f} s: {what}"
        time.sleep(3)
    say(f"{what} (after {time.monotonic() - began:.0f} s)")
    return found


def quoted(text: str) -> str:
    """As one word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def say(text: str) -> None:
    """A line of the log, without paths of this machine."""
    line = text.replace(str(SHARED), "/shared").replace(str(ROOT), "~/likert")
    line = f"{int(time.monotonic() - SECONDS):5d} s  {line}"
    print(line, flush=True)
    if FOLDER.exists():
        with (FOLDER / "log.txt").open("a") as log:
            log.write(f"{line}\n")


if __name__ == "__main__":
    main()
    shutil.copy(FOLDER / "log.txt", FOLDER.parent / "log.txt")
