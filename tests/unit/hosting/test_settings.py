"""One frozen table of settings, and no variable that goes unnoticed."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from hosting.errors import SettingsError
from hosting.settings import Settings, ignored_variables, load_settings
from monitoring.drift.tag_settings import TagSettings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CANDOR_{name.upper()}", raising=False)


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_an_override_comes_before_the_environment_and_none_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CANDOR_PORT", "9000")
    assert load_settings(port=9001, host=None).port == 9001
    assert load_settings(port=None).port == 9000


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CANDOR_MAX_BATHC", r"did you mean CANDOR_MAX_BATCH\?"),
        *((name, "config show") for name in ("CANDOR_FOO", "CANDOR_", "CANDOR_GPU")),
    ],
)
def test_an_unknown_variable_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"^{name} .*{hint}"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("port", "70000"), ("deadline_s", "0"), ("device", "abacus"), ("max_batch", "x")),
        *(("drift_average_run_length", "inf"), ("deadline_s", "inf"), ("drain_delay_s", "nan")),
    ],
)
def test_a_bad_value_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"CANDOR_{name.upper()}", value)
    with pytest.raises(SettingsError, match=rf"CANDOR_{name.upper()}\): got '{value}'; "):
        load_settings()


@pytest.mark.parametrize("word", ["off", "OFF", "none", " "])
def test_the_ledger_can_be_switched_off(word: str) -> None:
    assert Settings(ledger=word).ledger_url is None


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1


def test_the_tags_to_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().watched_tags is None  # whatever the ledger has
    assert Settings(drift_tags=()).watched_tags == TagSettings()  # none
    monkeypatch.setenv("CANDOR_DRIFT_TAGS", '["site", "ward"]')
    monkeypatch.setenv("CANDOR_DRIFT_TAG_TOLERANCES", '{"site=B": 0.03}')
    assert load_settings().watched_tags == TagSettings(("site", "ward"), {"site=B": 0.03})
    monkeypatch.setenv("CANDOR_DRIFT_TAGS", '["ward"]')
    with pytest.raises(SettingsError, match="CANDOR_DRIFT_TAG_TOLERANCES: 'site=B'"):
        load_settings()


@pytest.mark.parametrize("text", ['["a.example", "b"]', "a.example,b", " a.example , b,"])
def test_a_list_is_json_or_between_commas(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CANDOR_HOSTS", text)
    assert load_settings().hosts == ("a.example", "b")


@pytest.mark.parametrize("name", ["HOSTS", "CORS_ORIGINS", "DRIFT_TAGS", "DRIFT_TAG_TOLERANCES"])
def test_what_is_no_json_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"CANDOR_{name}", "[1")
    with pytest.raises(SettingsError, match=rf"CANDOR_{name}\): .*expected"):
        load_settings()


def test_the_ledger_may_be_named_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("sqlite:///x.db\n")
    monkeypatch.setenv("CANDOR_LEDGER_FILE", str(file))
    assert load_settings().ledger_url == "sqlite:///x.db"
    assert load_settings(ledger="sqlite:///y.db").ledger_url == "sqlite:///y.db"
    monkeypatch.setenv("CANDOR_LEDGER", "")  # an image sets it, and an orchestrator cannot unset it
    assert load_settings().ledger_url == "sqlite:///x.db"
    for text in ("", " \n"):
        file.write_text(text)
        with pytest.raises(SettingsError, match=r"CANDOR_LEDGER_FILE: .* is empty"):
            load_settings()
    file.unlink()
    with pytest.raises(SettingsError, match=r"CANDOR_LEDGER_FILE: .* cannot be read"):
        load_settings()


def test_settings_never_show_a_secret() -> None:
    settings = Settings(ledger="postgresql://u:hidden@h/d", tokens=SecretStr("hidden admin"))
    assert "hidden" not in f"{settings!r} {settings}"


def test_the_variables_of_a_service_are_ignored_and_others_still_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    links = dict.fromkeys(("CANDOR_PORT", "CANDOR_X_PORT", "candor_y_port"), "tcp://10.0.0.1:80")
    links["CANDOR_X_SERVICE_HOST"] = "10.0.0.1"
    for name, value in links.items():
        monkeypatch.setenv(name, value)
    assert load_settings().port == 8080
    assert ignored_variables() == sorted(links)
    monkeypatch.setenv("CANDOR_X_PORT", "80")
    with pytest.raises(SettingsError, match="CANDOR_X_PORT"):
        load_settings()
