"""What `candor train` prints about the candidates of the recipe `auto`."""

from rich.table import Table

from calibration.wording import counted
from candor.terminal.tables import figure, table
from training.runs.config import RecipeRecord


def recipe_table(recipe: RecipeRecord) -> Table:
    """Return a row per candidate: its choices, how it did on validation, and which one was kept."""
    names = tuple(recipe.candidates[0].choices)
    rows = [
        [
            *(
                f"{each.choices[name]:g}"
                if isinstance(each.choices[name], float)
                else str(each.choices[name])
                for name in names
            ),
            figure(each.val_nll),
            figure(each.val_accuracy),
            ", ".join(each.unanswered) or "-",
            "kept" if each.chosen else "",
        ]
        for each in recipe.candidates
    ]
    columns = (
        *(name.replace("_", " ") for name in names),
        "val NLL",
        "val accuracy",
        "never answered",
        "",
    )
    return table(
        "Recipe auto: candidates, by validation after a temperature",
        columns,
        rows,
        text=("never answered",),
    )


def recipe_sentence(recipe: RecipeRecord) -> str:
    """Return the candidate that was kept, its choices and how it did on validation, in one line."""
    (kept,) = (each for each in recipe.candidates if each.chosen)
    choices = ", ".join(
        f"{name.replace('_', ' ')} {value:g}"
        if isinstance(value, float)
        else f"{name.replace('_', ' ')} {value}"
        for name, value in kept.choices.items()
    )
    return (
        f"Recipe auto, best of {counted(len(recipe.candidates), 'candidate')}: {choices} "
        f"(validation: NLL {figure(kept.val_nll)}, accuracy {figure(kept.val_accuracy)})"
    )
