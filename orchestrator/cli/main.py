"""The command `likert`. Heavy imports stand inside the commands, so that `--help` answers at once."""

import functools
from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli.data import data
from orchestrator.cli.env import env
from orchestrator.cli.gallery import gallery
from orchestrator.cli.plain_command import INTERRUPTED
from orchestrator.cli.plain_command import plain as _plain
from orchestrator.cli.pocket import pocket
from orchestrator.cli.rater import rater
from orchestrator.errors import SettingsError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Tracebacks with local variables could show a key; the plain one is enough.
    pretty_exceptions_enable=False,
    # Plain help: importing what draws frames around it takes longer than all the rest.
    rich_markup_mode=None,
    help="Reinforcement learning from the ratings of a vision-language model that you host yourself.",
)
app.add_typer(pocket, name="pocket")
app.add_typer(data, name="data")
app.add_typer(rater, name="rater")
app.add_typer(env, name="env")
app.command()(gallery)


@app.command()
@_plain
def run(
    file: Annotated[Path, typer.Argument(help="Experiment settings, such as tune_configs/demo.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY.PATH=VALUE", help="Settings laid over the file, such as seed=1."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say where it would run, how long and what it would ask, and stop.")
    ] = False,
    load_rater: Annotated[
        bool, typer.Option("--load-rater", help="With --plan: load the rater, and measure it by a few ratings.")
    ] = False,
    ratings_per_s: Annotated[
        float | None, typer.Option(help="With --plan: assume so many ratings a second, of all engines together.")
    ] = None,
) -> None:
    """Run an experiment, or go on with it if it was stopped.

    With --plan nothing is written, and no engine starts unless --load-rater says so.

    Exit codes: 0 done, 2 bad settings, 3 too many questions got no rating, 4 a disk is full or broken, 5 actors died
    and find no place, 130 stopped by Ctrl-C. After 3, 4, 5 and 130 the same command goes on.
    """
    from orchestrator.kinds import kind_of, load_experiment, plan_experiment, run_experiment
    from orchestrator.runs.plan import Assumed
    from orchestrator.storage.writing import FolderLock

    experiment = load_experiment(file, overrides or [])
    if ratings_per_s is not None and not 0.0 < ratings_per_s < float("inf"):
        raise SettingsError(f"--ratings-per-s = {ratings_per_s:g}: must be a number above 0")
    assumed = Assumed(ratings_per_s, load_rater)
    if plan:
        typer.echo(plan_experiment(experiment, assumed))
        return
    if assumed != Assumed():
        raise SettingsError("--load-rater and --ratings-per-s are for --plan; give it too, or leave them out")
    kind = kind_of(experiment)
    experiment = kind.settled(experiment)
    kind.check(experiment)
    with FolderLock(experiment.run_folder):
        run_experiment(experiment)


@app.command()
@_plain
def sweep(
    file: Annotated[Path, typer.Argument(help="Sweep settings, such as tune_configs/sweeps/tiny.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY.PATH=VALUE", help="Settings laid over the file, such as sweep.concurrency=4."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a sweep that was stopped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do and cost, and stop.")] = False,
) -> None:
    """Run many experiments of one file, and sum them up over seeds.

    Exit codes: 0 done or a budget is used up, 2 bad settings, 6 trials failed, 130 stopped by Ctrl-C. After each, the
    same command with --resume goes on.
    """
    from orchestrator.sweeps.command import sweep as sweep_

    sweep_(file, overrides or [], resume=resume, dry_run=dry_run)


@app.command()
@_plain
def label(
    file: Annotated[Path, typer.Argument(help="Settings of a labelling, such as tune_configs/rg_vlm/babyai.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY.PATH=VALUE", help="Settings laid over the file, such as data=data/mine."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked, and stop.")] = False,
) -> None:
    """Let a labeller (RG-VLM, or another) score every action of a data set, or go on with it if it was stopped.

    Exit codes: 0 done, 2 bad settings, 3 too many questions got no answer, 130 stopped by Ctrl-C.
    """
    from orchestrator.labelling.command import label as label_

    label_(file, overrides or [], dry_run)


@app.command()
@_plain
def judge(
    file: Annotated[Path, typer.Argument(help="Settings of a judging, such as tune_configs/rg_vlm/judge.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY.PATH=VALUE", help="Settings laid over the file, such as num_trajectories=50."),
    ] = None,
) -> None:
    """Ask raters whether recorded trajectories completed their task, and say how often they are right.

    Exit codes: 0 done, 2 bad settings, 3 too many questions got no answer, 130 stopped by Ctrl-C. After 3 and 130 the
    same command goes on.
    """
    from orchestrator.judging.command import judge as judge_

    judge_(file, overrides or [])


@app.command()
@_plain
def consistency(
    file: Annotated[Path, typer.Argument(help="Settings of an experiment, such as tune_configs/demo.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY.PATH=VALUE", help="Settings laid over the file, such as rater.temperature=0.7."),
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="A run whose best policy acts, in place of MetaWorld's scripted expert.")
    ] = None,
    recorded: Annotated[
        Path | None, typer.Option(help="A data set whose episodes are asked about; nobody acts.")
    ] = None,
    trajectories: Annotated[int, typer.Option(help="Trajectories that succeed.")] = 5,
    frames: Annotated[int, typer.Option(help="Frames of each that are rated.")] = 20,
    repeats: Annotated[int, typer.Option(help="Rounds of questions, for a temperature above 0.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the table and the figure.")] = Path("consistency"),
) -> None:
    """Ask the rater about frames along trajectories that succeed, with 2, 3, 4 and 5 levels, and say which to take.

    Exit codes: 0 done, 2 bad settings, 3 too many questions got no rating, 130 stopped by Ctrl-C. After 3 and 130 the
    same command goes on.
    """
    from orchestrator.kinds import kind_of, load_experiment, read_run
    from orchestrator.runs.kind import ScaleTrial
    from orchestrator.storage.locations import location_argument

    experiment = load_experiment(file, overrides or [])
    kind = kind_of(experiment)
    acting = None if policy is None else read_run(location_argument(policy))
    kind.choose_scale(kind.settled(experiment), acting, ScaleTrial(trajectories, frames, repeats, recorded), out)


@app.command()
@_plain
def doctor(
    file: Annotated[
        Path | None,
        typer.Argument(help="Settings of an experiment or a sweep that is to run; with --model also a model."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY.PATH=VALUE", help="Settings laid over the file, such as rater.num_replicas=2."),
    ] = None,
    model: Annotated[
        bool,
        typer.Option("--model", help="Say what memory the rater needs; if it fits, load it and have a frame rated."),
    ] = False,
) -> None:
    """Check this machine, and the cluster that RAY_ADDRESS names, and say what to do where something is wrong.

    Exit code 1 if a check fails.
    """
    from orchestrator.doctor.command import doctor as examine

    examine(file, overrides or [], load_model=model)


@app.command()
@_plain
def ratings(
    folder: Annotated[str, typer.Argument(help="A rating store, such as ratings/ or s3://bucket/ratings.")],
    last: Annotated[int, typer.Option(min=0, help="List this many of the latest.")] = 10,
    failures: Annotated[bool, typer.Option("--failures", help="List failed questions, not ratings.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write all ratings to this .csv or .parquet file.")] = None,
    images: Annotated[Path | None, typer.Option(help="Write all rated pictures into this folder.")] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Merge small files; runs may go on meanwhile.")] = False,
    agreement: Annotated[
        bool, typer.Option("--agreement", help="Tell instead how far people and models agree, with intervals.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="With --agreement: write tables and a figure into it, too.")] = None,
) -> None:
    """Count, list and export the ratings in a store, or tell how far raters agree."""
    from orchestrator.storage.locations import location_argument

    if agreement:
        if failures or compact or export is not None or images is not None:
            raise SettingsError("--agreement is told alone: leave --failures, --export, --images and --compact out")
        from orchestrator.reports.agreement.command import show_agreement

        show_agreement(location_argument(folder), out)
        return
    if out is not None:
        raise SettingsError("--out is for --agreement; give it too, or leave this out")
    from orchestrator.ratings.store_command import show_store

    show_store(location_argument(folder), last=last, failures=failures, export=export, images=images, compact=compact)


@app.command()
@_plain
def serve(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings of the rater, such as model=Qwen/Qwen2-VL-7B-Instruct."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; other than loopback, it needs a key in LIKERT_SERVE_KEY.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8300,
) -> None:
    """Serve ratings over HTTP to other programs, without a run: OpenAI's chat completions, and /v1/ratings.

    Exit codes: 2 bad settings, or an address or a model that cannot be served, 130 stopped by Ctrl-C.
    """
    from orchestrator.settings.loading import load_rater
    from orchestrator.settings.served import as_served

    rater = as_served(load_rater(settings or []))
    from actors.rating.serving import listening

    tell = functools.partial(typer.echo, err=True)
    try:
        listening.serve(rater, host, port, tell)
    except listening.CannotServe as error:
        raise SettingsError(str(error)) from None
    except KeyboardInterrupt:
        tell("rating server: stopped")
        raise typer.Exit(INTERRUPTED) from None


@app.command()
@_plain
def report(
    runs: Annotated[list[str], typer.Argument(help="Run folders, or folders of them; addresses too.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables and figures.")] = Path("report"),
    along: Annotated[
        Literal["expert", "best"] | None,
        typer.Option(
            help="Also draw what runs pay along trajectories that succeed: of the world's expert (where it has none, "
            "of the best policy), or of the best policy."
        ),
    ] = None,
    trajectories: Annotated[int | None, typer.Option(help="With --along: so many of each task; 10 if absent.")] = None,
) -> None:
    """Compare runs in tables and figures, with confidence intervals."""
    from orchestrator.kinds import write_report
    from orchestrator.runs.kind import Along
    from orchestrator.settings.preflight import check_writable
    from orchestrator.storage.locations import location_argument

    if trajectories is not None and along is None:
        raise SettingsError("--trajectories is for --along; give it too, or leave this out")
    if trajectories is not None and trajectories < 1:
        raise SettingsError(f"--trajectories {trajectories}: must be 1 or more")
    wanted = None if along is None else Along(along, trajectories or Along.trajectories)
    check_writable("--out", out)
    for path in write_report([location_argument(run) for run in runs], out, wanted):
        typer.echo(path)


@app.command()
@_plain
def export(
    run: Annotated[str, typer.Argument(help="A run's folder, such as runs/robots-seed0; an address too.")],
    folder: Annotated[Path, typer.Argument(help="A new folder for the policy.")],
) -> None:
    """Write a run's policy into a folder that needs torch alone: safetensors, JSON and a player of 70 lines.

    The policy is the final one, or that of the newest checkpoint; of an online run the best by evaluation.
    """
    from orchestrator.kinds import export_policy
    from orchestrator.settings.preflight import check_writable
    from orchestrator.storage.locations import location_argument
    from orchestrator.storage.writing import no_empty_folder

    with no_empty_folder(folder):
        check_writable("folder", folder.parent)
        for path in export_policy(location_argument(run), folder):
            typer.echo(path)


def main() -> None:
    """Entry point."""
    app()
