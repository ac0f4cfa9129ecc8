"""What `candor train` says when a run is done: how good it is, whether it repeats another, and what
comes next.
"""

from candor.terminal.answers import answer_tables
from candor.terminal.console import print_json, stdout
from candor.terminal.evaluation import evaluation_tables
from candor.terminal.recipe import recipe_sentence, recipe_table
from training.evaluation.usefulness import shortcomings
from training.runs.repetition import Repetition
from training.runs.run import RunResult


def print_result(
    note: str, result: RunResult, repetition: Repetition | None, *, verbose: bool, json_out: bool
) -> None:
    """Print a run, after a `note` on its data; `verbose` adds every candidate, calibrator and
    measure.
    """
    evaluation, record = result.evaluation, result.record
    found = shortcomings(
        evaluation, record.classes, method="temperature", balanced=record.config.balances
    )
    if json_out:
        repeats = {"repeats": repetition.repeats(result.folder)} if repetition else {}
        print_json(
            {"run": str(result.folder), "shortcomings": found} | repeats | evaluation.as_dict()
        )
        return
    stdout.print(f"{note}\n")
    if record.recipe is not None and record.recipe.candidates:
        stdout.print(recipe_table(record.recipe) if verbose else recipe_sentence(record.recipe))
        stdout.print()
    answers = answer_tables(evaluation, record.classes, verbose=verbose)
    for part in (*evaluation_tables(evaluation, verbose=verbose), "", *answers):
        stdout.print(part)
    if repetition and repetition.repeats(result.folder):
        stdout.print("\nThe run is repeated: its weights are those of the card, to the bit.")
    elif repetition:
        stdout.print(
            "\nThe choices and the data are the card's, but the weights are not equal to the bit: "
            "other libraries, "
            "another processor or number of threads add in another order."
        )
    stdout.print(
        f"\nRun folder: {result.folder} (plots/, all measures in "
        f"metrics.json{'' if verbose else '; --verbose'})"
    )
    if not found:
        stdout.print(f"Next: candor export {result.folder} --name MODEL")
        return
    stdout.print(
        "\nWARNING: this model is of no use as it is, and `candor export` refuses it without "
        "--anyway:"
    )
    for each in found:
        stdout.print(f"- {each}")
