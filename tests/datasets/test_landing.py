from __future__ import annotations

import errno
import os
import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from drillcore.datasets import staging
from drillcore.datasets.description import read_description
from drillcore.datasets.landing import import_dataset, sample_datasets
from drillcore.datasets.staging import recover_imports
from drillcore.errors import DataError, InputError, LayoutError, UnknownNameError
from drillcore.settings import Settings


def folder_of(root: Path, classes: dict[str, int], start: int = 0) -> Path:
    """Files with image names; an import looks at no pixel."""
    for name, count in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(start, start + count):
            (root / name / f"{index}.png").write_bytes(f"{name}{index}".encode())
    return root


def zip_of(source: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*")):
            archive.write(path, path.relative_to(source))
    return target


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def left_over(settings: Settings) -> list[str]:
    staging = settings.state / "importing"
    return sorted(path.name for path in staging.iterdir()) if staging.exists() else []


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "shells", {"cone": 3, "spiral": 4})


@pytest.mark.parametrize("zipped", [False, True])
def test_import_of_a_folder_and_a_zip(settings: Settings, source: Path, tmp_path: Path, zipped: bool) -> None:
    before = files(source)
    given = zip_of(source, tmp_path / "shells.zip") if zipped else source
    result = import_dataset(settings, "shells", given, layout="classes")
    assert (result.dataset, result.lineage, result.images, result.added) == ("shells", "import-1", 7, 7)
    assert "\n" not in result.text
    found = files(settings.landing / "shells")
    assert found.pop("drillcore.json")
    assert found == before == files(source)
    assert read_description(settings.landing / "shells").layout == "classes"
    assert left_over(settings) == []
    assert (settings.landing / "shells/cone/0.png").stat().st_nlink == 1


def test_every_import_is_a_lineage_of_its_own(settings: Settings, source: Path) -> None:
    import_dataset(settings, "shells", source, layout="classes")
    shutil.rmtree(source / "cone")
    folder_of(source, {"conch": 2})
    assert import_dataset(settings, "shells", source, layout="classes").lineage == "import-2"
    assert {path.split("/")[0] for path in files(settings.landing / "shells")} == {"conch", "spiral", "drillcore.json"}
    shutil.rmtree(settings.landing / "shells")
    assert import_dataset(settings, "shells", source, layout="classes").lineage == "import-3"


def test_append_extends_the_lineage(settings: Settings, source: Path, tmp_path: Path) -> None:
    import_dataset(settings, "shells", source, layout="classes")
    more = folder_of(tmp_path / "more", {"cone": 2}, start=2)  # one of the two is there already
    result = import_dataset(settings, "shells", more, layout="classes", append=True)
    assert (result.lineage, result.images, result.added) == ("import-1", 8, 1)
    assert len(files(settings.landing / "shells")) == 9
    (more / "cone/3.png").write_bytes(b"other")
    again = import_dataset(settings, "shells", more, append=True)
    assert (again.images, again.added, again.set_aside) == (8, 0, 1)
    assert again.first == "cone/3.png: same_name, another image is there as cone/3.png already; rename this one"
    assert left_over(settings) == []


def test_append_needs_something_to_append_to(settings: Settings, source: Path) -> None:
    with pytest.raises(InputError, match="without --append"):
        import_dataset(settings, "shells", source, layout="classes", append=True)


@pytest.mark.parametrize("name", ["", "Shells", "a b", "../x", "-a", "a-", "a" * 65, "a/b", "plankton", "classes"])
def test_refused_names(settings: Settings, source: Path, name: str) -> None:
    with pytest.raises(InputError):
        import_dataset(settings, name, source, layout="classes")
    assert not settings.landing.exists() or not any(settings.landing.iterdir())


def test_unknown_data_set_names_the_known_ones(settings: Settings, source: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean plankton\?.*--layout classes"):
        import_dataset(settings, "planktn", source)


def test_sources_that_cannot_be_used(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no zip")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and nothing more")
    (tmp_path / "empty").mkdir()
    cases: list[tuple[Path, type[Exception], str]] = [
        (tmp_path / "nowhere", InputError, "no such file or folder"),
        (tmp_path / "notes.txt", InputError, "is no zip"),
        (tmp_path / "broken.zip", InputError, "is no zip"),
        (tmp_path / "empty", LayoutError, "no labelled images"),
    ]
    for given, kind, text in cases:
        with pytest.raises(kind, match=text) as caught:
            import_dataset(settings, "shells", given, layout="classes")
        assert "\n" not in str(caught.value)
    assert left_over(settings) == []
    assert not (settings.landing / "shells").exists()


def hostile(path: Path, name: str, *, data: bytes = b"x", attributes: int = 0, flags: int = 0) -> Path:
    info = zipfile.ZipInfo(name)
    info.external_attr = attributes
    info.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, data)
        archive.filelist[0].flag_bits |= flags
    return path


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "../evil.png"}, "leads outside"),
        ({"name": "a/../../evil.png"}, "leads outside"),
        ({"name": "/etc/evil.png"}, "leads outside"),
        ({"name": "C:/evil.png"}, "leads outside"),
        ({"name": "a\\..\\evil.png"}, "leads outside|no labelled images"),
        ({"name": "a/link.png", "attributes": (stat.S_IFLNK | 0o777) << 16, "data": b"/etc/passwd"}, "link"),
        ({"name": "a/pipe.png", "attributes": (stat.S_IFIFO | 0o777) << 16}, "link or a device"),
        ({"name": "a/1.png", "flags": 1}, "encrypted"),
        ({"name": "a/bomb.png", "data": bytes(300 << 20)}, "would grow to"),
    ],
)
def test_hostile_zips(settings: Settings, tmp_path: Path, options: dict[str, Any], text: str) -> None:
    given = hostile(tmp_path / "hostile.zip", **options)
    with pytest.raises(InputError, match=text):
        import_dataset(settings, "shells", given, layout="classes")
    assert left_over(settings) == []
    assert not (settings.landing / "shells").exists()
    assert not list(tmp_path.rglob("evil*"))


def test_damaged_and_doubled_members(settings: Settings, source: Path, tmp_path: Path) -> None:
    given = zip_of(source, tmp_path / "shells.zip")
    raw = bytearray(given.read_bytes())
    raw[raw.index(b"cone/0.png") + len(b"cone/0.png")] ^= 0xFF
    (tmp_path / "damaged.zip").write_bytes(raw)
    with pytest.raises(InputError, match="damaged"):
        import_dataset(settings, "shells", tmp_path / "damaged.zip", layout="classes")
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(given, "a") as archive:
        archive.writestr("cone/0.png", b"again")
    with pytest.raises(InputError, match="same name"):
        import_dataset(settings, "shells", given, layout="classes")


@pytest.mark.parametrize(
    ("method", "name"),
    [(9, "Deflate64"), (98, "PPMd"), (95, "XZ"), (93, "Zstandard"), (6, "Implode"), (77, "method 77")],
)
def test_a_compression_that_is_not_read_is_named(
    settings: Settings, source: Path, tmp_path: Path, method: int, name: str
) -> None:
    raw = bytearray(zip_of(source, tmp_path / "shells.zip").read_bytes())
    start = 0
    while (start := raw.find(b"PK\x01\x02", start)) >= 0:  # the method stands in the directory's entries
        raw[start + 10 : start + 12] = method.to_bytes(2, "little")
        start += 4
    (tmp_path / "packed.zip").write_bytes(raw)
    with pytest.raises(InputError, match=rf"compressed with {name}, which is not read; unpack it yourself"):
        import_dataset(settings, "shells", tmp_path / "packed.zip", layout="classes")


def test_backslashes_are_folders(settings: Settings, source: Path, tmp_path: Path) -> None:
    given = tmp_path / "windows.zip"
    with zipfile.ZipFile(given, "w") as archive:
        archive.writestr(zipfile.ZipInfo("set\\"), b"")
        for path in sorted(source.rglob("*.png")):
            archive.writestr(zipfile.ZipInfo(f"set\\{path.parent.name}\\{path.name}"), path.read_bytes())
    assert import_dataset(settings, "shells", given, layout="classes").images == 7
    assert (settings.landing / "shells/cone/0.png").is_file()


def unflagged(path: Path, source: Path, encoding: str, folder: str) -> Path:
    """A zip whose names are bytes of an encoding that it does not name."""
    placeholder = "X" * len(folder.encode(encoding))
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(source.rglob("*.png")):
            archive.writestr(f"{file.parent.name}/{file.name}", file.read_bytes())
            archive.writestr(f"{placeholder}/{file.parent.name}-{file.name}", file.read_bytes()[::-1])
    path.write_bytes(path.read_bytes().replace(placeholder.encode(), folder.encode(encoding)))
    return path


@pytest.mark.parametrize(("encoding", "folder"), [("shift_jis", "\u30af\u30e9\u30b2"), ("cp1252", "m\u00e9duse")])
def test_names_of_an_unknown_encoding_are_refused(
    settings: Settings, source: Path, tmp_path: Path, encoding: str, folder: str
) -> None:
    with pytest.raises(InputError, match=r"does not say in which encoding.*unzip -O"):
        import_dataset(settings, "shells", unflagged(tmp_path / "x.zip", source, encoding, folder), layout="classes")
    assert not (settings.landing / "shells").exists()


def test_names_that_are_utf_8_without_saying_so_are_read(settings: Settings, source: Path, tmp_path: Path) -> None:
    import_dataset(settings, "shells", unflagged(tmp_path / "x.zip", source, "utf-8", "m\u00e9duse"), layout="classes")
    assert (settings.landing / "shells/m\u00e9duse").is_dir()


def test_full_disk_is_one_line_and_leaves_the_last_state(
    settings: Settings, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_dataset(settings, "shells", source, layout="classes")
    before = files(settings.landing / "shells")
    real, calls = shutil.copyfile, []

    def full(src: Path, dst: Path) -> object:
        calls.append(src)
        if len(calls) > 3:
            Path(dst).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(src, dst)

    monkeypatch.setattr(staging.shutil, "copyfile", full)
    with pytest.raises(DataError, match=r"the disk of .* is full"):
        import_dataset(settings, "shells", source, layout="classes")
    assert files(settings.landing / "shells") == before
    assert left_over(settings) == []


@pytest.mark.parametrize("renames", [0, 1])
def test_kill_between_the_renames(
    settings: Settings, source: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    import_dataset(settings, "shells", source, layout="classes")
    folder_of(source, {"conch": 1})
    real, done = Path.rename, []

    class KilledError(BaseException):
        pass

    def rename(self: Path, target: Path) -> Path:
        if (self.name == "shells" and Path(target).parent != settings.state / "importing") or self == (
            settings.landing / "shells"
        ):
            if len(done) == renames:
                raise KilledError
            done.append(target)
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KilledError):
        import_dataset(settings, "shells", source, layout="classes")
    monkeypatch.undo()
    recover_imports(settings)
    found = files(settings.landing / "shells")
    # Either the old one whole, or the new one whole.
    assert len(found) == (8 if renames == 0 else 9)
    assert import_dataset(settings, "shells", source, layout="classes").images == 8


def test_sample_leaves_an_import_alone(settings: Settings, tmp_path: Path) -> None:
    mine = folder_of(tmp_path / "train", {"copepod": 2, "salp": 2})
    import_dataset(settings, "plankton", mine)
    before = files(settings.landing / "plankton")
    [result] = sample_datasets(settings, names=["plankton"])
    assert result.added == 0
    assert "left alone" in result.text
    assert files(settings.landing / "plankton") == before
    [result] = sample_datasets(settings, force=True, names=["plankton"])
    assert (result.lineage, result.added) == ("sample", result.images)
    with pytest.raises(InputError, match="synthetic sample"):
        import_dataset(settings, "plankton", mine, append=True)
    assert import_dataset(settings, "plankton", mine).lineage == "import-2"
