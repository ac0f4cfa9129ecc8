"""Every page with commands, and how it is run. A page whose parts need other things has an entry
for each heading.

A page that lacks an entry, and an entry that fits no command, fail
tests/contract/test_docs_commands.py.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from tests.documentation import checks, scenes
from tests.documentation.commands import Command, commands_of
from tests.documentation.walk import Walk

MODEL: Final = {"MODEL": "chest", "VERSION": "2", "SERVER": "http://127.0.0.1:8080"}
MANY_FITS: Final = "trains for minutes to hours; tests/integration/candor/test_train.py trains less"
BENCHMARK: Final = "measures for minutes to hours, and its figures mean nothing beside other tests"
S3: Final = "needs a bucket; tests/integration/serving/test_remote_store.py runs a local S3 server"
VENV: Final = "tests run in an environment that is there already"
# Answers and labels of the sample model, from which the alarm has been raised: some 600 shifted
# images.
ALARM: Final = (
    "candor serve",
    "timeout 20 candor traffic --publish --rate 60 --clean 2 --label-delay 0.2 || [ $? = 124 ] || "
    "[ $? = 143 ]",
)
SENT: Final = (
    "candor serve",
    "candor predict scan.png --url http://127.0.0.1:8080 --model chest --request-id filename",
    "printf 'file,label\\nscan.png,normal\\n' > given.csv",
    "candor feedback given.csv",
)

WALKS: Final[Mapping[str, Walk]] = {
    "CONTRIBUTING.md": Walk(),
    "README.md": Walk(
        scene=scenes.newcomer,
        not_run={"candor demo": "tests/e2e/test_demo.py runs it"},
        check=checks.imported,
    ),
    "docs/benchmarks.md": Walk(not_run={"python -m*": BENCHMARK, "CANDOR_DATA=*": BENCHMARK}),
    "docs/bundle.md": Walk(
        scene=scenes.chest,
        stands_for={
            "STORE/NAME/VERSION": "model_store/models/chest/1",
            "REPOSITORY": "repo",
            "FOLDER": "kserve",
        },
        check=checks.exported,
    ),
    "docs/explanation/calibrated.md": Walk(run_by="tests/contract/test_names.py"),
    "docs/first-steps/ml-engineer.md": Walk(
        scene=scenes.data,
        stands_for={"PATH": "images", "DATA": "images"},
        not_run={"python3 -m venv*": VENV, "candor experiment select*": MANY_FITS},
        needs_data=True,
        check=checks.trained,
    ),
    "docs/first-steps/platform-engineer.md": Walk(scene=scenes.chest),
    "docs/first-steps/quality-manager.md": Walk(
        scene=scenes.chest, before=SENT, stands_for=MODEL, check=checks.filed
    ),
    "docs/how-to/audits.md": Walk(scene=scenes.chest, before=SENT, stands_for=MODEL),
    "docs/how-to/canary.md": Walk(
        scene=scenes.chest,
        before=SENT,
        stands_for=MODEL,
        meanwhile={
            "candor canary start*": ("candor promote chest 1",),
            "candor canary promote*": (
                "until curl -sf http://127.0.0.1:8080/readyz | grep -q '\"chest\":1'; do sleep "
                "0.1; done",
                "until curl -sf -H 'X-Candor-Canary: true' -H 'X-Request-Id: tried' --data-binary "
                "@scan.png "
                "http://127.0.0.1:8080/predictions/chest | grep '\"version\": *2'; do sleep 0.2; "
                "done",
                """curl -s -d '{"model": "chest", "request_id": "tried", "label": "normal"}' """
                "http://127.0.0.1:8080/feedback",
            ),
        },
        check=checks.second_is_in_production,
    ),
    "docs/how-to/compose.md": Walk(
        not_run=dict.fromkeys(
            ("export POSTGRES_PASSWORD*", "curl *"), "is for the services of the other commands"
        )
    ),
    "docs/how-to/console.md": Walk(scene=scenes.chest),
    "docs/how-to/container.md": Walk(run_by="tests/e2e/test_docs_container.py"),
    "docs/how-to/fine-tune.md": Walk(
        not_run={"candor train*": MANY_FITS, "candor experiment*": MANY_FITS}
    ),
    "docs/how-to/gpu.md": Walk(scene=scenes.chest),
    "docs/how-to/import-a-model.md": Walk(scene=scenes.foreign_pair),
    "docs/how-to/kubernetes.md": Walk(scene=scenes.clone),
    "docs/how-to/ledger.md": Walk(
        scene=scenes.chest,
        before=(*SENT, "candor ledger backup copy.db", 'down "$server_8080"'),
        stands_for={"FILE": "copy.db"},
        not_run={"psql*": "tests/e2e/test_operations.py restores a dump into a real PostgreSQL"},
    ),
    "docs/how-to/on-an-alarm.md": Walk(
        scene=scenes.sample,
        before=ALARM,
        stands_for={**MODEL, "MODEL": "digits", "--last N": "--last 400"},
        meanwhile={"curl -X POST*": ("candor promote digits 1",)},
    ),
    "docs/how-to/other-models.md": Walk(
        scene=scenes.answers_of_another, before=("candor monitor",)
    ),
    "docs/how-to/postgresql.md": Walk(
        not_run={
            "CANDOR_LEDGER*": "names a database that is not here; tests/e2e/test_operations.py "
            "uses a real one"
        }
    ),
    "docs/how-to/prometheus.md": Walk(
        scene=scenes.chest, before=SENT, stands_for=MODEL, check=checks.filed
    ),
    "docs/how-to/python-client.md": Walk(run_by="tests/e2e/test_docs_python_client.py"),
    "docs/how-to/ray.md": Walk(
        not_run=dict.fromkeys(
            ("CANDOR_LEDGER*", "candor predict*", "candor train*"),
            "needs a Ray cluster; tests/e2e/test_ray_serving.py and its like start one",
        )
    ),
    "docs/how-to/recalibrate-on-alarm.md": Walk(scene=scenes.chest, stands_for=MODEL),
    "docs/how-to/replicas.md": Walk(
        not_run=dict.fromkeys(
            ("CANDOR_MONITOR*", "CANDOR_LEDGER*"),
            "names a database that is not here; tests/e2e/test_kubernetes_pods.py runs such "
            "replicas on a real one",
        )
    ),
    "docs/how-to/run-a-server.md": Walk(scene=scenes.chest),
    "docs/how-to/secure.md": Walk(
        scene=scenes.chest, stands_for=MODEL, check=checks.tokens_are_made
    ),
    "docs/how-to/store.md": Walk(
        scene=partial(scenes.chest, versions=6),
        before=SENT,  # gc asks the ledger what has answered
        meanwhile={
            "candor models verify chest 1 --adopt": (
                "rm model_store/models/chest/1/manifest.json",
            ),
            "candor models gc --dry-run": (
                "candor models retire chest 2 --undo",
                "candor models retire chest 3",
            ),
            "candor models verify --key*": (
                "for n in 1 4 5 6; do candor models sign chest $n --key signing.pem; done",
            ),
        },
        not_run={"candor export RUN*": S3, "candor serve --store s3*": S3},
        check=checks.third_is_gone,
    ),
    "docs/monitoring.md": Walk(
        scene=scenes.chest,
        before=SENT,
        not_run={
            "candor report --every month --to reports/": "goes on until it is ended; the next "
            "line does it once"
        },
    ),
    "docs/reference/calibrator.md": Walk(check=checks.calibrator_prints),
    "docs/reference/http-api.md": Walk(run_by="tests/e2e/test_docs_curl.py"),
    "docs/releases.md": Walk(),
    "docs/runbooks/README.md": Walk(
        scene=scenes.clone, stands_for={"/etc/prometheus/candor": "monitoring/rules"}
    ),
    "docs/scaling.md": Walk(not_run={"python -m*": BENCHMARK}),
    "docs/torchserve.md": Walk(
        scene=scenes.digits_image, needs=("java", "torchserve"), after=("candor torchserve stop",)
    ),
    "docs/training.md": Walk(
        scene=scenes.data,
        stands_for={"PATH": "images"},
        not_run=dict.fromkeys(
            ("candor train*", "candor export RUN*", "candor experiment*"), MANY_FITS
        ),
    ),
    "docs/tutorials/demo.md": Walk(),
    **{
        f"docs/tutorials/{name}.md": Walk(check=check)
        for name, check in {
            "calibrate-predictions": checks.calibrated,
            "close-the-loop": checks.loop_is_closed,
            "import-a-model": checks.digits_are_imported,
            "watch-another-model": checks.alarm_was_acknowledged,
        }.items()
    },
}


def commands_of_entry(key: str) -> list[Command]:
    """The commands of a page, or of the part below the heading that the entry names."""
    page, _, heading = key.partition("#")
    return [each for each in commands_of(page) if heading in ("", each.heading)]
