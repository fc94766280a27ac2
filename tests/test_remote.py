"""What is a URL and what a path, and how a URL is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from drillcore.errors import InputError
from drillcore.remote import RemotePath, is_url, place


@pytest.mark.parametrize("text", ["s3://b/x", "memory://x", "gcs://b/x"])
def test_what_is_a_url(text: str) -> None:
    assert is_url(text)


@pytest.mark.parametrize("text", ["/a/b", "a/b.txt", "C:/x", "a:b", "./s3:/x", ""])
def test_what_is_none(text: str) -> None:
    assert not is_url(text)
    assert place(text) == Path(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nosuch://b", "unknown kind of URL 'nosuch'"),
        ("simplecache::s3://b/x", "chained URLs are not read"),
        ("gdrive://b/x", "cannot be used"),
    ],
)
def test_urls_that_cannot_be_used(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        place(text)


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    assert place(f"file://{tmp_path}/x") == tmp_path / "x"


def test_passwords_are_not_shown() -> None:
    assert str(RemotePath("ftp://me:secret@host/x")) == "ftp://me:***@host/x"
