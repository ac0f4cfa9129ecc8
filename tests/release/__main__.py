"""What a release must pass beyond the tests; `make test-wheel`, `-lowest`, `-signing` and
`-newest`.

python -m tests.release wheel                the demo, from the wheel alone
python -m tests.release wheel TAG ADDRESS    the same, of version TAG and with links to ADDRESS
python -m tests.release lowest [PATH ...]    tests with the lowest releases that are allowed
python -m tests.release signing [PATH ...]   tests of signatures, with the lowest model-signing
python -m tests.release newest [PATH ...]    tests with the newest releases
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.release.environment import ROOT, FreshEnvironment, build_wheel
from tests.release.source import copy_source

BUILD = ROOT / "build"
EXTRAS = (
    *("train", "dicom", "traces", "postgres", "parquet", "s3", "remote", "signatures"),
    "torchserve",
)
# The last ones hold what Candor takes over from Granian (limits, draining, broken clients), and
# traces.
FRONT = ("process", "bodies", "drain", "abuse", "secrets")
TESTS = (
    "tests/contract",
    "tests/unit",
    "tests/integration",
    *(f"tests/e2e/test_serving_{name}.py" for name in FRONT),
)
# model-signing rules out the lowest pydantic, so it is not in the environment of the other tests.
SIGNING_TESTS = ("tests/integration/model_store/test_signature.py",)
WITHOUT_SIGNING = tuple(f"--ignore={path}" for path in SIGNING_TESTS)
# Old releases of others warn about what came after them; new ones may not.
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "-m", "not nightly")


def release_wheel(tag: str, address: str) -> Path:
    """Build sdist and wheel of a release, whose README leads to `tag` at `address`."""
    source = copy_source(BUILD / "source", address=address, revision=tag)
    wheel = build_wheel(BUILD / "dist", source=source)
    version = wheel.name.split("-")[1]
    if tag != f"v{version}":
        sys.exit(f"the tag {tag} is not v{version}, the version in pyproject.toml")
    return wheel


def check_wheel(wheel: Path) -> None:
    """Run the demo on digits from the wheel, in a folder without the source."""
    environment = FreshEnvironment(BUILD / "wheel")
    chosen = environment.resolve(
        "packages.txt", "--constraint", ROOT / "requirements/constraints.txt", extras=["train"]
    )
    environment.install("--no-deps", "--requirement", chosen)
    environment.install("--no-deps", wheel)
    folder = environment.folder / "elsewhere"
    environment.run("candor", "demo", "--once", "--data", "digits", folder=folder, CANDOR_DATA="")


def check_lowest(name: str, extras: Sequence[str], tests: Sequence[str]) -> None:
    """Run tests with the lowest releases of what Candor and `extras` ask for, and the newest test
    tools that fit them.

    They are in the environment `name`.
    """
    environment = FreshEnvironment(BUILD / name)
    lowest = environment.resolve("lowest.txt", "--resolution", "lowest-direct", extras=extras)
    chosen = environment.resolve("packages.txt", extras=[*extras, "dev"], overrides=lowest)
    run_tests(environment, chosen, "-W", "default", *tests)


def check_newest(*tests: str) -> None:
    """Run tests with the newest releases of everything."""
    environment = FreshEnvironment(BUILD / "newest")
    chosen = environment.resolve("packages.txt", extras=[*EXTRAS, "signing", "dev"])
    run_tests(environment, chosen, *tests)


def run_tests(environment: FreshEnvironment, packages: Path, *arguments: str) -> None:
    """Install `packages` and this checkout, and run pytest."""
    # resolved already, with lower releases than they say
    environment.install("--no-deps", "--requirement", packages)
    compat = ("--config-settings", "editable_mode=compat")
    environment.install("--no-deps", *compat, "--editable", ROOT)
    environment.run(environment.python, *PYTEST, *arguments, folder=ROOT, PYTHONPATH=str(ROOT))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["wheel"]:
            check_wheel(build_wheel(BUILD / "dist"))
        case ["wheel", tag, address]:
            check_wheel(release_wheel(tag, address))
        case ["lowest", *paths]:
            check_lowest("lowest", EXTRAS, paths or (*WITHOUT_SIGNING, *TESTS))
        case ["signing", *paths]:
            check_lowest("signing", [*EXTRAS, "signing"], paths or SIGNING_TESTS)
        case ["newest", *paths]:
            check_newest(*(paths or TESTS))
        case _:
            sys.exit(__doc__)
