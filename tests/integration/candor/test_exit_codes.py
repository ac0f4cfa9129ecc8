"""Every verb's exit code: 0 done, 1 refused, out of reach or harm found, 2 wrong use."""

import shlex
from pathlib import Path
from typing import Final

import pytest
import typer

from candor.command_line import app
from candor.commands.verb import reason
from model_store.store.store import Store
from tests.builders.bundles import build_bundle, png
from tests.builders.monitored import Clock, MonitoredModel, record_unsure_answers
from tests.builders.processes import candor_here
from tests.contract.test_help import leaves

DEAD: Final = "--url http://127.0.0.1:9"
AWAY: Final = "--ledger sqlite:///damaged.db"
ALARM: Final = "--ledger sqlite:///alarm.db"
NOWHERE: Final = "--store nowhere"
GONE: Final = "--ledger sqlite:///gone.db"
EMPTY: Final = "--ledger sqlite:///empty.db"  # of somebody else
OUT: Final = "--out scored --model tiny"
LABEL: Final = "--prediction-id 01a2 --label ill"

# In this order, in one world; what is not done here takes a server or minutes, and is done in e2e
CODES: Final[dict[str, dict[int, tuple[str, ...]]]] = {
    "demo": {2: ("--seed x",)},
    "traffic": {1: ("--token-file nothing",), 2: ("--rate 0", "--store store --once")},
    "calibrate": {
        0: ("classes.csv",),
        1: (
            *("nothing.csv", "scan.png", "classes.csv --positive a", "one.csv --normalize"),
            "one.csv --classes 0,1 --positive 1",
        ),
        2: (
            *("", "classes.csv --apply c.json", "a.csv --apply c.json --to b.csv --out folder"),
            "classes.csv --threshold youden --out scored",
            *(f"findings.csv --findings * {each}" for each in ("--exclusive", "--normalize")),
            "findings.csv --findings * --allow-label-changes",
            *("classes.csv --scores p_* --confidence p_a", "classes.csv --logits --normalize"),
            *(f"confidence.csv {each}" for each in ("--positive a", "--logits")),
            "correct.csv --correct correct --label correct",
        ),
    },
    "data check": {
        0: ("digits",),
        1: ("images", "nothing"),
        2: (
            "digits --max-corrupt 2",
            *(f"images --window {each}" for each in ("40", "x,1", "40,0")),
        ),
    },
    "train": {
        0: ("digits --epochs 1 --out run",),
        1: ("nothing", "digits --out run --loss dcaa"),
        2: (
            *("digits --epochs 0", "digits --loss ce --beta 3", "digits --batch-size 1"),
            *("digits --augment flip", "digits --recipe best"),
        ),
    },
    "export": {
        0: ("run --name digits",),
        1: ("nothing",),
        2: ("run --calibrator best", "run --threshold none"),
    },
    "experiment compare": {2: ("--preset nothing", "--jobs 0")},
    "experiment figure": {
        1: ("4 --data nothing.npz",),
        2: ("6", "3 --data digits", "3 --data digits --out scored"),
    },
    "import": {
        1: ("classes.csv", "nothing.onnx"),
        2: (*("a.onnx --size 7", "a.onnx --group site"), "a.onnx --pixels ImageNet"),
    },
    "models list": {0: ("",), 1: (NOWHERE,), 2: ("--nothing",)},
    "models show": {0: ("tiny", "tiny 2"), 1: ("tiny 9", f"tiny {NOWHERE}"), 2: ("",)},
    "models diff": {0: ("tiny 1 2",), 1: ("tiny 1 9",), 2: ("tiny",)},
    "models verify": {
        0: ("tiny 1",),
        1: ("tiny 3", "nothing", f"tiny {NOWHERE}", "../x", "a/b", "''"),
        2: ("tiny 01", "tiny 2.0", "tiny 0", "tiny ../.."),
    },
    "models history": {0: ("tiny",), 1: ("nothing",), 2: ("",)},
    "promote": {
        0: ("tiny 2", f"tiny 1 {AWAY}"),
        1: (
            *("tiny 9", "tiny 3", f"tiny 2 --wait --limit 0 {DEAD}", f"tiny 1 {NOWHERE}"),
            *(".. 1", "a/b 1", "'' 1", f"{'x' * 65} 1"),
        ),
        2: ("tiny 01", "tiny +1", "tiny 1e0", "tiny \u0661", "tiny 1 --limit 3"),
    },
    "models rollback": {0: ("tiny",), 1: ("tiny --alias nothing",), 2: ("",)},
    "models alias": {
        0: ("tiny staging 2 --why new", "tiny staging", "tiny staging --remove"),
        1: ("tiny nothing", "tiny staging", "tiny production --remove"),
        2: ("tiny staging --why so", "tiny staging 2 --remove"),
    },
    "models sign": {1: ("tiny 1 --key nothing.pem",), 2: ("tiny 1",)},
    "models samples": {0: ("tiny scan.png",), 1: ("nothing",), 2: ("tiny scan.png --clear",)},
    "canary start": {
        0: ("tiny 2",),
        1: ("tiny 9", "../x 1", f"tiny 2 {NOWHERE}"),
        2: ("tiny 1 --share 2", "tiny 01"),
    },
    "canary status": {0: ("tiny",), 1: ("nothing", f"tiny {NOWHERE}"), 2: ("",)},
    "canary promote": {
        1: ("tiny", f"tiny {AWAY}", f"tiny {NOWHERE}"),
        0: ("tiny --anyway",),
        2: ("",),
    },
    "canary abort": {1: ("tiny", f"tiny {NOWHERE}"), 2: ("tiny --reason ''",)},
    "models retire": {0: ("tiny 3", "tiny 3 --undo", "tiny 3"), 1: ("tiny 2",), 2: ("tiny x",)},
    "models gc": {
        0: ("--dry-run",),
        1: ("nothing", f"--dry-run {AWAY}", f"--yes --keep 1 {GONE}"),
        2: ("--dry-run --yes",),
    },
    "serve": {1: ("--ledger off --recalibrate-on-alarm publish",), 2: ("--engine nothing",)},
    "predict": {
        0: ("scan.png --model tiny",),
        1: (
            *("classes.csv --model tiny", f"scan.png {DEAD}", "scan.png --model nothing"),
            f"scan.png --model tiny {NOWHERE}",
        ),
        2: (
            *("", "scan.png --model images", "scan.png --url a:8080"),
            *(f"images {OUT} --token-file token", f"images {OUT} {DEAD}"),
            *(f"images {OUT} {each}" for each in ("--engine spark", "--frame all", "more")),
            "images --model tiny --engine ray",
            *(f"scan.png {DEAD} --store store", "scan.png --token-file token"),
            "scan.png --model store/tiny/1 --version 2",
        ),
    },
    "feedback": {
        1: (f"labels.csv {DEAD}",),
        2: ("", *(f"{LABEL} {each}" for each in ("--early", "--model tiny", "--request-id path"))),
    },
    "predictions": {1: (f"labels.csv {DEAD}",), 2: ("",)},
    "report": {
        0: ("tiny", f"pneumonia {ALARM}"),
        1: (
            *(f"pneumonia {ALARM} --fail-on-alarm", "nothing", f"tiny {AWAY}", f"tiny {DEAD}"),
            *(GONE, f"tiny --html page.html {GONE}", "tiny --since soon"),
        ),
        2: (
            *("tiny --gap 1", "tiny --window all --since 3d", "--ledger off"),
            "tiny --token-file token",
        ),
    },
    "recalibrate": {
        0: ("tiny --version 1 --preview",),
        1: ("tiny --min-labels 500", f"tiny {AWAY}", f"tiny --preview {GONE}"),
        2: ("tiny --preview --accept-harm",),
    },
    "monitor": {
        1: ("--ledger off", f"--recalibrate-on-alarm publish {NOWHERE}"),
        2: ("--port x",),
    },
    "ledger check": {0: ("",), 1: (AWAY, EMPTY, GONE, f"--repair {GONE}"), 2: ("--ledger off",)},
    "ledger prune": {
        0: ("--older-than 90d",),
        1: (f"--older-than 90d {AWAY}", f"--older-than 90d {GONE}"),
        2: ("--older-than year",),
    },
    "ledger forget": {
        1: ("--request-id nothing", f"--request-id scan.png {GONE}"),
        2: ("", "--prediction-id seven"),
    },
    "ledger export": {
        0: ("all.csv",),
        1: ("a.txt", "a.csv --model nothing", f"gone.csv {GONE}"),
        2: ("",),
    },
    "ledger acknowledge": {
        0: (f"pneumonia --note looked {ALARM}",),
        1: (
            *(f"pneumonia --note again {ALARM}", "nothing --note so"),
            f"pneumonia --note again --chosen-labels {ALARM}",
        ),
        2: ("tiny",),
    },
    "ledger sources": {
        0: ("tiny report=proxy",),
        1: ("tiny report=maybe", "nothing", f"tiny {GONE}"),
        2: ("",),
    },
    "ledger backup": {0: ("copy.db",), 1: (f"copy.db {AWAY}", f"gone-copy.db {GONE}"), 2: ("",)},
    "ledger restore": {1: ("nothing.db", "copy.db"), 2: ("",)},
    "doctor": {1: ("",), 2: ("now",)},
    "health": {1: ("",), 2: ("now",)},
    "config show": {0: ("",), 2: ("now",)},
}


TABLES: Final = {
    "classes": "label,p_a,p_b\n" + "a,0.8,0.2\nb,0.3,0.7\n" * 40,
    "labels": "file,label,predicted,confidence\nscan.png,a,a,0.9\n",
    "one": "label,prob\n" + "1,0.8\n0,0.3\n" * 40,
    "findings": "x,p_x\n" + "1,0.8\n0,0.3\n" * 40,
    "confidence": "label,predicted,confidence\n" + "a,a,0.8\nb,a,0.7\n" * 40,
    "correct": "correct,confidence\n" + "1,0.8\n0,0.7\n" * 40,
}


@pytest.fixture
def world(tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three versions, of which the last is damaged; labels, and a ledger in alarm; files."""
    for _ in range(2):
        tiny_store.publish("tiny", build_bundle)
    (tiny_store.folder("tiny", 3) / "tiny.mar").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    record_unsure_answers("sqlite:///labeled.db", tiny_store.read("tiny").card)
    with MonitoredModel(Path("alarm.db"), Clock()) as monitored:
        monitored.answer(range(300), wrong=3, both=True)
    for name, text in TABLES.items():
        Path(f"{name}.csv").write_text(text)
    for name in ("damaged.db", "token", "images/only-one-class/a.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"nothing of the kind")
    Path("scan.png").write_bytes(png())
    Path("empty.db").touch()
    for name, value in {
        "HOME": str(tmp_path),
        "CANDOR_STORE": str(tiny_store.root),
        "CANDOR_LEDGER": "sqlite:///labeled.db",
        "CANDOR_PORT": "9",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("world", "undrawn")
def test_every_verb_ends_with_its_code_and_a_sentence() -> None:
    assert {" ".join(words) for words, _ in leaves(typer.main.get_command(app))} == CODES.keys()
    wrong = []
    for verb, codes in CODES.items():
        for code, each in ((code, one) for code, several in codes.items() for one in several):
            done = candor_here(*verb.split(), *shlex.split(each))
            ended = done.exception
            is_bug = isinstance(ended, Exception) and reason(ended) is None
            said = "" if isinstance(ended, SystemExit | None) else str(ended)
            if is_bug or done.exit_code != code or not (code == 0 or done.output + said):
                wrong.append(f"{verb} {each}: {done.exit_code}, {done.output[-300:]} {ended!r}")
    assert not wrong, "\n".join(wrong)
    # What was refused has left nothing behind.
    assert not [*Path().glob("gone*"), *Path().glob("nowhere*"), *Path().glob("scored*")]
    assert Path("empty.db").stat().st_size == 0
