"""Data Docs that load nothing: Great Expectations' own pages lean on seven hosts and are bare text without them."""

from __future__ import annotations

import re
import shutil
from html import escape
from pathlib import Path

# What needs a network or a script that came from one, the advertisement of a newsletter, dialogs and their buttons.
_DROPPED = re.compile(
    r"<script\b.*?</script>|<style\b.*?</style>|<footer\b.*?</footer>|<link\b[^>]*>|<img\b[^>]*\bhttps?://[^>]*>"
    r'|<div class="btn-group btn-group-toggle".*?</div>|\sstyle="[^"]*"|\sintegrity="[^"]*"',
    re.DOTALL | re.IGNORECASE,
)
_STYLE = """<style>
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#566375;--line:#d9dfe7;--accent:#1f5f99}
@media (prefers-color-scheme:dark){:root{--bg:#11161d;--card:#1a212b;--ink:#e6ebf2;--soft:#a3b0c0;--line:#313c4a;
--accent:#86bdf0}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:74rem;padding:1rem 1.25rem;background:var(--bg);color:var(--ink);overflow-wrap:anywhere;
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
a{color:var(--accent)}ul,ol{padding-left:1.2rem}
h4{font-size:1.5rem;margin:.6rem 0}h5{font-size:1.15rem;margin:.2rem 0}h6{font-size:1rem;margin:.8rem 0 .3rem}
.breadcrumb{list-style:none;display:flex;flex-wrap:wrap;gap:.8rem;padding:0;color:var(--soft)}
.ge-section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1rem 1.2rem;margin:1rem 0}
.ge-navigation-sidebar-container ul,.navbar ul{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;padding:0}
table{border-collapse:collapse;width:100%;display:block;overflow-x:auto;font-size:.94rem}
th,td{padding:.36rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;min-width:5rem;
overflow-wrap:break-word}
.modal,.cooltip .top,.card.mb-3,[onclick]{display:none}
.text-success::before{content:"\\2713  ";color:#1c6b32}.text-danger::before{content:"\\2715  ";color:#a3211b}
pre,code{white-space:pre-wrap}
</style>"""


def make_offline(folder: Path) -> None:
    """Rewrite the pages of a Data Docs site so that they look and work alike without a network, at any width.

    Args:
        folder: of the site, its pictures, fonts and scripts go, since no page uses them.

    Raises:
        OSError: a page cannot be rewritten.
    """
    for page in folder.rglob("*.html"):
        text = _DROPPED.sub("", page.read_text(encoding="utf-8"))
        page.write_text(text.replace("</head>", f"{_STYLE}\n</head>", 1), encoding="utf-8")
    (folder / "index.html").write_text(_index(folder), encoding="utf-8")
    shutil.rmtree(folder / "static", ignore_errors=True)


def _index(folder: Path) -> str:
    """Return the first page; Great Expectations' own is a table that a script from elsewhere fills."""
    sections = ""
    for title, kind in (("Validation results", "validations"), ("Expectations", "expectations")):
        pages = sorted((folder / kind).rglob("*.html"))
        links = "".join(f'<li><a href="{page.relative_to(folder)}">{escape(page.stem)}</a></li>' for page in pages)
        sections += f'<div class="ge-section"><h5>{title}</h5><ul>{links}</ul></div>'
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Data Docs</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{_STYLE}</head>'
        f"<body><h4>Data Docs</h4><p>Made by Great Expectations.</p>{sections}</body></html>\n"
    )
