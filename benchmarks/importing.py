"""Frames a second of `likert data lerobot` against PyAV and PNG alone, and the most memory that an import holds.

    python benchmarks/importing.py [--frames 1000] [--pairs 3] [--codec av1|h264]

A recording of 480p video is made here, with a camera's noise. Plain is one thread that decodes each frame by PyAV,
packs it as PNG and does nothing with it; ours is the whole import, to Parquet files on disk. They take turns, each in a
process of its own. Printed are both rates, ours over plain, and ours over what as many plain threads as there are
processors would do: the sum of the limits. Other work on the machine slows both, and spoils the second ratio most, so
how many processors each side got stands beside it, and how many frames each made in a second of processor time.
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from algorithms.images import encode_png
from orchestrator.data.recordings.lerobot import LeRobotSettings, import_lerobot

WIDTH, HEIGHT, FPS = 640, 480, 30
EPISODE = 500
"""Frames."""
CAMERA = "observation.images.front"
CODECS = {"av1": ("libsvtav1", {"g": "2", "crf": "30", "preset": "12"}), "h264": ("libx264", {"crf": "23"})}
"""By LeRobot's own settings, and by x264's."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--codec", choices=tuple(CODECS), default="av1")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    av.logging.set_level(av.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "recording"
        frames = write_recording(source, max(1, options.frames // EPISODE), options.codec)
        print(f"{frames:,} frames of {WIDTH} x {HEIGHT}, {options.codec}, in episodes of {EPISODE}; {cores} processors")
        plain, ours = [], []
        for pair in range(options.pairs):
            plain_s, plain_cpu_s, _ = alone(decode_and_pack, source)
            ours_s, ours_cpu_s, peak = alone(whole_import, source, Path(folder) / f"set-{pair}")
            plain.append(frames / plain_s)
            ours.append(frames / ours_s)
            print(
                f"pair {pair + 1}: plain {plain[-1]:.1f}, ours {ours[-1]:.1f} frames/s: {ours[-1] / plain[-1]:.2f} of "
                f"one plain thread, {ours[-1] / plain[-1] / cores:.2f} of {cores}; processors used "
                f"{plain_cpu_s / plain_s:.2f} and {ours_cpu_s / ours_s:.2f}; frames/processor second "
                f"{frames / plain_cpu_s:.1f} and {frames / ours_cpu_s:.1f}: "
                f"{plain_cpu_s / ours_cpu_s:.2f}; ours held {peak:.0f} MB at most"
            )
        ratio = median(one / other for one, other in zip(ours, plain, strict=True))
        print(f"median: {ratio:.2f} of one plain thread, {ratio / cores:.2f} of {cores}")


def alone(work: Any, *arguments: Path) -> tuple[float, float, float]:
    """Seconds that work takes in a new process, start not counted, those of processors, and the most MB it held."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_measured, args=(theirs, work, *arguments))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        process.join()


def _measured(pipe: Any, work: Any, *arguments: Path) -> None:
    start, start_cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    elapsed_s, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    pipe.send((elapsed_s, cpu_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def decode_and_pack(source: Path) -> None:
    """Each frame of each video, as PNG, in one thread."""
    for path in sorted(source.rglob("*.mp4")):
        with av.open(str(path)) as container:
            for frame in container.decode(container.streams.video[0]):
                encode_png(np.asarray(frame.to_image()))


def whole_import(source: Path, folder: Path) -> None:
    """What the command does."""
    _, num_problems = import_lerobot(source, folder, LeRobotSettings())
    assert not num_problems


def write_recording(folder: Path, num_episodes: int, codec: str) -> int:
    """A LeRobotDataset of version 2.1. Returns the number of its frames."""
    (folder / "meta").mkdir(parents=True)
    features = {
        CAMERA: {"dtype": "video", "shape": [HEIGHT, WIDTH, 3], "names": ["height", "width", "channels"]},
        "action": {"dtype": "float32", "shape": [6], "names": [f"joint{n}" for n in range(6)]},
    }
    info = {"codebase_version": "v2.1", "fps": FPS, "total_episodes": num_episodes, "features": features}
    (folder / "meta/info.json").write_text(json.dumps(info))
    lines = [{"episode_index": n, "tasks": ["fold the cloth"], "length": EPISODE} for n in range(num_episodes)]
    (folder / "meta/episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = {
        "action": pa.array(np.zeros((EPISODE, 6)).tolist(), pa.list_(pa.float32(), 6)),
        "timestamp": pa.array(np.arange(EPISODE) / FPS, pa.float32()),
        "frame_index": list(range(EPISODE)),
    }
    video = None
    for number in range(num_episodes):
        data = folder / f"data/chunk-000/episode_{number:06d}.parquet"
        data.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table | {"episode_index": [number] * EPISODE}), data)
        path = folder / f"videos/chunk-000/{CAMERA}/episode_{number:06d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        if video is None:
            write_video(path, codec)
            video = path.read_bytes()
        path.write_bytes(video)
    return num_episodes * EPISODE


def write_video(path: Path, codec: str) -> None:
    """A picture that moves, with noise of four grey levels as cameras have it."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    name, settings = CODECS[codec]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(name, rate=FPS, options=settings)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(EPISODE):
            waves = np.stack([columns + 3 * index, rows + 2 * index, (columns + rows) / 2 + index], axis=-1) / 40
            picture = 128 + 80 * np.sin(waves) + random.normal(0, 4, (HEIGHT, WIDTH, 1))
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
