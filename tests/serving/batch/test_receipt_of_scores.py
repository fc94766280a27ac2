"""What `receipt verify` finds in a real output."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scoring_case import serve_tiny, write_images

from drillcore.digests import sha256_file
from drillcore.errors import ReceiptError
from drillcore.runtime.batch.receipt import Part, read_receipt, verify, write_receipt
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score

PART = "part-00001.parquet"


@pytest.fixture
def output(settings: Settings, tmp_path: Path) -> Path:
    write_images(tmp_path / "in", 24, bad=(9,))
    score(settings, serve_tiny(settings), tmp_path / "in", tmp_path / "out", shard_rows=8)
    verify(tmp_path / "out")
    return tmp_path / "out"


def rewrite(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path)


def read(path: Path) -> pa.Table:
    return pq.ParquetFile(path).read()


def changed(table: pa.Table, name: str, row: int, value: object) -> pa.Table:
    values = table.column(name).to_pylist()
    values[row] = value
    number = table.column_names.index(name)
    return table.set_column(number, name, pa.array(values, table.schema.field(name).type))


@pytest.mark.parametrize(
    ("name", "value"),
    [("label", "dark blue"), ("probability", 0.123), ("path", "other.png"), ("sha256", "0" * 64), ("version", 2)],
)
def test_a_changed_row_is_named(output: Path, name: str, value: object) -> None:
    rewrite(output / PART, changed(read(output / PART), name, 3, value))
    # Input 9 was set aside: the fourth row of the second part is input 12.
    with pytest.raises(ReceiptError, match=r"part-00001\.parquet holds changed rows: input_index 12$"):
        verify(output)


def test_a_changed_probability_of_the_top_five_is_named(output: Path) -> None:
    table = read(output / PART)
    top = table.column("top5").to_pylist()
    top[0][2]["probability"] += 0.001
    rewrite(output / PART, changed(table, "top5", 0, top[0]))
    with pytest.raises(ReceiptError, match="changed rows: input_index 8"):
        verify(output)


def test_a_missing_row_is_found(output: Path) -> None:
    table = read(output / PART)
    rewrite(output / PART, table.filter(pc.not_equal(table.column("input_index"), 11)))
    with pytest.raises(ReceiptError, match=r"part-00001\.parquet misses 1 of 7 rows, first the one at position 2"):
        verify(output)


def test_a_doubled_row_is_named(output: Path) -> None:
    table = read(output / PART)
    rewrite(output / PART, pa.concat_tables([table, table.slice(2, 1)]))
    with pytest.raises(ReceiptError, match="doubled rows: input_index 11"):
        verify(output)


def test_rows_in_another_order_and_rewritten_files_are_found(output: Path) -> None:
    table = read(output / PART)
    rewrite(output / PART, table.take([1, 0, *range(2, 7)]))
    with pytest.raises(ReceiptError, match="another order"):
        verify(output)
    rewrite(output / PART, table)
    with pytest.raises(ReceiptError, match="written anew"):
        verify(output)


def test_a_flipped_bit_anywhere_is_found(output: Path) -> None:
    for path in sorted(output.iterdir()):
        whole = path.read_bytes()
        for place in (0, len(whole) // 3, len(whole) - 1):
            data = bytearray(whole)
            data[place] ^= 4
            path.write_bytes(data)
            with pytest.raises(ReceiptError):
                verify(output)
        path.write_bytes(whole)
    verify(output)


def test_missing_and_foreign_files_are_found(output: Path) -> None:
    whole = (output / PART).read_bytes()
    (output / PART).unlink()
    with pytest.raises(ReceiptError, match=r"part-00001\.parquet is missing: 7 rows"):
        verify(output)
    (output / PART).write_bytes(whole)
    (output / "part-00003.parquet").write_bytes(whole)
    with pytest.raises(ReceiptError, match="not in the receipt: its rows are doubled"):
        verify(output)
    (output / "part-00003.parquet").unlink()
    (output / "set_aside.parquet").unlink()
    with pytest.raises(ReceiptError, match=r"set_aside\.parquet is missing"):
        verify(output)


def test_a_receipt_of_a_faulty_run_is_found_by_its_rows(output: Path) -> None:
    """Digests that fit do not help where an input was scored twice and another one never."""
    table = read(output / PART)
    rewrite(output / PART, changed(table, "input_index", 0, 10))
    receipt = read_receipt(output)
    receipt.parts[1] = Part(PART, 7, 1, sha256_file(output / PART))
    write_receipt(output, receipt)
    with pytest.raises(ReceiptError, match="doubled rows: input_index 10"):
        verify(output)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"schema": 2}', '{"schema": 1, "parts": 3}'])
def test_what_is_no_receipt_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "receipt.json").write_text(text)
    with pytest.raises(ReceiptError, match="cannot be read as a receipt") as caught:
        verify(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_receipt_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ReceiptError, match="run the same `score` again"):
        verify(tmp_path)
