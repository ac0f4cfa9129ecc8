"""compose.yaml: it names what is there, asks for every password, and mounts sound files."""

import re
from pathlib import Path

import pytest
import yaml

from hosting.settings import Settings
from tests.builders.composition import PASSWORD, ROOT, read_composition
from tests.builders.prometheus import DASHBOARDS

COMPOSITION = read_composition(POSTGRES_PASSWORD=PASSWORD)
SERVICES = COMPOSITION["services"]
CONFIGURATIONS = ROOT / "deploy" / "compose"


def mounts() -> list[tuple[str, str, str]]:
    """Service, source and target of every volume."""
    return [
        (name, *volume.split(":")[:2])
        for name, each in SERVICES.items()
        for volume in each.get("volumes", [])
    ]


def test_no_password_has_a_default() -> None:
    with pytest.raises(KeyError, match="POSTGRES_PASSWORD"):
        read_composition()
    text = (ROOT / "compose.yaml").read_text()
    assert re.findall(r"\$\{(?!POSTGRES_PASSWORD:\?|MODELS:-models\})[^}]*\}", text) == []
    grafana = SERVICES["grafana"]["environment"]
    # else it is admin, admin
    assert grafana["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for each in SERVICES.values() for port in each.get("ports", [])]
    assert len(ports) == 5
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_candors_services_are_confined_and_set_what_exists() -> None:
    ours = {name: each for name, each in SERVICES.items() if each["image"] == "candor"}
    assert set(ours) == {"candor", "monitor", "demo"}
    for each in ours.values():
        assert (each["read_only"], each["cap_drop"]) == (True, ["ALL"])
        names = {name.removeprefix("CANDOR_").lower() for name in each.get("environment", {})}
        assert names <= Settings.model_fields.keys()
    assert [name for name, each in SERVICES.items() if "profiles" in each] == ["demo"]


def test_the_demo_can_publish_into_the_store() -> None:
    """Docker gives a new volume the owner of the folder in the image."""
    made = re.findall(r"root.sh ([\w/ ]+)", (ROOT / "Dockerfile").read_text())[-1]
    assert {target for name, _, target in mounts() if name == "demo"} <= set(made.split())


def test_grafana_is_provisioned_with_the_source_and_the_dashboards() -> None:
    """As far as files can tell: no package ships the server."""
    (source,), (provider,) = (
        yaml.safe_load((CONFIGURATIONS / f"grafana/{kind}.yml").read_text())[key]
        for kind, key in (("datasources", "datasources"), ("dashboards", "providers"))
    )
    service, _, port = source["url"].removeprefix("http://").partition(":")
    assert service in SERVICES
    assert f"127.0.0.1:{port}:{port}" in SERVICES[service]["ports"]
    targets = {target: origin for name, origin, target in mounts() if name == "grafana"}
    assert {
        path.stem for path in (ROOT / targets[provider["options"]["path"]]).glob("*.json")
    } == set(DASHBOARDS)
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.parent == Path(provider["options"]["path"])
    assert home.stem in DASHBOARDS
    assert {str(Path(target).parent) for target in targets if target.endswith(".yml")} == {
        "/etc/grafana/provisioning/datasources",
        "/etc/grafana/provisioning/dashboards",
    }
