// A model's card: headings, paragraphs, lists, tables, code and links of Markdown. All text is set as text.

import { make } from "./dom.js";

const INLINE = /(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*|\[[^\]]*\]\((?:[^()\s]|\([^()\s]*\))+\))/;

export function rendered(markdown) {
  const lines = markdown.replace(/\r\n?/g, "\n").split("\n");
  const page = document.createDocumentFragment();
  let place = 0;
  while (place < lines.length) {
    const [block, next] = blockAt(lines, place);
    if (block) page.append(block);
    place = next;
  }
  return page;
}

function blockAt(lines, place) {
  const line = lines[place];
  if (!line.trim()) return [null, place + 1];
  if (/^\s*```/.test(line)) return fenced(lines, place);
  const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
  // The page's own headings stand above: the card's begin at h3.
  if (heading) return [inline(make(`h${Math.min(6, heading[1].length + 2)}`), heading[2]), place + 1];
  if (/^\s*\|/.test(line) && /^\s*\|[\s:|-]+\|\s*$/.test(lines[place + 1] || "")) return table(lines, place);
  if (isItem(line)) return list(lines, place);
  return paragraph(lines, place);
}

function fenced(lines, place) {
  let end = place + 1;
  while (end < lines.length && !/^\s*```/.test(lines[end])) end += 1;
  return [make("pre", { tabIndex: 0 }, make("code", {}, lines.slice(place + 1, end).join("\n"))), end + 1];
}

function cells(line) {
  const kept = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  return kept.split(/(?<!\\)\|/).map((text) => text.trim().replaceAll("\\|", "|"));
}

function table(lines, place) {
  const head = make("tr", {}, ...cells(lines[place]).map((text) => inline(make("th", { scope: "col" }), text)));
  const body = make("tbody");
  let end = place + 2;
  for (; end < lines.length && /^\s*\|/.test(lines[end]); end += 1) {
    body.append(make("tr", {}, ...cells(lines[end]).map((text) => inline(make("td"), text))));
  }
  const whole = make("table", {}, make("thead", {}, head), body);
  return [make("div", { class: "wide", tabIndex: 0, role: "region", "aria-label": "Table" }, whole), end];
}

const isItem = (line) => /^\s*([-*+]|\d+[.)])\s+/.test(line);

function list(lines, place) {
  const whole = make(/^\s*\d/.test(lines[place]) ? "ol" : "ul");
  let end = place;
  while (end < lines.length && isItem(lines[end])) {
    let text = lines[end].replace(/^\s*([-*+]|\d+[.)])\s+/, "");
    for (end += 1; end < lines.length && /^\s+\S/.test(lines[end]) && !isItem(lines[end]); end += 1) {
      text += ` ${lines[end].trim()}`;
    }
    whole.append(inline(make("li"), text));
  }
  return [whole, end];
}

function paragraph(lines, place) {
  let end = place + 1;
  while (end < lines.length && lines[end].trim() && !/^\s*(#{1,6}\s|```|\|)/.test(lines[end]) && !isItem(lines[end])) {
    end += 1;
  }
  return [inline(make("p"), lines.slice(place, end).map((line) => line.trim()).join(" ")), end];
}

function inline(element, text) {
  for (const piece of text.split(INLINE)) {
    if (!piece) continue;
    if (/^`.+`$/.test(piece)) element.append(make("code", {}, piece.slice(1, -1)));
    else if (/^\*\*.+\*\*$/.test(piece)) element.append(inline(make("strong"), piece.slice(2, -2)));
    else if (/^\*.+\*$/.test(piece)) element.append(inline(make("em"), piece.slice(1, -1)));
    else if (/^\[.*\]\(.+\)$/.test(piece)) element.append(link(piece));
    else element.append(piece);
  }
  return element;
}

// Addresses of the web are links; any other (javascript:, data:, files beside the card) stays text.
function link(piece) {
  const [, words, address] = /^\[(.*?)\]\((.+)\)$/.exec(piece);
  if (!/^https?:\/\//i.test(address)) return words;
  return make("a", { href: address, rel: "noopener noreferrer", target: "_blank" }, words);
}
