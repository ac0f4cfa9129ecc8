"""The examination of an installation by `candor doctor`."""

from collections.abc import Iterator

from hosting.errors import SettingsError
from hosting.settings import load_settings
from serving.doctor.check_result import CheckResult
from serving.doctor.data import check_ledger, check_store
from serving.doctor.installation import (
    check_access,
    check_confinement,
    check_files,
    check_packages,
    check_ports,
    check_python,
    check_runtime,
    check_system,
)


def examine() -> Iterator[CheckResult]:
    """Look at the installation that the environment describes."""
    yield from check_system()
    yield from check_confinement()
    yield from check_python()
    yield from check_packages()
    try:
        settings = load_settings()
    except SettingsError as error:
        advice = (
            "correct or unset it, and ask again, because nothing else was checked; "
            '`env -i PATH="$PATH" candor config show` lists every setting'
        )
        yield CheckResult("settings", "broken", str(error), advice)
        return
    changed = len(settings.model_fields_set)
    yield CheckResult(
        "settings", "ok", f"{changed} set by the environment; `candor config show` lists all"
    )
    for check in (check_runtime, check_store, check_ledger, check_ports, check_access, check_files):
        yield from check(settings)
