"""The data folder and the signing key on first start, later starts and rotation."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from companion_ws.access.keys import Keys
from companion_ws.data_folder import DataLock, StartRefused, prepare_data_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["umask 000", "umask 022", "umask 077"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_the_first_start_makes_a_folder_and_a_key_only_we_can_read(tmp_path: Path) -> None:
    data = tmp_path / "deep" / "data"
    prepare_data_folder(data)
    keys = Keys.load(data)
    assert mode(data) == 0o700
    assert mode(data / "secret.key") == 0o600
    assert len(keys.all) == 1
    assert len(keys.all[0]) >= 32


@pytest.mark.usefixtures("umask")
def test_a_later_start_finds_the_same_key(tmp_path: Path) -> None:
    prepare_data_folder(tmp_path)
    assert Keys.load(tmp_path).all == Keys.load(tmp_path).all


def test_a_looser_folder_of_ours_is_tightened(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    prepare_data_folder(tmp_path)
    assert mode(tmp_path) == 0o700


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o620, 0o644, 0o666])
def test_a_key_others_can_use_refuses_the_start_and_says_what_to_do(
    tmp_path: Path, loose: int
) -> None:
    Keys.load(tmp_path)
    (tmp_path / "secret.key").chmod(loose)
    with pytest.raises(StartRefused, match=r"secret\.key .*chmod 600"):
        Keys.load(tmp_path)


@pytest.mark.parametrize("name", ["companion.db", "companion.db-wal", "companion.db-shm"])
def test_a_database_others_can_read_refuses_the_start(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch(0o600)
    prepare_data_folder(tmp_path)
    (tmp_path / name).chmod(0o640)
    with pytest.raises(StartRefused, match=rf"{name} .*chmod 600"):
        prepare_data_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"short\n", b"x" * 31])
def test_an_empty_or_short_key_is_refused_and_never_replaced(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "secret.key"
    file.touch(0o600)
    file.write_bytes(content)
    with pytest.raises(StartRefused, match="delete it"):
        Keys.load(tmp_path)
    assert file.read_bytes() == content


def test_a_key_file_that_is_a_folder_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "secret.key").mkdir(0o700)
    with pytest.raises(StartRefused, match="cannot be used"):
        Keys.load(tmp_path)


def test_a_dangling_link_in_the_key_s_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartRefused):
        Keys.load(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_the_environment_s_key_wins_and_writes_no_file(tmp_path: Path) -> None:
    keys = Keys.load(tmp_path, "e" * 32)
    assert keys.all == (b"e" * 32,)
    assert not (tmp_path / "secret.key").exists()
    with pytest.raises(StartRefused, match="COMPANION_SECRET_KEY"):
        keys.rotate()


@pytest.mark.parametrize("text", ["", "short", "x" * 31])
def test_a_short_key_of_the_environment_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(StartRefused, match="COMPANION_SECRET_KEY"):
        Keys.load(tmp_path, text)


def test_rotation_signs_with_a_new_key_and_keeps_two_old_ones(tmp_path: Path) -> None:
    keys = Keys.load(tmp_path)
    first = keys.all
    keys.rotate()
    second = keys.all
    assert second[:-1] == first
    keys.rotate()
    keys.rotate()
    assert len(keys.all) == 3
    assert keys.all[0] == second[-1]
    assert keys.generation == 3
    assert Keys.load(tmp_path).all == keys.all
    assert mode(tmp_path / "secret.key") == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secret.key"]


def test_rotation_after_a_compromise_keeps_nothing(tmp_path: Path) -> None:
    keys = Keys.load(tmp_path)
    (first,) = keys.all
    keys.rotate(compromise=True)
    assert first not in keys.all
    assert len(Keys.load(tmp_path).all) == 1


def test_a_rotation_cut_off_half_way_leaves_the_old_key(tmp_path: Path) -> None:
    keys = Keys.load(tmp_path)
    (tmp_path / "secret.key.new").write_bytes(b"half")
    assert Keys.load(tmp_path).all == keys.all
    keys.rotate()
    assert Keys.load(tmp_path).all == keys.all


def test_sub_keys_differ_by_purpose_and_key(tmp_path: Path) -> None:
    keys = Keys.load(tmp_path)
    before = keys.derive("ticket")
    assert before != keys.derive("code")
    keys.rotate()
    assert keys.derive("ticket") != before
    assert keys.derive_all("ticket") == (keys.derive("ticket"), before)


@pytest.mark.parametrize("name", ["secret.key", "lock", "companion.db", "companion.db-wal"])
def test_a_file_behind_a_symlink_refuses_the_start(tmp_path: Path, name: str) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    prepare_data_folder(data)
    Keys.load(data)
    elsewhere.touch(0o600)
    (data / name).unlink(missing_ok=True)
    (data / name).symlink_to(elsewhere)
    with pytest.raises(StartRefused, match=rf"{name} is a symbolic link"):
        DataLock(data).try_acquire()


def test_a_key_behind_a_symlink_is_not_read(tmp_path: Path) -> None:
    elsewhere, data = tmp_path / "elsewhere", tmp_path / "data"
    for folder in (elsewhere, data):
        prepare_data_folder(folder)
    Keys.load(elsewhere)
    (data / "secret.key").symlink_to(elsewhere / "secret.key")
    with pytest.raises(StartRefused, match="symbolic link"):
        Keys.load(data)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_behind_a_symlink_refuses_the_start(tmp_path: Path, is_there: bool) -> None:
    if is_there:
        (tmp_path / "real").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "real")
    with pytest.raises(StartRefused, match="data is a symbolic link"):
        prepare_data_folder(tmp_path / "data")
    assert (tmp_path / "real").exists() is is_there


@pytest.mark.parametrize("name", [".", "secret.key", "lock", "companion.db"])
def test_what_belongs_to_another_account_refuses_the_start(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_data_folder(tmp_path)
    Keys.load(tmp_path)
    for file in ("lock", "companion.db"):
        (tmp_path / file).touch(0o600)
    if os.geteuid() == 0:
        os.chown(tmp_path / name, 4242, 4242)
    else:  # We cannot give files away, but be somebody else to whom all of them are foreign.
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StartRefused, match="belongs to another account"):
        DataLock(tmp_path).try_acquire()
