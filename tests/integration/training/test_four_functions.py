"""The four functions on the first page of docs/training.md do what `candor train` does."""

import re
from pathlib import Path

from training.runs.run import train

PAGE = Path(__file__).parents[3] / "docs" / "training.md"


def test_ten_lines_of_the_page_give_the_measures_of_the_command(tmp_path: Path) -> None:
    first = PAGE.read_text(encoding="utf-8").partition("\n## ")[0]
    (program,) = re.findall(r"```python\n(.*?)```", first, re.DOTALL)
    assert len(program.split("\n\n", 1)[1].splitlines() + program.splitlines()[:3]) <= 10
    names: dict[str, object] = {}
    exec(program, names)
    dataset, config, report = (names[name] for name in ("dataset", "config", "report"))
    run = train(config, dataset, tmp_path / "run", pictures=False)
    assert report.as_dict() == run.evaluation.as_dict()
