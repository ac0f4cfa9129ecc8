"""`candor experiment`: the paper's tables and figures, and the choice of a method. Every command
can be resumed.
"""

from dataclasses import asdict, replace
from typing import Annotated

import typer

from candor.commands.data import GroupOption, LayoutOption
from candor.commands.experiment_context import grid_of, open_context, show_tables
from candor.commands.experiment_options import (
    CORES,
    AccuracyLossOption,
    DataOption,
    FirstSeedOption,
    JobsOption,
    JudgeOption,
    MarkdownOption,
    MethodOption,
    NetworkOption,
    NllShareOption,
    OutOption,
    RecipeOption,
    SeedsOption,
    evaluation_set_of,
    folder_of,
    is_automatic,
)
from candor.commands.experiment_search import search
from candor.commands.options import JsonOption, cache_folder, settings

experiment = typer.Typer(
    name="experiment",
    help="Reproduce the paper's tables and figures, and choose a method for your own data.",
    no_args_is_help=True,
)
experiment.command()(search)


@experiment.command()
def compare(
    preset: Annotated[str, typer.Option(help="Grid: smoke, results or paper.")] = "results",
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    first_seed: FirstSeedOption = 0,
    ensembles: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Also measure ensembles of this many seeds of each method; nothing is trained "
            "again.",
        ),
    ] = None,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
    json_out: JsonOption = False,
) -> None:
    """Tables 1, 2 and 3: ECE, accuracy and MCE of methods and calibrators over seeds, beside the
    paper's figures.

    Example: candor experiment compare --preset smoke
    """
    from candor.terminal.console import print_json
    from training.experiments.compare import compare as run_comparison

    grid, folder = (
        grid_of(
            preset, data=data, network=network, method=method, seeds=seeds, first_seed=first_seed
        ),
        folder_of(out, preset),
    )
    with open_context(grid, folder, jobs=jobs) as context:
        found = run_comparison(
            grid, context.datasets, context.runner, data_folder=context.data_folder
        )
    found.write(folder)
    if json_out:
        print_json(found.as_rows())
        return
    show_tables(found.tables(ensembles=ensembles), folder, notes=found.notes, markdown=markdown)


@experiment.command()
def beta(
    loss: Annotated[str, typer.Option(help="Loss whose strength varies.")] = "dca",
    betas: Annotated[str, typer.Option(help="Strengths, separated by commas.")] = "1,5,10,15,20,25",
    data: DataOption = None,
    network: NetworkOption = None,
    seeds: SeedsOption = 3,
    first_seed: FirstSeedOption = 0,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
) -> None:
    """Figures 4 and 5: training at four strengths of the auxiliary loss, and ECE by strength.

    Example: candor experiment beta --betas 1,10
    """
    from training.experiments.beta import beta_grid, draw_betas, draw_panels, panels_grid
    from training.experiments.compare import compare as run_comparison
    from training.experiments.curves import trace

    folder = folder_of(out, "beta")
    grid = beta_grid(
        grid_of("beta", data=data, network=network, seeds=seeds, first_seed=first_seed),
        loss=loss,
        betas=_numbers(betas),
    )
    with open_context(grid, folder, jobs=jobs) as context:
        found = run_comparison(
            grid, context.datasets, context.runner, data_folder=context.data_folder
        )
        traces, _ = trace(
            panels_grid(grid), context.datasets, context.runner, data_folder=context.data_folder
        )
    found.write(folder)
    draw_panels(traces, folder)
    show_tables(draw_betas(found, grid, folder), folder, notes=found.notes, markdown=markdown)


@experiment.command()
def curves(
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = 1,
    first_seed: FirstSeedOption = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs, enough to overfit.")] = 40,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
) -> None:
    """Figure 1: how cross-entropy and DCA overfit, epoch by epoch, at a constant learning rate.

    Example: candor experiment curves --epochs 20
    """
    from training.experiments.curves import draw_curves, trace

    folder = folder_of(out, "curves")
    grid = grid_of(
        "curves", data=data, network=network, method=method, seeds=seeds, first_seed=first_seed
    )
    grid = grid.with_changes(epochs=epochs, decay="none")
    with open_context(grid, folder, jobs=jobs) as context:
        traces, notes = trace(
            grid, context.datasets, context.runner, data_folder=context.data_folder
        )
    show_tables(draw_curves(traces, folder), folder, notes=notes, markdown=markdown)


@experiment.command()
def embed(
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = 3,
    first_seed: FirstSeedOption = 0,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
) -> None:
    """Figure 2: t-SNE of the features of two methods, and how well they separate the classes
    (silhouette).

    Example: candor experiment embed --seeds 1
    """
    from training.experiments.curves import draw_embeddings, trace

    grid, folder = (
        grid_of(
            "embed", data=data, network=network, method=method, seeds=seeds, first_seed=first_seed
        ),
        folder_of(out, "embed"),
    )
    with open_context(grid, folder, jobs=jobs) as context:
        traces, notes = trace(
            grid, context.datasets, context.runner, data_folder=context.data_folder
        )
    show_tables(
        draw_embeddings(traces, context.datasets, folder), folder, notes=notes, markdown=markdown
    )


@experiment.command()
def toy(
    method: MethodOption = None,
    seeds: SeedsOption = 5,
    first_seed: FirstSeedOption = 0,
    out: OutOption = None,
    markdown: MarkdownOption = False,
) -> None:
    """Figure 3: what each method learns of a known probability in one dimension.

    Example: candor experiment toy --seeds 2
    """
    from candor.terminal.progress import bars
    from training.experiments.presets import measured_methods
    from training.experiments.toy import toy as run_toy
    from training.experiments.variant import parse_variant

    folder = folder_of(out, "toy")
    methods = tuple(map(parse_variant, method or ())) or measured_methods()
    with bars() as progress:
        tables = run_toy(
            methods, range(first_seed, first_seed + (seeds or 1)), folder, progress=progress
        )
    show_tables(tables, folder, markdown=markdown)


@experiment.command()
def crossval(
    data: Annotated[str, typer.Argument(help="Small data set: every image is tested once.")],
    folds: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    group_pattern: GroupOption = None,
    layout: LayoutOption = None,
    network: Annotated[
        str, typer.Option(help="Network, 'NAME [key=value ...]'.")
    ] = "tf_efficientnet_lite0",
    method: MethodOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of folds and training.")] = 0,
    recipe: RecipeOption = "auto",
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
    json_out: JsonOption = False,
) -> None:
    """Cross-validate methods on a small data set, stratified by class and with each patient in one
    fold.

    Example: candor experiment crossval digits --network "small_conv epochs=20" --method ce
    """
    from candor.terminal.console import print_json, stderr
    from candor.terminal.progress import bars
    from training.datasets import load_dataset
    from training.experiments.folds import cross_validate, fold_table, folds_of
    from training.experiments.presets import network_variant
    from training.experiments.recipe_grid import recipe_grids
    from training.experiments.runner import ExperimentRunner
    from training.experiments.variant import Variant

    folder, automatic = folder_of(out, "crossval"), is_automatic(recipe)
    with bars() as progress:
        dataset = load_dataset(
            data,
            layout=layout,
            group_pattern=group_pattern,
            cache=cache_folder(),
            seed=seed,
            progress=progress,
        )
        parts = folds_of(dataset, folds, seed=seed)
        grid = replace(
            grid_of("select", method=method or ["ce", "dca"], seeds=1, first_seed=seed),
            data=tuple(Variant(name, data) for name in parts),
            networks=(network_variant(network),),
        )
        runner = ExperimentRunner(folder, cache_folder() / "features", jobs, progress)
        # One grid for all folds, since their results are put together: folds are alike in size.
        (first, *_) = recipe_grids(grid, parts, settings().data) if automatic else (grid,)
        results, notes = runner.run(
            replace(first, data=grid.data).cells(parts, settings().data), parts
        )
    failures = [
        f"{each.cell.method}, {each.cell.data}: {each.failure}" for each in results if each.failure
    ]
    found = cross_validate(results)
    for note in dataset.notes:
        stderr.print(f"Note: {note}.")
    if json_out:
        print_json([asdict(each) | {"measures": each.measures.as_dict()} for each in found])
        return
    show_tables([fold_table(found, dataset)], folder, notes=[*notes, *failures], markdown=markdown)


@experiment.command()
def select(
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    first_seed: FirstSeedOption = 0,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Labeled sample from the place of use, a data set or test:N, that chooses and "
            "calibrates instead of "
            "validation."
        ),
    ] = None,
    recipe: RecipeOption = "auto",
    judge: JudgeOption = "val",
    accuracy_loss: AccuracyLossOption = 0.01,
    nll_share: NllShareOption = 0.05,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
    json_out: JsonOption = False,
) -> None:
    """Choose method, strength and calibrator for your data by validation alone, and report how
    certain that is.

    Example: candor experiment select --data images --seeds 3
    """
    from candor.terminal.console import print_json
    from training.experiments.choice import Limits
    from training.experiments.recipe_grid import recipe_grids
    from training.experiments.reference import with_reference
    from training.experiments.select import select as run_selection
    from training.experiments.table import write_csv

    evaluation_set, automatic = evaluation_set_of(judge), is_automatic(recipe)
    grid, folder = (
        grid_of(
            "select", data=data, network=network, method=method, seeds=seeds, first_seed=first_seed
        ),
        folder_of(out, "select"),
    )
    if judge == "perturbed":
        grid = grid.with_changes(perturbed=True)
    with open_context(grid, folder, jobs=jobs) as context:
        datasets = context.datasets
        if reference is not None:
            datasets = {
                name: with_reference(each, reference, cache=cache_folder())
                for name, each in datasets.items()
            }
        grids = recipe_grids(grid, datasets, context.data_folder) if automatic else (grid,)
        cells = [cell for each in grids for cell in each.cells(datasets, context.data_folder)]
        results, notes = context.runner.run(cells, datasets)
    found = run_selection(
        results,
        limits=Limits(accuracy_loss, nll_share),
        evaluation_set=evaluation_set,
    )
    rows = [row for each in found for row in each.as_rows()]
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "selection.csv", rows)
    if json_out:
        print_json(rows)
        return
    show_tables([each.table() for each in found], folder, notes=notes, markdown=markdown)


def _numbers(text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"{error}; write numbers separated by commas, as in 1,5,10"
        ) from error
