"""The audit's key, and the heads that are kept outside the store."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.store.audit_chain import GENESIS, key_name, sign_head
from penstock.store.audit_key import load_audit_key, public_pem, read_public_pem
from penstock.store.audit_witness import HeadFile
from tests.store.chains import KEY


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "home" / "audit.key"
    with ThreadPoolExecutor(8) as pool:
        names = {key_name(key.public_key()) for key in pool.map(load_audit_key, [path] * 8)}
    assert len(names) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["audit.key"]


def test_its_public_half_is_for_auditors(tmp_path: Path) -> None:
    key = load_audit_key(tmp_path / "audit.key")
    pem = public_pem(key.public_key())
    assert pem.startswith(b"-----BEGIN PUBLIC KEY-----")
    assert read_public_pem(pem, "x") == key.public_key()
    for other in (b"", b"no key", (tmp_path / "audit.key").read_bytes()):
        with pytest.raises(PenstockError, match=r"heads\.pem is no public Ed25519 key"):
            read_public_pem(other, "heads.pem")


@pytest.mark.parametrize(
    "content", [b"", b"secret words", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_is_said_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "audit.key"
    path.write_bytes(content)
    with pytest.raises(PenstockError, match="is damaged") as caught:
        load_audit_key(path)
    assert caught.value.fault is STORE_UNAVAILABLE
    assert "secret" not in caught.value.message
    assert path.read_bytes() == content


def test_heads_are_appended_and_read(tmp_path: Path) -> None:
    path = tmp_path / "home" / "audit-heads"
    file = HeadFile(path)
    assert file.read() == ()
    heads = [sign_head(KEY, n, GENESIS, float(n)) for n in range(3)]
    for head in heads:
        file.append(head)
    assert file.read() == heads
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_bytes().splitlines()) == 3


@pytest.mark.parametrize("left", [1, 50, 150])
def test_a_line_that_a_crash_cut_off_costs_no_other(tmp_path: Path, left: int) -> None:
    path = tmp_path / "audit-heads"
    file = HeadFile(path)
    heads = [sign_head(KEY, n, GENESIS, float(n)) for n in range(3)]
    file.append(heads[0])
    whole = path.stat().st_size
    file.append(heads[1])
    with path.open("r+b") as torn:
        torn.truncate(whole + left)
    assert file.read() == heads[:1]
    file.append(heads[2])
    assert file.read() == [heads[0], heads[2]]


def test_a_line_that_was_altered_is_said(tmp_path: Path) -> None:
    path = tmp_path / "audit-heads"
    path.write_bytes(b'{"number":1}\n')
    with pytest.raises(PenstockError, match="damaged in line 1"):
        HeadFile(path).read()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for call in (
        lambda: load_audit_key(tmp_path / "file" / "key"),
        lambda: HeadFile(tmp_path / "file" / "heads").append(
            sign_head(Ed25519PrivateKey.generate(), 1, GENESIS, 1.0)
        ),
        lambda: HeadFile(tmp_path).read(),
    ):
        with pytest.raises(PenstockError, match="cannot be read or written") as caught:
            call()
        assert caught.value.fault is STORE_UNAVAILABLE
