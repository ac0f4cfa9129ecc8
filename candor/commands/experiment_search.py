"""`candor experiment search`: every method with the same budget, by validation alone."""

from typing import Annotated

import typer

from candor.commands.experiment_context import grid_of, open_context, show_tables
from candor.commands.experiment_options import (
    CORES,
    AccuracyLossOption,
    DataOption,
    FirstSeedOption,
    JobsOption,
    JudgeOption,
    MarkdownOption,
    NetworkOption,
    NllShareOption,
    OutOption,
    evaluation_set_of,
    folder_of,
)
from candor.commands.options import JsonOption


def search(
    data: DataOption = None,
    network: NetworkOption = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Method, 'LOSS [key=value ...]'; values separated by commas are searched, as in "
            "'focal gamma=1,2'. "
            "Repeatable; ce must be among them."
        ),
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(
            help="Choice that every method searches, 'KEY=VALUE,VALUE', the default first; "
            "repeatable."
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Recipes for each method.")] = 8,
    few: Annotated[int, typer.Option(min=1, help="Seeds of every recipe.")] = 2,
    finalists: Annotated[
        int, typer.Option(min=1, help="Recipes of each method that are trained with all seeds.")
    ] = 2,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of the search.")] = 8,
    first_seed: FirstSeedOption = 0,
    test_seeds: Annotated[
        int, typer.Option(min=1, help="Further seeds, that measure the choices on test.")
    ] = 8,
    judge: JudgeOption = "val",
    by: Annotated[
        str,
        typer.Option(
            help="What chooses: ece within the limits below, or nll for the best predictions."
        ),
    ] = "ece",
    accuracy_loss: AccuracyLossOption = 0.01,
    nll_share: NllShareOption = 0.05,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
    json_out: JsonOption = False,
) -> None:
    """Search the recipe of every method with the same budget, by validation alone, and measure each
    with fresh seeds.

    Example: candor experiment search --data images --method ce --method "dca beta=2,5"
    """
    from candor.terminal.console import print_json
    from training.experiments.choice import Limits
    from training.experiments.search import MethodSearch, SearchBudget
    from training.experiments.search_report import SearchReport
    from training.experiments.search_space import SHARED, parse_axis, searched_method

    if few > seeds:
        raise typer.BadParameter(
            f"got {few} of {seeds} seeds; give at most --seeds", param_hint="--few"
        )
    if by not in ("ece", "nll"):
        raise typer.BadParameter(f"got {by!r}; choose ece or nll", param_hint="--by")
    grid, folder = (
        grid_of("search", data=data, network=network, method=method),
        folder_of(out, "search"),
    )
    drawn = tuple(range(first_seed, first_seed + seeds))
    fresh = tuple(range(drawn[-1] + 1, drawn[-1] + 1 + test_seeds))
    budget, shared = (
        SearchBudget(trials, finalists, few, drawn),
        dict(map(parse_axis, axis)) if axis else SHARED,
    )
    evaluation_set, limits = evaluation_set_of(judge), Limits(accuracy_loss, nll_share)
    if judge == "perturbed":
        grid = grid.with_changes(perturbed=True)
    with open_context(grid, folder, jobs=jobs) as context:
        searching = MethodSearch(
            grid,
            tuple(map(searched_method, grid.methods)),
            shared,
            budget,
            limits,
            evaluation_set,
            context.runner,
            context.datasets,
            context.data_folder,
            "nll" if by == "nll" else "ece",
        )
        pairs = searching.run()
        report = SearchReport(
            tuple(pairs),
            tuple(searching.evaluate(pairs, fresh)),
            budget,
            limits,
            evaluation_set,
            fresh,
        )
    report.write(folder)
    if json_out:
        print_json(report.trial_rows())
        return
    show_tables(report.tables(), folder, markdown=markdown)
