"""The OpenAPI document as a page: no script, nothing from other hosts."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator

from drillcore.json_types import Json

_STYLE = "/docs.css"


def docs_page(document: Json) -> str:
    """Return HTML that lists every operation with its parameters, bodies, answers and examples."""
    schemas = document.get("components", {}).get("schemas", {})
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{_text(document['info']['title'])}: interface</title><link rel=stylesheet href={_STYLE}>",
        f"<main><h1>{_text(document['info']['title'])} {_text(document['info']['version'])}</h1>",
        f"<p>{_text(document['info'].get('description', ''))}</p>",
        "<p>The same for programs: <a href=/openapi.json>/openapi.json</a>. The page: <a href=/>/</a>.</p>",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += _operation(method.upper(), path, operation)
    parts.append("<h2>Schemas</h2>")
    for name, schema in schemas.items():
        parts.append(f"<details id={_text(name)}><summary>{_text(name)}</summary>{_json(schema)}</details>")
    return "".join([*parts, "</main></html>"])


def _operation(method: str, path: str, operation: Json) -> Iterator[str]:
    yield f"<section><h2><code>{method} {_text(path)}</code></h2><p>{_text(operation.get('summary', ''))}</p>"
    description = operation.get("description", "").strip()
    if description:
        yield from _paragraphs(description)
    rows = [
        (item["name"], item["in"], item.get("description", ""), item.get("schema", {}).get("type", ""))
        for item in operation.get("parameters", ())
    ]
    rows += [(name, "header", text, "") for name, text in operation.get("x-headers", {}).items()]
    if rows:
        yield _table(("parameter", "in", "what it is", "type"), rows)
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>body <code>{_text(kind)}</code></p>"
        yield from _examples(body)
    for status, answer in operation.get("responses", {}).items():
        kinds = ", ".join(answer.get("content", {}))
        yield f"<p><b>{_text(status)}</b> {_text(answer.get('description', ''))} <code>{_text(kinds)}</code></p>"
        if status == "200":
            for body in answer.get("content", {}).values():
                yield from _examples(body)
    yield "</section>"


def _examples(body: Json) -> Iterator[str]:
    reference = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
    if reference:
        yield f"<p>schema <a href='#{_text(reference)}'>{_text(reference)}</a></p>"
    if "example" in body:
        yield _json(body["example"])
    for name, example in body.get("examples", {}).items():
        yield f"<p>{_text(name)}</p>{_json(example['value'])}"


def _paragraphs(text: str) -> Iterator[str]:
    """Yield Markdown's paragraphs and indented blocks of code; nothing more is used here."""
    for block in text.split("\n\n"):
        if block.startswith("    "):
            lines = "\n".join(line[4:] for line in block.splitlines())
            yield f"<pre>{_text(lines)}</pre>"
        else:
            yield f"<p>{_text(block.replace('`', ''))}</p>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{lines}</table>"


def _json(value: object) -> str:
    return f"<pre>{_text(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _text(value: object) -> str:
    return html.escape(str(value))
