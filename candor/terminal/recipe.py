"""What `candor train` prints about the candidates of the recipe `auto`."""

from rich.table import Table

from candor.terminal.tables import figure, table
from training.runs.config import RecipeRecord


def recipe_table(recipe: RecipeRecord) -> Table:
    """Return a row per candidate: its choices, how it did on validation, and which one was kept."""
    names = tuple(recipe.candidates[0].choices)
    rows = [
        [
            *(
                f"{each.choices[name]:g}" if isinstance(each.choices[name], float) else str(each.choices[name])
                for name in names
            ),
            figure(each.val_nll),
            figure(each.val_accuracy),
            ", ".join(each.unanswered) or "-",
            "kept" if each.chosen else "",
        ]
        for each in recipe.candidates
    ]
    columns = (*(name.replace("_", " ") for name in names), "val NLL", "val accuracy", "never answered", "")
    return table("Recipe auto: candidates, by validation after a temperature", columns, rows, text=("never answered",))
