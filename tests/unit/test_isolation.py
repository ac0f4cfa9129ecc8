"""What tests/unit/conftest.py refuses."""

import socket
import sqlite3
import subprocess
import sys
import time

import pytest


def test_a_unit_test_starts_no_process() -> None:
    with pytest.raises(PermissionError, match="starts a process"):
        subprocess.run([sys.executable, "--version"], check=True)


def test_a_unit_test_opens_no_database() -> None:
    with pytest.raises(PermissionError, match="opens a database"):
        sqlite3.connect(":memory:")


def test_a_unit_test_opens_no_socket() -> None:
    with socket.socket() as one, pytest.raises(PermissionError, match="opens a socket"):
        one.connect(("127.0.0.1", 9))


def test_a_unit_test_does_not_sleep() -> None:
    with pytest.raises(AssertionError, match="does not sleep"):
        time.sleep(0.001)
