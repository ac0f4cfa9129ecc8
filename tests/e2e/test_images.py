"""What is in each image that was built before (tests/builders/containers.py)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from model_store.installation import EXTRA_MODULES
from tests.builders.containers import BUILT, configuration, run

ROOT = Path(__file__).parents[2]
OPTIONAL = {"opentelemetry"}
WITHOUT_LEDGER = ("torchserve", "training")

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(not BUILT, reason="TEST_IMAGES names no image to look into"),
    pytest.mark.parametrize("target", BUILT),
]

IMPORT_ALL = """
import importlib.util, json, os, pkgutil, sys
missing = {}
for room in ROOMS:
    for found in pkgutil.walk_packages(importlib.import_module(room).__path__, room + "."):
        if found.name.endswith("__main__") or ".versions" in found.name:
            continue
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            missing[found.name] = error.name.split(".")[0]
files = [getattr(each, "__file__", None) or "" for each in sys.modules.values()]
compiled = [os.path.exists(importlib.util.cache_from_source(file)) for file in files if file.endswith(".py")]
print(json.dumps({"missing": missing, "compiled": sum(compiled), "of": len(compiled)}))
"""


def python(target: str, code: str) -> Any:
    return json.loads(run(target, "-c", code, entrypoint="python").stdout)


def test_it_is_as_small_as_the_page_says(target: str) -> None:
    row = re.search(
        rf"^\| `{target}` \|.*", (ROOT / "docs/how-to/container.md").read_text(), re.MULTILINE
    )
    limits = [float(limit.replace(",", "")) for limit in re.findall(r"At most ([\d,]+) MB", row[0])]
    assert len(limits) == (target != "gpu")  # most of that one is CUDA, which is its base's matter
    assert all(configuration(target)["Size"] <= limit * 1e6 for limit in limits)


def test_nothing_in_it_installs_compiles_or_grants_privileges(target: str) -> None:
    tools = "pip pip3 uv cc gcc c++ g++ clang ld as strip make tcc rustc go javac"
    script = f"""
        for tool in {tools}; do command -v $tool; done
        find / -xdev -type f -perm /6000
        find / -xdev \\( -type f -o -type d \\) -writable | grep -vE '^/(tmp|var/tmp|data|work|models|dev|proc)(/|$)'
        find /usr /opt -name pip -o -name 'pip-*' -o -name ensurepip -o -name '*.whl'
        true"""
    assert run(target, "-c", script, entrypoint="sh").stdout == ""
    assert run(target, "-u", entrypoint="id").stdout.strip() == "10001"


def test_all_of_candor_is_there_and_compiled(target: str) -> None:
    rooms = [
        "calibration",
        "model_store",
        "monitoring",
        "serving",
        *["training"] * (target == "training"),
        "candor",
    ]
    found = python(target, IMPORT_ALL.replace("ROOMS", repr(rooms)))
    assert set(found["missing"].values()) <= {
        *(() if target == "training" else EXTRA_MODULES["train"]),
        *(("psycopg",) if target in WITHOUT_LEDGER else ()),
        *OPTIONAL,
    }
    assert found["compiled"] >= 0.99 * found["of"] > 500


def test_its_bill_of_materials_lists_every_package(target: str) -> None:
    bill = json.loads(run(target, "/opt/sbom/sbom.cdx.json", entrypoint="cat").stdout)
    assert bill["bomFormat"] == "CycloneDX"
    listed = {(canonicalize_name(each["name"]), each["version"]) for each in bill["components"]}
    code = (
        "import importlib.metadata as m, json; print(json.dumps([(d.name, d.version) for d in "
        "m.distributions()]))"
    )
    installed = {(canonicalize_name(name), version) for name, version in python(target, code)}
    assert len(installed) > 40
    assert installed <= listed
    system = {
        each["name"] for each in bill["components"] if each.get("purl", "").startswith("pkg:deb/")
    }
    assert {"libc6", "libssl3t64"} <= system
    assert "python" in {
        each["name"] for each in bill["components"] if each["type"] == "application"
    }
    assert ("openjdk-21-jre-headless" in system) == (target == "torchserve")
