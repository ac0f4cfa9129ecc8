"""The dashboards against Grafana's own TypeScript types; needs npm's registry."""

import subprocess
from pathlib import Path

import pytest

from tests.builders.processes import PATIENCE_S
from tests.builders.programs import need
from tests.builders.prometheus import FOLDER

PACKAGES = ("@grafana/schema@11.6.0", "typescript@5.9.3")
# JSON has texts where the schema has enums of texts; and Prometheus keeps an annotation's
# expression beside its target.
TYPES = """
import type { AnnotationQuery, Dashboard } from "@grafana/schema";
type Plain<T> = T extends string ? `${T}`
  : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> }
  : T;
type Annotations = { list?: (Plain<AnnotationQuery> & { expr?: string })[] };
type Board = Plain<Omit<Dashboard, "annotations">> & { annotations?: Annotations };
"""
OPTIONS = (
    "--noEmit",
    "--strict",
    "--skipLibCheck",
    "--moduleResolution",
    "bundler",
    "--module",
    "esnext",
)
pytestmark = pytest.mark.nightly


@pytest.fixture
def compiler(tmp_path: Path) -> Path:
    """A folder in which `npx tsc` knows Grafana's types."""
    need("npm")
    install = [
        "npm",
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        *PACKAGES,
    ]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode:
        pytest.skip(f"npm could not fetch {' and '.join(PACKAGES)}: {done.stderr[-300:]}")
    return tmp_path


def compile_all(folder: Path) -> subprocess.CompletedProcess[str]:
    names = sorted(path.name for path in folder.glob("*.ts"))
    return subprocess.run(
        ["npx", "tsc", *OPTIONS, *names],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_the_compiler_finds_no_field_that_grafana_does_not_know(compiler: Path) -> None:
    for board in FOLDER.glob("*.json"):
        (compiler / f"{board.stem}.ts").write_text(
            f"{TYPES}export const board: Board = {board.read_text()};"
        )
    done = compile_all(compiler)
    assert done.returncode == 0, done.stdout
    spoiled = (compiler / "model.ts").read_text().replace('"refresh": "30s"', '"refreshs": "30s"')
    (compiler / "model.ts").write_text(spoiled)
    assert "'\"refreshs\"' does not exist" in compile_all(compiler).stdout  # it does look
