"""Data folders in places that cannot hold one: one sentence says why, and the way out."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from companion_ws.cli import main


def refused(data: Path, *arguments: str) -> str:
    done = CliRunner().invoke(main, arguments, env={"COMPANION_DATA": str(data)})
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    (sentence,) = done.stderr.splitlines()
    return sentence


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_is_named(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_lock(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    sentence = refused(tmp_path / "data", "serve", "--port", "0")

    assert "knows no locks" in sentence
    assert os.strerror(number) in sentence
    assert "--data" in sentence


def test_a_full_disk_at_the_first_start_leaves_no_half_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        sentence = refused(tmp_path / "data", "serve", "--port", "0")
    assert "secret.key cannot be used: No space left on device. Make room" in sentence
    assert not (tmp_path / "data/secret.key").exists(), "the next start makes a whole one"
