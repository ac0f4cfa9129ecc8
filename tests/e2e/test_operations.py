"""What an operator does to a running installation: restores a backup, rotates tokens."""

import sqlite3
import subprocess
from pathlib import Path

import pytest

from model_store.store.store import Store
from tests.builders.bundles import png
from tests.builders.postgres import Cluster
from tests.builders.processes import candor, candor_here, wait_until
from tests.builders.servers import Server, Start

OLD, NEW = "old-token-of-the-gateway", "new-token-of-the-gateway"


def answered(server: Server, image: bytes, count: int) -> list[str]:
    return [server.predict(image).json()["prediction_id"] for _ in range(count)]


def labeled(server: Server, ids: list[str]) -> list[str]:
    items = [{"prediction_id": key, "label": "benign"} for key in ids]
    return [result["status"] for result in server.client.post("/feedback", json=items).json()]


def test_a_backup_comes_back_and_what_was_there_is_kept(
    start: Start, tiny_store: Store, tmp_path: Path
) -> None:
    url, copy = f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "copy.db"
    server = start(tiny_store, ledger=url)
    before = answered(server, png(), 6)
    assert labeled(server, before[:4]) == ["accepted"] * 4
    assert candor_here("ledger", "backup", copy, "--ledger", url).exit_code == 0
    after = answered(server, png(), 3)
    refused = candor("ledger", "restore", copy, "--ledger", url, "--replace")
    assert refused.returncode == 1
    assert "stop all of them first" in refused.stderr.replace("\n", " ")
    assert labeled(server, after[:1]) == ["accepted"]  # nothing has changed under the server
    server.process.kill()  # the log of SQLite stays beside the file
    server.process.wait()
    assert "--replace" in candor("ledger", "restore", copy, "--ledger", url).stderr
    restored = candor_here("ledger", "restore", copy, "--ledger", url, "--replace")
    assert restored.exit_code == 0, restored.exception
    assert "6 answers and 4 labels" in restored.stdout.replace("\n", " ")
    again = start(tiny_store, ledger=url)
    assert labeled(again, before[4:]) == ["accepted"] * 2
    assert labeled(again, before[:1]) == ["unchanged"]
    assert "accepted" not in labeled(again, after)
    again.process.terminate()
    assert again.exit_code() == 0
    assert candor_here("ledger", "check", "--ledger", url).exit_code == 0
    kept = tmp_path / "ledger.db.replaced-1"
    assert candor_here("ledger", "check", "--ledger", f"sqlite:///{kept}").exit_code == 0
    with sqlite3.connect(kept) as there:
        assert there.execute("SELECT count(*) FROM prediction").fetchone() == (9,)
    there.close()


@pytest.mark.nightly  # what docs/how-to/postgresql.md types
@pytest.mark.programs("pg_dump", "psql")
def test_postgresql_is_dumped_and_restored_by_its_own_tools(
    start: Start, tiny_store: Store, postgres: Cluster
) -> None:
    url, empty = postgres.make_database(), postgres.make_database("restored")
    plain, target = (each.replace("postgresql+psycopg", "postgresql") for each in (url, empty))
    server = start(tiny_store, ledger=url)
    ids = answered(server, png(), 6)
    labeled(server, ids[:4])
    dump = subprocess.run(
        ["pg_dump", "--clean", "--if-exists", "--no-owner", plain], capture_output=True, check=True
    ).stdout
    server.process.kill()
    server.process.wait()
    command = ["psql", "--quiet", "--set=ON_ERROR_STOP=1", target]
    subprocess.run(command, input=dump, capture_output=True, check=True)
    again = start(tiny_store, ledger=empty)
    assert labeled(again, ids) == ["unchanged"] * 4 + ["accepted"] * 2
    assert candor_here("ledger", "check", "--ledger", empty).exit_code == 0
    refused = candor("ledger", "restore", "copy.db", "--ledger", empty)
    assert (refused.returncode, "pg_restore" in refused.stderr) == (1, True)


def test_tokens_are_rotated_while_requests_go_on(
    start: Start, tiny_store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{OLD} admin gateway\n")
    server = start(tiny_store, tokens_file=str(file))

    def status(token: str) -> int:
        return server.predict(png(), Authorization=f"Bearer {token}").status_code

    assert (status(OLD), status(NEW)) == (200, 401)
    server.client.post("/sign-in", data={"token": OLD}, follow_redirects=False)
    assert server.client.get("/metrics").status_code == 200  # by the cookie
    # an editor that is not done, or a mistake: nobody more is let in, nobody is locked out
    file.write_text("")
    wait_until(lambda: "the tokens stay as they were" in server.log())
    assert (status(OLD), status(NEW)) == (200, 401)
    file.write_text(f"{OLD} admin gateway\n{NEW} admin gateway-2\n")
    wait_until(lambda: status(NEW) == 200)
    assert status(OLD) == 200
    mounted = tmp_path / "mounted"  # Kubernetes replaces the whole file
    mounted.write_text(f"{NEW} admin gateway-2\n")
    mounted.replace(file)
    wait_until(lambda: status(OLD) == 401)
    assert status(NEW) == 200
    assert server.client.get("/metrics").status_code == 401
    assert OLD not in server.log()
    assert NEW not in server.log()
