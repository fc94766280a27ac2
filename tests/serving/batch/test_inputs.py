from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoring_case import serve_tiny, write_images

from drillcore.cli.session import ImageType
from drillcore.errors import InputError
from drillcore.settings import Settings
from drillcore_serving.batch.inputs.input_list import list_inputs
from drillcore_serving.batch.score_batch import score


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_folder_is_listed_in_the_order_of_its_paths(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.jpg", "a.png", "b-1.JPG", "b/1.jpeg", "notes.txt", ".hidden.png", "é.bmp")
    found = list_inputs(tmp_path)
    assert [item.path for item in found] == ["a.png", "b-1.JPG", "b/1.jpeg", "b/2.jpg", "é.bmp"]
    assert [item.index for item in found] == [0, 1, 2, 3, 4]
    assert found[2].file == tmp_path / "b" / "1.jpeg"
    assert found[-1].path == "é.bmp"
    assert [item.path for item in found[1:3]] == ["b-1.JPG", "b/1.jpeg"]
    assert list(found.files(0, 1)) == [str(tmp_path / "a.png")]


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/1.png")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in" / "self.png").symlink_to("self.png")
    (tmp_path / "in" / "gone.png").symlink_to("nowhere.png")
    assert [item.path for item in list_inputs(tmp_path / "in")] == ["1.png", "gone.png", "self.png"]


def test_a_list_keeps_its_order_and_its_doubles(tmp_path: Path) -> None:
    text = "b.png\r\n\n/abs/a.png\nb.png\nnot an image.doc"
    (tmp_path / "list.txt").write_text(text)
    found = list_inputs(tmp_path / "list.txt")
    assert list(found.paths()) == ["b.png", "/abs/a.png", "b.png", "not an image.doc"]
    assert list(found.files())[:2] == [str(tmp_path / "b.png"), "/abs/a.png"]


def test_parquet_has_a_column_of_paths(tmp_path: Path) -> None:
    table = pa.table({"path": ["b.png", "a.png", "b.png"], "n": [1, 2, 3]})
    pq.write_table(table, tmp_path / "list.parquet")
    assert list(list_inputs(tmp_path / "list.parquet").paths()) == ["b.png", "a.png", "b.png"]


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.large_string()),
    ],
    ids=str,
)
def test_paths_of_any_kind_of_text(tmp_path: Path, kind: pa.DataType) -> None:
    names = ["b.png", "é.png", "s3://bucket/a.png"]
    array = pa.array(names, kind.value_type).dictionary_encode().cast(kind) if kind.id == 29 else pa.array(names, kind)
    pq.write_table(pa.table({"path": array}), tmp_path / "list.parquet")
    assert list(list_inputs(tmp_path / "list.parquet").paths()) == names


def test_a_table_may_be_a_folder_of_parts(tmp_path: Path) -> None:
    """As Spark writes it: parts, one of them empty, marks of success and checksums beside them, a folder by day."""
    table = tmp_path / "list.parquet"
    for name, rows in (
        ("part-00000-x.snappy.parquet", ["b.png"]),
        ("part-00001-x.snappy.parquet", []),
        ("day=2/p", ["a.png"]),
    ):
        (table / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"path": pa.array(rows, pa.string())}), table / name)
    touch(table, "_SUCCESS", ".part-00000-x.snappy.parquet.crc", "_metadata/x")
    found = list_inputs(table)
    assert list(found.paths()) == ["a.png", "b.png"]
    assert list(found.files()) == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    touch(table, "part-2")
    with pytest.raises(InputError, match="part-2 is no Parquet file"):
        list_inputs(table)
    touch(tmp_path / "none.parquet", "_SUCCESS")
    with pytest.raises(InputError, match="no parts of a table"):
        list_inputs(tmp_path / "none.parquet")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    for kind in (pa.binary(), pa.binary_view()):
        pq.write_table(pa.table({"path": pa.array([b"\xff\xfe"], kind)}), tmp_path / "list.parquet")
        with pytest.raises(InputError, match="is no Parquet file"):
            list_inputs(tmp_path / "list.parquet")


def test_what_is_hidden_is_left_out_and_what_is_not_read_is_counted(tmp_path: Path) -> None:
    touch(
        tmp_path,
        ".Trash-1000/a.png",
        "x/@eaDir/b.png",
        ".ipynb_checkpoints/c.png",
        "d.gif",
        "e.HEIC",
        "f.jfif",
        "g.png",
    )
    assert list(list_inputs(tmp_path).paths()) == ["d.gif", "e.HEIC", "f.jfif", "g.png"]


def test_the_digest_tells_order_and_doubles(tmp_path: Path) -> None:
    digests = []
    for number, text in enumerate(
        ("a.png\nb.png", "b.png\na.png", "a.png\nb.png\nb.png", "a.pngb.png", "a.png\r\nb.png\n")
    ):
        path = tmp_path / f"{number}.txt"
        path.write_text(text)
        digests.append(list_inputs(path).digest())
    assert len(set(digests)) == 4
    assert digests[0] == digests[4]


def test_what_is_no_input_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.txt").write_text("\n \n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "x.xlsx").write_text("path")
    (tmp_path / "none.csv").write_text("path\n")
    (tmp_path / "one.jpg").write_bytes(b"x")
    pq.write_table(pa.table({"file": ["a"]}), tmp_path / "other.parquet")
    pq.write_table(pa.table({"path": [1]}), tmp_path / "numbers.parquet")
    pq.write_table(pa.table({"path": pa.array(["a", None])}), tmp_path / "null.parquet")
    for name, words in {
        "nowhere": "no such input",
        "empty": "no images",
        "no.txt": "lists no paths",
        "binary.txt": "not UTF-8",
        "bad.parquet": "is no Parquet file",
        "x.xlsx": "cannot be used",
        "none.csv": "lists no paths",
        "one.jpg": "drillcore predict",
        "other.parquet": "no column path; it has file",
        "numbers.parquet": "int64",
        "null.parquet": "1 empty rows",
    }.items():
        with pytest.raises(InputError, match=words) as caught:
            list_inputs(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_the_output_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "out/masks/1.png")
    assert [item.path for item in list_inputs(tmp_path, skip=tmp_path / "out")] == ["1.png"]


@pytest.mark.skipif(os.name != "posix", reason="names of bytes exist on POSIX only")
def test_a_name_that_is_no_text_is_kept_as_a_row(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert [item.path for item in list_inputs(tmp_path)] == ["\\xff.png"]


def test_a_folder_that_may_not_be_read_is_named_and_counted(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "in", 2)
    write_images(tmp_path / "in" / "sub", 3)
    scandir, forbidden = os.scandir, str(tmp_path / "in" / "sub")

    def refusing(path: str) -> object:
        if os.path.normpath(path) == forbidden:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    result = score(settings, serve_tiny(settings), tmp_path / "in", tmp_path / "out")
    assert (result.inputs, result.scored, result.set_aside) == (3, 2, 1)
    (row,) = pq.read_table(tmp_path / "out" / "set_aside.parquet").to_pylist()
    assert (row["path"], row["reason"]) == ("sub/", "unreadable")


def test_predict_names_what_takes_folders_and_urls(tmp_path: Path) -> None:
    for text, words in (
        (str(tmp_path), "is a folder.*drillcore score"),
        ("https://host/x.png", "https://host/x.png: a file"),
    ):
        with pytest.raises(InputError, match=words):
            ImageType().convert(text, None, None)
    assert ImageType().convert("x.png", None, None) == Path("x.png")
