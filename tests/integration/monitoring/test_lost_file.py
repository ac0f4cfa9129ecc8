"""A SQLite ledger whose files are deleted or replaced in use: nothing is lost silently."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from monitoring.feedback import FeedbackItem
from tests.builders.answers import make_row, prediction_id
from tests.builders.monitored import Clock, MonitoredModel


def delete(path: Path) -> None:
    path.unlink()


def delete_all(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def replace_by_nothing(path: Path) -> None:
    path.unlink()
    path.touch()


def replace_by_another_ledger(path: Path) -> None:
    other = path.with_name("other.db")
    with MonitoredModel(other, Clock()):
        pass
    other.replace(path)


def move_away(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


@pytest.mark.parametrize(
    "lose", [delete, delete_all, replace_by_nothing, replace_by_another_ledger, move_away]
)
def test_a_lost_ledger_takes_nothing_and_says_so(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    path = tmp_path / "ledger.db"
    with MonitoredModel(path, Clock()) as monitored:
        monitored.serve(make_row(1))
        lose(path)
        for _ in range(2):  # also on a new connection
            for use in (
                lambda: monitored.serve(make_row(2)),
                lambda: monitored.label(FeedbackItem("normal", prediction_id(1))),
                lambda: monitored.rows("SELECT 1"),
            ):
                with pytest.raises(OperationalError):
                    use()
        # it is not made again
        assert path.exists() == (lose in (replace_by_nothing, replace_by_another_ledger))


def test_a_ledger_that_is_put_back_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with MonitoredModel(path, Clock()) as monitored:
        monitored.serve(make_row(1))
        move_away(path)
        with pytest.raises(OperationalError):
            monitored.serve(make_row(2))
        path.with_name("moved.db").rename(path)
        monitored.serve(make_row(2))
        assert monitored.label(FeedbackItem("normal", prediction_id(2))) == ["accepted"]
