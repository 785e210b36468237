#!/usr/bin/env bash
# Ray 2.60.0: ray.init() replaces the SIGTERM handler of the program that calls it, and ray.shutdown() does not put it back.
#
# A program that saves its work at SIGTERM, as batch systems and Kubernetes send it before they end a process, installs its
# handler first and then connects to Ray. From then on its handler is gone, in Python and below it, without a word: the
# process ends with nothing saved. Handlers of other signals stay as they were. Installing the handler again after
# ray.init() brings it back.
#
# Seen with ray 2.60.0 on Python 3.11:
#   SIGTERM: save_and_exit before, sigterm_handler after ray.init(), sigterm_handler after ray.shutdown()
#   SIGUSR1: save_and_exit before, save_and_exit after ray.init(), save_and_exit after ray.shutdown()
#
# Fails if that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ray==2.60.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import logging
import signal

import ray


def save_and_exit(number, frame):
    raise SystemExit(number)


SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
for number in SIGNALS:
    signal.signal(number, save_and_exit)
seen = {number: [signal.getsignal(number).__name__] for number in SIGNALS}
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
for number in SIGNALS:
    seen[number].append(signal.getsignal(number).__name__)
ray.shutdown()
for number in SIGNALS:
    seen[number].append(signal.getsignal(number).__name__)
    before, connected, after = seen[number]
    print(f"{number.name}: {before} before, {connected} after ray.init(), {after} after ray.shutdown()")
assert seen[signal.SIGUSR1] == ["save_and_exit"] * 3
assert seen[signal.SIGTERM][0] == "save_and_exit"
assert "save_and_exit" not in seen[signal.SIGTERM][1:], "ray.init() leaves SIGTERM alone now"
PYTHON
