"""A seeded fuzzer of recipes, Parquet, JSON, safetensors and SQLite files, each tried in a process with little memory.

Run as a program: `python hostile_tables.py FIRST COUNT` tries so many files and prints what came of them as JSON. The
number and place of each stands in the standard error before it is tried, so that a crash names its file.
"""

from __future__ import annotations

import io
import json
import random
import resource
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hostile_files import BYTE_MUTATIONS, peak_memory, require
from PIL import Image

from drillcore.errors import DrillcoreError, RecipeError
from drillcore.settings import Settings

MEMORY = 3 * 2**30  # address space in bytes, beyond what the libraries take
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**63, 10**400, 1.5, float("nan"), float("inf"), "", "\0", "\ud800", "x" * 5000, "../../etc"),
    *([], {}, [[]], {"": {}}, ["a", 1], {"a": None}, "0" * 64, "../" * 20 + "etc/passwd"),
)
YAML_ODD = (
    *("!!python/object/apply:os.getcwd []", "&a [*a]", "{", "[", "? x", "1e999", ".nan", "0x1F", "2001-01-01", "~"),
    *(
        '"\\ud800"',
        "-",
        "[[[[]]]]",
        "'",
        '"',
        "\t",
        "%TAG",
        "---",
        "...",
        "!!binary aGk=",
        "<<: *x",
        "1_000",
        "12:30:45",
    ),
)


class Case:
    """A place where a file is read: what reads it, and what a correct answer is."""

    def __init__(self, name: str, file: Path, read: Callable[[], object], *, same: bool = True) -> None:
        self.name, self.file, self.read, self.same = name, file, read, same
        self.data = file.read_bytes()
        self.answer = comparable(read())


def comparable(value: Any) -> Any:
    """Return what can be compared and lives on when the file is changed."""
    if isinstance(value, np.ndarray):
        return value.tobytes()
    return repr(value)


def cases(folder: Path) -> list[Case]:
    """Write one good file of each kind."""
    settings = Settings.load(folder / "checkout", env={"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1"})
    settings.models.mkdir(parents=True)
    made: list[Case] = []
    for part in (_recipe, _dataset, _store, _training, _served, _scored, _state):
        made += part(settings)
    return made


def _recipe(settings: Settings) -> Iterator[Case]:
    from shells import RECIPE

    from drillcore.recipes import load_recipe
    from drillcore.recipes.building import check_parts

    path = settings.models / "shells-forest.yaml"
    path.write_text(RECIPE)

    def read() -> object:
        recipe = load_recipe(settings, "shells-forest")
        check_parts(recipe)
        return recipe.sha256

    yield Case("recipe", path, read, same=False)


def _dataset(settings: Settings) -> Iterator[Case]:
    from shells import write_shells

    from drillcore.datasets import ingest, landing, manifest, pointers, probe
    from drillcore.datasets.description import FILE_NAME, read_description
    from drillcore.versions.tree import outs_md5

    root, name = settings.data / "shells", "shells"
    landing.import_dataset(settings, name, write_shells(settings.root / "source", 4), layout="classes")
    shutil.copytree(settings.landing / name, root)
    made = manifest.build_manifest(settings, name)
    path = manifest.write_manifest(settings, made)
    yield Case("manifest", path, lambda: read_all(manifest.read_manifest(settings, name, made.digest)))
    aside = path.with_suffix(".quarantine.parquet")
    yield Case("quarantine", aside, lambda: read_all(manifest.read_manifest(settings, name, made.digest)))
    memory = settings.state / "probed" / "shells.parquet"
    table = pq.read_table(memory) if memory.exists() else None
    require(table is not None, "nothing was probed")
    about = json.loads(table.schema.metadata[b"drillcore"])  # type: ignore[union-attr]
    stats = {row: probe._stat(root / row) for row in made.table["path"]}
    yield Case("probed", memory, lambda: probe._recall(memory, about, stats)[0] or None)
    yield Case("description", root / FILE_NAME, lambda: read_description(root), same=False)
    pointer = {"digest": made.digest, "lineage": made.lineage, "files": 12, "tree": "t", "dvc_md5": "a" * 32}
    pointers.write_pointer(settings, name, pointer)
    current = settings.manifests / name / "current.json"
    yield Case("current", current, lambda: read_all(ingest.current_manifest(settings, name)))
    yield Case(
        "lineage",
        settings.state / "lineages" / "shells.json",
        lambda: landing._last_lineage(settings, name),
        same=False,
    )
    data_dvc = settings.root / "data.dvc"
    data_dvc.write_text(f"md5: {'b' * 32}\nfrozen: true\nouts:\n- md5: {'a' * 32}.dir\n  path: data\n")
    yield Case("data.dvc", data_dvc, lambda: outs_md5(data_dvc.read_bytes().decode("utf-8", "replace")), same=False)


def read_all(manifest: Any) -> str:
    return f"{manifest.about()} {manifest.table.to_csv()} {manifest.quarantine.to_csv()}"


def _store(settings: Settings) -> Iterator[Case]:
    from drillcore.store import FeatureSpec, FeatureStore, StoreWriter

    spec = FeatureSpec(weights="w" * 64, taps=("layer3",), preprocessing={}, dtype="float16")
    keys, rows = [f"{number:064x}" for number in range(9)], np.arange(27, dtype=np.float16).reshape(9, 3)
    with StoreWriter(FeatureStore.of(settings, spec)) as writer:
        writer.add(keys, rows)

    def read() -> object:
        store = FeatureStore.of(settings, spec)
        if store.missing(keys).any():
            return None  # computed anew
        return store.read(keys)

    store = FeatureStore.of(settings, spec)
    yield Case("index", store.index_path, read)
    yield Case("shard", next(store.shards.iterdir()), read)


def _training(settings: Settings) -> Iterator[Case]:
    import torch

    from drillcore.backbones.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
    from drillcore.heads.forest.forest import ForestHead
    from drillcore.heads.saving import ARRAYS_FILE, META_FILE, load_head, save_head
    from drillcore.retrain.records import Fitted, RunFolder

    torch.set_num_threads(1)
    checkpoint = settings.state / "checkpoint.safetensors"
    state = Checkpoint(identity="me", epoch=2, weights={"a": torch.arange(12.0)}, curve=[{"epoch": 1, "loss": 0.5}])
    write_checkpoint(checkpoint, state)
    yield Case("checkpoint", checkpoint, lambda: read_checkpoint(checkpoint, "me"))
    rows, labels = np.random.default_rng(0).random((40, 5), np.float32), np.arange(40) % 3
    head = settings.state / "head"
    save_head(head, ForestHead(n_estimators=3, seed=1).fit(rows, labels))
    yield Case("head arrays", head / ARRAYS_FILE, lambda: load_head(head).predict_proba(rows))
    yield Case("head", head / META_FILE, lambda: load_head(head).predict_proba(rows).shape, same=False)
    folder = RunFolder(settings.state / "run", "f" * 64)
    folder.path.mkdir()
    (folder.path / "made").write_text("x")
    folder.write_plain("fit", {"note": "three", "rows": 3}, ["made"])
    yield Case("record", folder.path / "fit.json", lambda: folder.read(Fitted), same=False)


def _served(settings: Settings) -> Iterator[Case]:
    from drillcore.runtime.model.served import put_blob, resolve, write_pointer

    sha256 = put_blob(settings, _tiny(settings))
    write_pointer(settings, "tiny", 1, sha256)
    path = settings.served / "tiny.json"
    yield Case("pointer", path, lambda: resolve(settings, "tiny").sha256)


def _tiny(settings: Settings) -> Path:
    import tiny_models

    made: Path = tiny_models.write_tiny_model(settings.state / "tiny.onnx")
    return made


def _scored(settings: Settings) -> Iterator[Case]:
    from drillcore.runtime.batch.receipt import RECEIPT, ROWS, SET_ASIDE, verify
    from drillcore.runtime.model.served import resolve
    from drillcore_serving.batch.inputs.input_list import list_inputs
    from drillcore_serving.batch.journal import JOURNAL, Journal
    from drillcore_serving.batch.score_batch import score

    source, output = settings.root / "in", settings.root / "out"
    source.mkdir()
    for number in range(5):
        Image.fromarray(np.full((6, 7 + number), 40 * number, np.uint8)).save(source / f"{number}.png")
    (source / "bad.png").write_bytes(b"bad")
    rows = pa.table({"path": pa.array(sorted(path.name for path in source.iterdir()))})
    pq.write_table(rows, source / "list.parquet")
    score(settings, resolve(settings, "tiny"), source / "list.parquet", output, shard_rows=3)
    answer = lambda: verify(output).to_dict()  # noqa: E731
    for name in (RECEIPT, ROWS, SET_ASIDE, "part-00000.parquet"):
        yield Case(name, output / name, answer, same=name != RECEIPT)
    listed = source / "list.parquet"
    yield Case("inputs", listed, lambda: [item.path for item in list_inputs(listed)], same=False)
    journal = settings.root / "journal"
    journal.mkdir()
    plan = {
        "batch": 1,
        "inputs": 2,
        "inputs_sha256": "a",
        "model": "m",
        "model_sha256": "b",
        "shard_rows": 3,
        "version": 1,
    }
    entry = {
        "shard": 0,
        "part": ["part-00000.parquet", 1, 1, "c"],
        "checksums": "AAAAAA==",
        "set_aside": [[1, "p", "", "r", "d"]],
    }
    (journal / JOURNAL).write_text(f"{json.dumps(plan)}\n{json.dumps(entry)}\n")
    yield Case("journal", journal / JOURNAL, lambda: Journal(journal).read(), same=False)


def _state(settings: Settings) -> Iterator[Case]:
    from drillcore.state.aliases import head
    from drillcore.state.database import open_state

    database = settings.state / "state.db"
    open_state(settings)

    def read() -> object:
        for name in ("state.db-wal", "state.db-shm"):
            (settings.state / name).unlink(missing_ok=True)
        return head(open_state(settings), "tiny", "champion")

    yield Case("state", database, read)


def mutated(case: Case, rng: random.Random) -> bytes:
    """Return a damaged file of a case's kind: part by part where it has parts, else byte by byte."""
    kind = case.file.suffix
    if rng.random() < 0.5:
        if kind in (".json", "") and case.data[:1] == b"{":
            return _json(case.data, rng)
        if kind in (".yaml", ".dvc"):
            return _yaml(case.data.decode(), rng).encode("utf-8", "surrogatepass")
        if kind == ".parquet":
            return _parquet(case.data, rng)
    data = bytearray(case.data)
    rng.choice((*BYTE_MUTATIONS, _swap, _zero))(data, rng)
    return bytes(data)


def _swap(data: bytearray, rng: random.Random) -> None:
    size = max(1, len(data) // 8)
    a, b = (rng.randrange(max(1, len(data) - size)) for _ in range(2))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


def _zero(data: bytearray, rng: random.Random) -> None:
    place = rng.randrange(max(1, len(data)))
    data[place : place + 64] = bytes(min(64, len(data) - place))


def _json(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.15:
        return rng.choice((b"[" * 200_000, b'{"a":' * 100_000, b"{}", b"[]", b"null", b"1", b'"x"', b"", b"\xff\xfe{}"))
    value = json.loads(data.splitlines()[0] if b"\n{" in data else data)
    node, keys = value, []
    while isinstance(node, dict | list) and len(node) and (not keys or rng.random() < 0.6):
        keys.append((node, rng.choice(list(node) if isinstance(node, dict) else range(len(node)))))
        node = node[keys[-1][1]]
    holder, key = keys[-1]
    if rng.random() < 0.25:
        del holder[key]
    else:
        holder[key] = rng.choice(ODD)
    return json.dumps(value).encode("utf-8", "surrogatepass") + b"\n"


def _yaml(text: str, rng: random.Random) -> str:
    lines = text.splitlines()
    place, choice = rng.randrange(len(lines)), rng.randrange(8)
    if choice == 0:
        lines[place] = lines[place].partition(":")[0] + ": " + rng.choice(YAML_ODD)
    elif choice == 1:
        lines.insert(rng.randrange(len(lines)), lines[place])
    elif choice == 2:
        del lines[place]
    elif choice == 3:
        lines[place] = " " * rng.randrange(1, 9) + lines[place]
    elif choice == 4:
        lines[place] += " " + rng.choice(("[" * 20_000, "{a: " * 5_000, "x" * 300_000, "9" * 6_000, "\x00", "\u2028"))
    elif choice == 5:
        lines[place] = lines[place].replace(rng.choice("abcdefg"), rng.choice("äéß0-:#"))
    elif choice == 6:
        other = rng.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    else:
        lines[place] = f"{rng.choice(YAML_ODD)}: {rng.choice(YAML_ODD)}"
    return "\n".join(lines) + "\n"


def _parquet(data: bytes, rng: random.Random) -> bytes:
    table = pq.read_table(io.BytesIO(data))
    names, choice = table.column_names, rng.randrange(7)
    place = rng.randrange(len(names))
    count = table.num_rows
    if choice == 0:
        deep = pa.array([1] * count)
        for _ in range(rng.choice((1, 30, 60))):
            deep = pa.ListArray.from_arrays(pa.array(range(count + 1), pa.int32()), deep)
        table = table.set_column(place, names[place], deep)
    elif choice == 1:
        table = table.set_column(place, names[place], pa.nulls(count, table.schema.field(place).type))
    elif choice == 2:
        other = rng.choice(
            [pa.array([2**62] * count), pa.array([-1.5] * count), pa.array([b"\xff\0"] * count), pa.nulls(count)]
        )
        table = table.set_column(place, names[place], other)
    elif choice == 3:
        table = table.drop_columns([names[place]])
    elif choice == 4:
        table = table.rename_columns(
            [rng.choice(("", names[place], "\0", "path")) if i == place else n for i, n in enumerate(names)]
        )
    elif choice == 5:
        table = table.slice(0, rng.randrange(count + 1)) if rng.random() < 0.5 else pa.concat_tables([table, table])
    else:
        about = rng.choice((b"", b"null", b"[" * 100_000, b"{}", b'{"digest": 1}', b"\xff"))
        table = table.replace_schema_metadata({b"drillcore": about, b"pandas": about, b"ARROW:schema": b"\0" * 9})
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def attempt(case: Case, data: bytes) -> str:
    """Read a damaged file and return what came of it; anything else than the two allowed outcomes ends the process."""
    case.file.write_bytes(data)
    try:
        answer = case.read()
    except DrillcoreError as error:
        text = str(error)
        # A recipe's mistakes are told at once, a line each under one that sums them up.
        most = 22 if isinstance(error, RecipeError) else 1
        told = len(text.splitlines()) <= most and len(text) < 3000 * most**0.5
        require(told, f"{case.name}: a refusal such as {text[:300]!r}")
        return type(error).__name__
    finally:
        case.file.write_bytes(case.data)
    if answer is None:
        return "made anew"
    require(
        not case.same or comparable(answer) == case.answer, f"{case.name}: another answer {comparable(answer)[:300]!r}"
    )
    return "read"


def main() -> None:
    """Try the files asked for in little memory."""
    first, count = int(sys.argv[1]), int(sys.argv[2])
    outcome: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        known = cases(Path(folder))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        for number in range(first, first + count):
            case = known[number % len(known)]
            print(number, case.name, file=sys.stderr, flush=True)
            outcome[attempt(case, mutated(case, random.Random(number)))] += 1
    print(json.dumps({"outcome": outcome, "peak": peak_memory()}))


if __name__ == "__main__":
    main()
