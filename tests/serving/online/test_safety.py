"""What has gone wrong in servers like this one (SAFETY.md), tried on ours."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import onnx
import psutil
import pytest
import tiny_models
from online_case import Running, bomb, png, serve_tiny

from drillcore.errors import DrillcoreError, InputError, IntegrityError, UnsafeModelError
from drillcore.runtime.model.served import blob_path, put_blob, write_pointer
from drillcore.settings import Settings

Start = Callable[..., Running]
MIB = 2**20


def lives(server: Running) -> None:
    """A neighbour is answered as ever."""
    answer = server.predict(png(255))
    assert (answer.status_code, answer.json()["label"]) == (200, "dark")


def resident() -> int:
    size: int = psutil.Process().memory_info().rss
    return size


def test_a_decompression_bomb_is_refused_by_its_header(tiny_server: Running) -> None:
    data = bomb(30_000, 3_000)  # 90 million pixels in some 90 kilobytes
    assert len(data) < 200_000
    before = resident()
    answers = [tiny_server.predict(data) for _ in range(5)]
    assert [(answer.status_code, answer.json()["reason"]) for answer in answers] == [(413, "too_large")] * 5
    assert resident() - before < 60 * MIB
    lives(tiny_server)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n"
PICKLE = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x08touch /x\x85R."
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"


@pytest.mark.parametrize(
    "data", [EPS, PICKLE, SVG, b"PK\x03\x04" + bytes(50), b"%PDF-1.7"], ids=["eps", "pickle", "svg", "zip", "pdf"]
)
def test_what_only_calls_itself_an_image_is_never_opened(tiny_server: Running, data: bytes) -> None:
    raw = tiny_server.predict(data)
    assert (raw.status_code, raw.json()["reason"]) == (422, "format")
    form = tiny_server.client.post("/predict/tiny", files={"file": ("photo.png", data, "image/png")})
    assert form.json()["images"][0]["reason"] == "misnamed"
    lives(tiny_server)


def head(length: str = "Transfer-Encoding: chunked") -> bytes:
    return f"POST /predict/tiny HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n{length}\r\n\r\n".encode()


def answer_to(server: Running, *pieces: bytes) -> bytes:
    """Send raw bytes, as far as the server takes them, and return what it says."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as line:
        try:
            for piece in pieces:
                line.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        said = b""
        try:
            while b"\r\n\r\n" not in said and (more := line.recv(65_536)):
                said += more
        except ConnectionResetError:
            pass
        return said


def test_a_flood_of_chunks_is_413_and_the_process_lives(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    server = start(max_body=MIB)
    before = resident()
    flood = b"1\r\nx\r\n" * 10_000
    said = answer_to(server, head(), *[flood] * 100)  # a million chunks of one byte
    assert said.startswith(b"HTTP/1.1 413")
    assert resident() - before < 60 * MIB
    lives(server)
    # Some tiny chunks are a body like any other.
    some = flood[: 6 * 2000]
    assert answer_to(server, head(), some, b"0\r\n\r\n").startswith(b"HTTP/1.1 422")
    assert answer_to(server, head(), *[b"400\r\n" + b"x" * 1024 + b"\r\n"] * 2000).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("start_of_line", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: "], ids=["line", "header"])
def test_headers_without_end_are_cut_off(tiny_server: Running, start_of_line: bytes) -> None:
    before = resident()
    start_of_line = start_of_line or b"GET /"
    said = answer_to(tiny_server, start_of_line, *[b"x" * 100_000] * 100)
    assert said == b"" or said.startswith(b"HTTP/1.1 431")
    assert resident() - before < 40 * MIB
    lives(tiny_server)


def test_many_small_headers_are_cut_off(tiny_server: Running) -> None:
    before = resident()
    lines = b"".join(b"X-%d: y\r\n" % number for number in range(10_000))
    said = answer_to(tiny_server, b"GET / HTTP/1.1\r\nHost: localhost\r\n", *[lines] * 50)
    assert said == b"" or said.startswith(b"HTTP/1.1 431")
    assert resident() - before < 40 * MIB
    lives(tiny_server)


def test_chunk_extensions_without_end_are_cut_off(tiny_server: Running) -> None:
    said = answer_to(tiny_server, head(), b"1;", *[b"x" * 100_000] * 50)
    assert said == b"" or said.startswith(b"HTTP/1.1 400")
    lives(tiny_server)


def test_multipart_fields_without_end(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    server = start(max_body=4 * MIB)
    before = resident()
    kind = {"content-type": "multipart/form-data; boundary=b"}
    field = b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\ny\r\n"
    many = server.client.post("/predict/tiny", content=field * 50_000, headers=kind)
    assert (many.status_code, many.json()["reason"]) == (413, "too_many_parts")

    def endless() -> object:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 100_000

    large = server.client.post("/predict/tiny", content=endless(), headers=kind)  # type: ignore[arg-type]
    assert (large.status_code, large.json()["reason"]) == (413, "too_large")
    assert resident() - before < 60 * MIB
    lives(server)


@pytest.mark.parametrize(
    "number", ["9" * 5000, "1e999999", "-1e400", "9" * 300, "1" + "0" * 100_000, "0.1e-9999", "NaN", "Infinity", "1E2"]
)
@pytest.mark.parametrize("place", ["data", "shape", "size"])
def test_huge_numbers_in_json(tiny_server: Running, number: str, place: str) -> None:
    values = {"data": "7", "shape": "1", "size": ""} | {place: number}
    size = f', "parameters": {{"binary_data_size": {values["size"]}}}' if values["size"] else ""
    data = "" if size else f', "data": [{values["data"]}]'
    text = (
        f'{{"inputs": [{{"name": "images", "datatype": "UINT8", "shape": [1, {values["shape"]}, 1, 1]{data}{size}}}]}}'
    )
    answer = tiny_server.client.post("/v2/models/tiny/infer", content=text)
    assert answer.status_code == 400
    assert len(answer.content) < 1000
    lives(tiny_server)


def test_json_beyond_its_own_limit_is_413(settings: Settings, start: Start) -> None:
    serve_tiny(settings)
    server = start(max_json=10_000)
    text = json.dumps(
        {"inputs": [{"name": "images", "shape": [1, 100, 100, 1], "datatype": "UINT8", "data": [0] * 10_000}]}
    )
    answer = server.client.post("/v2/models/tiny/infer", content=text)
    assert (answer.status_code, "binary" in answer.json()["error"]) == (413, True)


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2ftiny",
        "..",
        "tiny%00",
        "tiny%2f..%2ftiny",
        "tiny.json",
        "blobs",
        "C:%5ctiny",
        "tiny%0d%0aX-Evil:%201",
        "%F0%9F%92%A9",
        "x" * 199,
    ],
)
def test_names_like_paths_find_nothing(tiny_server: Running, name: str) -> None:
    for method, path in (("POST", f"/predict/{name}"), ("GET", f"/v2/models/{name}"), ("GET", f"/static/{name}")):
        # As it is: httpx would tidy the path up.
        said = answer_to(
            tiny_server, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode()
        )
        status = int(said.split(b" ", 2)[1])
        assert status in (404, 405), path
        assert b"X-Evil" not in said.split(b"\r\n\r\n")[0]
    lives(tiny_server)


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd"]
)
def test_no_file_is_reached_beside_the_page(tiny_server: Running, path: str) -> None:
    said = answer_to(tiny_server, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 404")


def test_a_blob_that_does_not_match_its_digest_is_never_opened(settings: Settings, start: Start) -> None:
    good, other = serve_tiny(settings).sha256, serve_tiny(settings, 2, bias=-10.0).path
    blob_path(settings, good).write_bytes(other.read_bytes())  # a valid model, not the one that was registered
    write_pointer(settings, "tiny", 1, good)
    with pytest.raises(IntegrityError):
        start()


def test_models_that_reach_out_are_refused_at_the_door(settings: Settings, start: Start) -> None:
    model = tiny_models.tiny_model()
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    source = settings.state / "evil.onnx"
    source.parent.mkdir(parents=True)
    source.write_bytes(model.SerializeToString())
    write_pointer(settings, "tiny", 1, put_blob(settings, source))
    with pytest.raises(UnsafeModelError):
        start()


@pytest.mark.parametrize("reference", ["../tiny", "tiny/../tiny", "https://evil.example/model.onnx", "/etc/passwd", ""])
def test_models_are_named_never_located(settings: Settings, start: Start, reference: str) -> None:
    serve_tiny(settings)
    with pytest.raises(InputError):
        start(reference) if reference else start("tiny", "")


def test_nothing_administers_the_server(tiny_server: Running) -> None:
    paths = [
        "/v2/repository/models/tiny/load",
        "/v2/repository/models/tiny/unload",
        "/models?url=http://evil.example/m.onnx",
        "/admin",
    ]
    for path in paths:
        assert tiny_server.client.post(path).status_code == 404, path
    document = tiny_server.client.get("/openapi.json").json()
    methods = {(method, path) for path, operations in document["paths"].items() for method in operations}
    assert {path for method, path in methods if method != "get"} == {
        "/predict/{model}",
        "/v2/models/{model}/infer",
        "/v2/models/{model}/versions/{version}/infer",
        "/v2/repository/index",  # reads: nothing is loaded or unloaded
    }


def test_errors_name_no_path(settings: Settings, start: Start) -> None:
    served = serve_tiny(settings)
    server = start()
    served.path.unlink()  # the open model needs it no more
    answers = [
        server.predict(b"no image"),
        server.predict(png(), "other"),
        server.client.post("/v2/models/tiny/infer", content=b"{"),
        server.client.get("/static/none"),
        server.client.get("/v2/models/tiny/versions/9"),
    ]
    for answer in answers:
        assert answer.status_code >= 400
        for secret in (str(settings.root), "/work", "site-packages", "Traceback", ".py", served.sha256):
            assert secret not in answer.text
    assert issubclass(IntegrityError, DrillcoreError)
    lives(server)
