from __future__ import annotations

import builtins
import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.core.errors import BAD_DEPLOYMENT, WEIGHTS_UNAVAILABLE, PenstockError
from penstock.weights import disk
from penstock.weights.disk import exclusive, write_durably
from penstock.weights.store import ModelStore
from tests.weights.doubles import (
    Cancel,
    CancelsAt,
    Heard,
    Served,
    WebServer,
    files_below,
    gguf,
    sha256,
    until,
)

DATA = gguf(300_000)
FETCH = """
import os, pathlib, sys
from penstock.weights.store import ModelStore
class Marks:
    def step(self, what, done, total):
        pathlib.Path(f"{sys.argv[1]}.{os.getpid()}.{what.split()[0]}").touch()
print(ModelStore(pathlib.Path(sys.argv[1])).fetch(sys.argv[2], progress=Marks()).sha256)
"""


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer({"/m.gguf": Served(DATA)}) as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


# -- what is fetched and kept ------------------------------------------------------------------------------------


def test_a_file_is_fetched_once_and_found_again(store: ModelStore, web: WebServer) -> None:
    address = f"{web.url}/m.gguf"
    assert store.cached(address) is None
    heard = Heard()
    first = store.fetch(address, progress=heard)
    assert first.path.read_bytes() == DATA
    assert (first.address, first.sha256, first.size) == (address, sha256(DATA), len(DATA))
    assert first.path == store.root / f"{sha256(DATA)[:12]}-m.gguf"
    assert heard.of("downloading")[-1][1:] == (len(DATA), len(DATA))
    assert heard.of("checking")[-1][1:] == (len(DATA), len(DATA))
    again = Heard()
    assert store.fetch(address, progress=again) == first
    assert store.cached(address) == ModelStore(store.root).cached(address) == first
    assert again.steps == []
    assert len(web.asked) == 1
    assert files_below(store.root) == {first.path.name}


def test_a_local_file_is_served_where_it_lies(store: ModelStore, tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(DATA)
    kept = store.fetch(f"file:{path}", progress=Heard())
    assert (kept.path, kept.sha256, kept.size) == (path, sha256(DATA), len(DATA))
    assert store.cached(str(path)) == kept
    assert files_below(store.root) == set()


def test_a_local_file_that_changed_is_looked_at_again(store: ModelStore, tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(DATA)
    store.fetch(str(path), progress=Heard())
    other = gguf(300_000, seed=1)
    path.write_bytes(other)
    os.utime(path, ns=(1, 1))
    assert store.cached(str(path)) is None
    assert store.fetch(str(path), progress=Heard()).sha256 == sha256(other)


def test_a_relative_path_starts_at_the_working_directory(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, seed in (("a", 1), ("b", 2)):
        (tmp_path / place).mkdir()
        (tmp_path / place / "m.gguf").write_bytes(gguf(100, seed))
    for place, seed in (("a", 1), ("b", 2)):
        monkeypatch.chdir(tmp_path / place)
        assert store.fetch("file:m.gguf", progress=Heard()).sha256 == sha256(gguf(100, seed))


def test_local_parts_are_one_model(store: ModelStore, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"m-0000{number}-of-00002.gguf").write_bytes(gguf(100, number))
    kept = store.fetch(str(tmp_path / "m-00001-of-00002.gguf"), progress=Heard())
    assert kept.sha256 == sha256(gguf(100, 1) + gguf(100, 2))
    assert kept.size == 200
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    assert store.cached(str(tmp_path / "m-00001-of-00002.gguf")) is None
    with pytest.raises(PenstockError, match=r"no file .*m-00002-of-00002"):
        store.fetch(str(tmp_path / "m-00001-of-00002.gguf"), progress=Heard())


@pytest.mark.parametrize(("name", "said"), [("none.gguf", "there is no file"), ("folder.gguf", "is a directory")])
def test_a_local_file_that_is_none(store: ModelStore, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(PenstockError, match=said) as caught:
        store.fetch(f"file:{tmp_path / name}", progress=Heard())
    assert caught.value.fault is WEIGHTS_UNAVAILABLE


# -- what is refused ---------------------------------------------------------------------------------------------


def test_the_right_digest_is_accepted_and_another_refused(store: ModelStore, web: WebServer) -> None:
    address = f"{web.url}/m.gguf"
    with pytest.raises(PenstockError, match="changed or damaged") as caught:
        store.fetch(address, sha256="0" * 64, progress=Heard())
    assert caught.value.fault is WEIGHTS_UNAVAILABLE
    assert files_below(store.root) == set()
    assert store.cached(address) is None
    kept = store.fetch(address, sha256=sha256(DATA).upper(), progress=Heard())
    assert store.cached(address, sha256(DATA)) == kept
    assert store.cached(address, "0" * 64) is None
    with pytest.raises(PenstockError, match="64 hexadecimal"):
        store.cached(address, "short")


def test_what_is_no_gguf_is_refused(store: ModelStore, web: WebServer) -> None:
    web.files["/login.gguf"] = Served(b"<html>please log in</html>")
    with pytest.raises(PenstockError, match=r"not a GGUF file .*<htm"):
        store.fetch(f"{web.url}/login.gguf", progress=Heard())
    assert files_below(store.root) == set()


def test_plain_http_from_another_machine_needs_a_digest(store: ModelStore) -> None:
    with pytest.raises(PenstockError, match="use https:, or say with `sha256`") as caught:
        store.fetch("http://models.example/m.gguf", progress=Heard())
    assert caught.value.fault is BAD_DEPLOYMENT


def test_secrets_stay_out_of_the_index_and_of_errors(store: ModelStore, web: WebServer) -> None:
    url = web.url.replace("//", "//me:hunter2@")
    store.fetch(f"{url}/m.gguf?sig=hunter2", progress=Heard())
    for path in store.root.rglob("*"):
        assert "hunter2" not in path.name
        assert not path.is_file() or b"hunter2" not in path.read_bytes()
    with pytest.raises(PenstockError) as caught:
        store.fetch(f"{url}/none.gguf?sig=hunter2", progress=Heard())
    assert "hunter2" not in str(caught.value)


# -- what happens to the disk ------------------------------------------------------------------------------------


def test_a_store_that_was_copied_is_checked_and_not_fetched_again(store: ModelStore, web: WebServer) -> None:
    address = f"{web.url}/m.gguf"
    kept = store.fetch(address, progress=Heard())
    os.utime(kept.path, ns=(1, 1))
    assert store.cached(address) is None
    assert store.fetch(address, progress=Heard()) == kept
    assert len(web.asked) == 1
    assert store.cached(address) == kept


def test_bytes_that_rotted_are_fetched_again(store: ModelStore, web: WebServer) -> None:
    address = f"{web.url}/m.gguf"
    kept = store.fetch(address, progress=Heard())
    kept.path.write_bytes(DATA[:-1] + b"!")
    os.utime(kept.path, ns=(1, 1))
    assert store.fetch(address, progress=Heard()) == kept
    assert kept.path.read_bytes() == DATA
    kept.path.unlink()
    assert store.cached(address) is None
    assert store.fetch(address, progress=Heard()).path.read_bytes() == DATA


def test_an_index_that_cannot_be_read_is_written_anew(store: ModelStore, web: WebServer) -> None:
    address = f"{web.url}/m.gguf"
    kept = store.fetch(address, progress=Heard())
    (entry,) = (store.root / "index").glob("*.json")
    entry.write_bytes(entry.read_bytes()[:40])
    assert store.cached(address) is None
    assert store.fetch(address, progress=Heard()) == kept


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root on Linux")
def test_a_disk_that_is_full_says_so(tmp_path: Path, web: WebServer) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "none", str(small)], check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        address = f"{web.url}/m.gguf"
        with pytest.raises(PenstockError, match=r"is full .*are free.*PENSTOCK_HOME") as caught:
            ModelStore(small).fetch(address, progress=Heard())
        assert caught.value.fault is WEIGHTS_UNAVAILABLE
        web.chunked = True
        with pytest.raises(PenstockError, match="is full"):
            ModelStore(small).fetch(address, progress=Heard())
        assert ModelStore(small).cached(address) is None
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "is full"), (errno.EROFS, "mend its permissions"), (errno.EIO, "disk failed")]
)
def test_faults_of_the_disk_are_explained(
    store: ModelStore, web: WebServer, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(store.root))

    with monkeypatch.context() as patch:
        patch.setattr(disk.os, "fsync", fails)
        with pytest.raises(PenstockError, match=said) as caught:
            store.fetch(f"{web.url}/m.gguf", progress=Heard())
    assert caught.value.fault is WEIGHTS_UNAVAILABLE
    assert store.cached(f"{web.url}/m.gguf") is None
    assert store.fetch(f"{web.url}/m.gguf", progress=Heard()).path.read_bytes() == DATA


def test_a_root_that_is_a_file(tmp_path: Path, web: WebServer) -> None:
    (tmp_path / "models").write_text("")
    with pytest.raises(PenstockError, match=r"disk failed.*PENSTOCK_HOME"):
        ModelStore(tmp_path / "models").fetch(f"{web.url}/m.gguf", progress=Heard())


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "entry.json"
    write_durably(path, b"old")

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(disk.os, "fsync", fails)
    with pytest.raises(OSError, match="full"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["entry.json"]


def test_modes_leave_the_files_readable_as_the_umask_says(store: ModelStore, web: WebServer) -> None:
    kept = store.fetch(f"{web.url}/m.gguf", progress=Heard())
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# -- several at once, and ends in between ------------------------------------------------------------------------


def test_two_processes_download_once(store: ModelStore, web: WebServer) -> None:
    web.hold_after = 1000
    argv = [sys.executable, "-c", FETCH, str(store.root), f"{web.url}/m.gguf"]
    children = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        until(lambda: bool(list(store.root.parent.glob("models.*.downloading"))))
        until(lambda: bool(list(store.root.parent.glob("models.*.waiting"))))
        web.release.set()
        said = [child.communicate(timeout=60)[0].strip() for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert said == [sha256(DATA)] * 2
    assert len(web.asked) == 1


def test_threads_download_once_and_say_that_they_wait(store: ModelStore, web: WebServer) -> None:
    web.hold_after = 1000
    heard = [Heard(), Heard(), Heard()]
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(store.fetch, f"{web.url}/m.gguf", progress=one) for one in heard]
        until(lambda: sum(bool(one.of("waiting")) for one in heard) == 2)
        web.release.set()
        assert len({job.result(30) for job in jobs}) == 1
    assert len(web.asked) == 1


def test_who_waits_does_not_wait_for_ever(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    with (
        exclusive(lock, wait_s=1, progress=Heard()),
        pytest.raises(PenstockError, match=r"for 0 s .*wait for it to end"),
        exclusive(lock, wait_s=0, progress=Heard()),
    ):
        pytest.fail("two hold one lock")


def test_a_killed_process_leaves_what_the_next_goes_on_from(store: ModelStore, web: WebServer) -> None:
    web.hold_after = 200_000
    address = f"{web.url}/m.gguf"
    child = subprocess.Popen([sys.executable, "-c", FETCH, str(store.root), address])
    partial = store.root / "partial"
    try:
        until(lambda: sum(path.stat().st_size for path in partial.rglob("*.partial")) > 150_000)
    finally:
        child.kill()
        child.wait()
    assert store.cached(address) is None
    web.release.set()
    assert store.fetch(address, progress=Heard()).path.read_bytes() == DATA
    start = int(web.asked[1].headers["range"].removeprefix("bytes=").rstrip("-"))
    assert 150_000 < start <= 200_000
    assert files_below(store.root) == {f"{sha256(DATA)[:12]}-m.gguf"}


@pytest.mark.parametrize("moment", ["downloading", "checking"])
def test_an_interrupted_fetch_is_taken_up_again(store: ModelStore, web: WebServer, moment: str) -> None:
    address = f"{web.url}/m.gguf"
    with pytest.raises(Cancel):
        store.fetch(address, progress=CancelsAt(moment))
    assert store.cached(address) is None
    assert not list(store.root.glob("*.gguf"))
    assert store.fetch(address, progress=Heard()).path.read_bytes() == DATA
    assert "range" in web.asked[-1].headers or moment == "checking"


def test_two_addresses_of_the_same_bytes_share_a_file(store: ModelStore, web: WebServer) -> None:
    web.files["/other/m.gguf"] = Served(DATA)
    first = store.fetch(f"{web.url}/m.gguf", progress=Heard())
    second = store.fetch(f"{web.url}/other/m.gguf", progress=Heard())
    assert first.path == second.path
    assert first.path.read_bytes() == DATA


def test_an_extra_that_is_missing_is_named(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.partition(".")[0] == "obstore":
            raise ModuleNotFoundError("No module named 'obstore'", name="obstore")
        return real(name, *rest)  # type: ignore[arg-type]

    for name in [name for name in sys.modules if name.startswith(("obstore", "penstock.weights.s3"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PenstockError, match=r"pip install 'penstock\[s3\]'"):
        store.fetch("s3://bucket/m.gguf", progress=Heard())


def test_the_whole_store_may_be_deleted(store: ModelStore, web: WebServer) -> None:
    kept = store.fetch(f"{web.url}/m.gguf", progress=Heard())
    shutil.rmtree(store.root)
    assert store.fetch(f"{web.url}/m.gguf", progress=Heard()) == kept
