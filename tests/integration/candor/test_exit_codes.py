"""Every verb's exit code: 0 done, 1 refused, out of reach or harm found, 2 wrong use."""

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

# In this order, in one world; what is not done here takes a server or minutes, and is done in e2e
CODES: Final[dict[str, dict[int, tuple[str, ...]]]] = {
    "demo": {2: ("--seed x",)},
    "traffic": {1: ("--token-file nothing",), 2: ("--rate 0",)},
    "calibrate": {
        0: ("classes.csv",),
        1: ("nothing.csv", "scan.png"),
        2: ("", "classes.csv --apply c.json"),
    },
    "data check": {0: ("digits",), 1: ("images", "nothing"), 2: ("digits --max-corrupt 2",)},
    "train": {
        0: ("digits --epochs 1 --out run",),
        1: ("nothing", "digits --out run --loss nothing"),
        2: ("digits --epochs 0", "digits --loss ce --beta 3"),
    },
    "export": {
        0: ("run --name digits",),
        1: ("nothing",),
        2: ("run --calibrator best", "run --threshold none"),
    },
    "experiment compare": {2: ("--preset nothing", "--jobs 0")},
    "experiment figure": {1: ("4 --data nothing.npz",), 2: ("6", "3 --data digits")},
    "import": {1: ("classes.csv", "nothing.onnx"), 2: ("a.onnx --size 7", "a.onnx --group site")},
    "models list": {0: ("",), 1: (NOWHERE,), 2: ("--nothing",)},
    "models show": {0: ("tiny", "tiny 2"), 1: ("tiny 9", f"tiny {NOWHERE}"), 2: ("",)},
    "models diff": {0: ("tiny 1 2",), 1: ("tiny 1 9",), 2: ("tiny",)},
    "models verify": {0: ("tiny 1",), 1: ("tiny 3", "nothing", f"tiny {NOWHERE}"), 2: ("tiny 01",)},
    "models history": {0: ("tiny",), 1: ("nothing",), 2: ("",)},
    "promote": {
        0: ("tiny 2", f"tiny 1 {AWAY}"),
        1: ("tiny 9", "tiny 3", f"tiny 2 --wait --limit 0 {DEAD}"),
        2: ("tiny 01", "tiny 1 --limit 3"),
    },
    "models rollback": {0: ("tiny",), 1: ("tiny --alias nothing",), 2: ("",)},
    "models alias": {0: ("tiny staging 2",), 1: ("tiny nothing",), 2: ("tiny staging --why so",)},
    "models sign": {1: ("tiny 1 --key nothing.pem",), 2: ("tiny 1",)},
    "models samples": {0: ("tiny scan.png",), 1: ("nothing",), 2: ("tiny scan.png --clear",)},
    "canary start": {0: ("tiny 2",), 1: ("tiny 9",), 2: ("tiny 1 --share 2",)},
    "canary status": {0: ("tiny",), 1: ("nothing", f"tiny {NOWHERE}"), 2: ("",)},
    "canary promote": {1: ("tiny", f"tiny {AWAY}"), 0: ("tiny --anyway",), 2: ("",)},
    "canary abort": {1: ("tiny",), 2: ("tiny --reason ''",)},
    "models retire": {0: ("tiny 3",), 1: ("tiny 2",), 2: ("tiny x",)},
    "models gc": {0: ("--dry-run",), 1: ("nothing", f"--dry-run {AWAY}"), 2: ("--dry-run --yes",)},
    "serve": {1: ("--ledger off --recalibrate-on-alarm publish",), 2: ("--engine nothing",)},
    "predict": {
        0: ("scan.png --model tiny",),
        1: ("classes.csv --model tiny", f"scan.png {DEAD}", "scan.png --model nothing"),
        2: ("", "scan.png --model images", "scan.png --url a:8080"),
    },
    "feedback": {1: (f"labels.csv {DEAD}",), 2: ("", "--prediction-id a --label b --early")},
    "predictions": {1: (f"labels.csv {DEAD}",), 2: ("",)},
    "report": {
        0: ("tiny", f"pneumonia {ALARM}"),
        1: (f"pneumonia {ALARM} --fail-on-alarm", "nothing", f"tiny {AWAY}", f"tiny {DEAD}"),
        2: ("tiny --gap 1", "tiny --window all --since 3d", "--ledger off"),
    },
    "recalibrate": {
        0: ("tiny --version 1 --preview",),
        1: ("tiny --min-labels 500", f"tiny {AWAY}"),
        2: ("tiny --preview --accept-harm",),
    },
    "monitor": {1: ("--ledger off",), 2: ("--port x",)},
    "ledger check": {0: ("",), 1: (AWAY,), 2: ("--ledger off",)},
    "ledger prune": {
        0: ("--older-than 90d",),
        1: (f"--older-than 90d {AWAY}",),
        2: ("--older-than year",),
    },
    "ledger forget": {1: ("--request-id nothing",), 2: ("", "--prediction-id seven")},
    "ledger export": {
        0: ("all.csv",),
        1: ("a.txt", "a.csv --model nothing"),
        2: ("",),
    },
    "ledger acknowledge": {
        0: (f"pneumonia --note looked {ALARM}",),
        1: (f"pneumonia --note again {ALARM}", "nothing --note so"),
        2: ("tiny",),
    },
    "ledger sources": {0: ("tiny report=proxy",), 1: ("tiny report=maybe", "nothing"), 2: ("",)},
    "ledger backup": {0: ("copy.db",), 1: (f"copy.db {AWAY}",), 2: ("",)},
    "ledger restore": {1: ("nothing.db", "copy.db"), 2: ("",)},
    "doctor": {1: ("",), 2: ("now",)},
    "health": {1: ("",), 2: ("now",)},
    "config show": {0: ("",), 2: ("now",)},
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
    Path("classes.csv").write_text("label,p_a,p_b\n" + "a,0.8,0.2\nb,0.3,0.7\n" * 40)
    Path("labels.csv").write_text("file,label,predicted,confidence\nscan.png,a,a,0.9\n")
    for name in ("damaged.db", "token", "images/only-one-class/a.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"nothing of the kind")
    Path("scan.png").write_bytes(png())
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
            done = candor_here(*verb.split(), *(word.strip("'") for word in each.split()))
            ended = done.exception
            is_bug = isinstance(ended, Exception) and reason(ended) is None
            said = "" if isinstance(ended, SystemExit | None) else str(ended)
            if is_bug or done.exit_code != code or not (code == 0 or done.output + said):
                wrong.append(f"{verb} {each}: {done.exit_code}, {done.output[-300:]} {ended!r}")
    assert not wrong, "\n".join(wrong)
