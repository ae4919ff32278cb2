"""A home and a port belong to one server at a time."""

from __future__ import annotations

import os
import resource
import socket
import stat
from pathlib import Path

import pytest

from penstock.assembly import ground
from penstock.core.errors import PenstockError
from tests.e2e.running import free_port


def test_a_home_is_one_servers_alone_until_it_lets_go(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    with ground.sole(home):
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        with pytest.raises(PenstockError, match=rf"already running .*process {os.getpid()}\)"), ground.sole(home):
            pass
    with ground.sole(home):
        pass


def test_a_home_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PenstockError, match="cannot be used as the home"), ground.sole(tmp_path / "file" / "home"):
        pass


def test_a_port_in_use_is_said_with_the_mend() -> None:
    with ground.listening("127.0.0.1", free_port()) as sock:
        port = sock.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(
            PenstockError, match=rf"127\.0\.0\.1:{port}: something listens there already.*PENSTOCK_PORT"
        ):
            ground.listening("127.0.0.1", port)
    ground.listening("127.0.0.1", port).close()


@pytest.mark.parametrize(
    ("host", "said"), [("no.such.host.invalid", "there is no address"), ("192.0.2.1", "no address of this machine")]
)
def test_a_host_that_is_not_ours_is_said(host: str, said: str) -> None:
    with pytest.raises(PenstockError, match=said):
        ground.listening(host, free_port())


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("fd00::1", "http://[fd00::1]:80"),
        ("gateway.internal", "http://gateway.internal:80"),
    ],
)
def test_the_url_is_one_that_can_be_dialled(host: str, url: str) -> None:
    assert ground.url(host, 80) == url


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """The limit on open files as the system would have it."""
    now = {"files": (256, 4096)}

    def change(_: int, wanted: tuple[int, int]) -> None:
        if wanted[0] > now.get("really", (1 << 40, 0))[0]:
            raise ValueError("not allowed")
        now["files"] = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda _: now["files"])
    monkeypatch.setattr(resource, "setrlimit", change)
    return now


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((256, 4096), (4096, 4096)),
        ((20000, 20000), (20000, 20000)),
        ((1024, resource.RLIM_INFINITY), (1 << 20, resource.RLIM_INFINITY)),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)),
    ],
)
def test_as_many_files_as_are_allowed(
    limit: dict[str, tuple[int, int]], before: tuple[int, int], after: tuple[int, int]
) -> None:
    limit["files"] = before
    assert ground.open_files() == ""
    assert limit["files"] == after


def test_few_open_files_are_said_with_what_it_means_and_the_mend(limit: dict[str, tuple[int, int]]) -> None:
    limit["files"] = (128, 512)
    assert ground.open_files() == (
        "Each process may open only 512 files, so a worker serves about 224 requests at once and refuses connections "
        "beyond; raise the hard limit (`ulimit -Hn`) to 1024 or more."
    )
    limit |= {"files": (128, 4096), "really": (128, 128)}
    assert "only 128 files" in ground.open_files()
