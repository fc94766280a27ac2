// One answer as a person sees it: bars, or labels over the image with their legend, or the predicted picture beside it.

import { blobOf, bytes, figure, make, milliseconds, percent, save, short } from "./dom.js";
import { LabelMap } from "./mask.js";
import { segments } from "./segments.js";

const VIEWS = [["over", "Both"], ["image", "Image"], ["mask", "Labels"]];
const NOTHING = "none of its labels";
const NOT_SURE = "not sure";
const SMALL = 900; // pixels: smaller images are shown up to eight times as large
let turn = 0; // of showing: what is overtaken while its pictures load is not shown any more
const chosen = { view: "over", opacity: 0.5 }; // kept from image to image

// `act`: {again, remove, picture(entry, type, opacity, label)}
export async function showAnswer(root, entry, act) {
  turn += 1;
  const mine = turn;
  const title = make("h2", { id: "answer-title" }, entry.name);
  const size = make("p", { class: "muted small" }, bytes(entry.file.size));
  root.replaceChildren(make("div", { class: "section-head" }, make("div", {}, title, size), tools(entry, act)));
  if (entry.status === "failed") return root.append(failure(entry, act));
  if (entry.status !== "done") {
    const words = entry.status === "busy" ? entry.error : `Asking ${entry.model} …`;
    return root.append(make("p", { class: "waiting" }, words), preview(entry));
  }
  const { said } = entry;
  const draw = said.top5 || said.labels ? bars : said.shares ? labels : said.segments ? parted : values;
  const drawn = await draw(entry, act);
  if (mine === turn) root.append(...drawn, figures(entry));
  return undefined;
}

// In words, for the history and for those who listen.
export function inWords(said) {
  if (said.answered === false) return `${NOT_SURE}: ${said.label} at best, ${percent(said.probability)}`;
  if (said.top5) return `${said.label}, ${percent(said.probability)}`;
  if (said.labels) return said.present.join(", ") || NOTHING;
  if (said.shares) {
    const best = [...said.shares].sort((one, other) => other.share - one.share)[0];
    return `${best.label} on ${percent(best.share)}`;
  }
  if (said.segments) return said.segments.length === 1 ? "1 segment" : `${said.segments.length} segments`;
  return `mean ${said.values.map((value) => figure(value.mean)).join(", ")}`;
}

function tools(entry, act) {
  const row = make("div", { class: "actions" });
  if (entry.status === "done") {
    const name = entry.name.replace(/\.[^.]*$/, "");
    const { mask, ...rest } = entry.said;
    const text = JSON.stringify({ name: entry.name, ...rest, round_trip_ms: Math.round(entry.ms) }, null, 2);
    const json = () => save(new Blob([text], { type: "application/json" }), `${name}.json`);
    row.append(make("button", { type: "button", class: "plain", onclick: json }, "Save JSON"));
    if (mask && rest.segments) {
      row.append(asked("Save segments", "image/png", `${name}-segments.png`, entry, act));
      row.append(asked("Save outlines", "image/jpeg", `${name}-outlines.jpg`, entry, act));
    } else if (mask) {
      const words = rest.shares ? "Save labels" : "Save picture";
      const png = () => save(blobOf(mask), `${name}-${rest.shares ? "labels" : "predicted"}.png`);
      row.append(make("button", { type: "button", class: "plain", onclick: png }, words));
      if (rest.shares) row.append(asked("Save overlay", "image/jpeg", `${name}-overlay.jpg`, entry, act));
      else row.append(asked("Save values", "image/tiff", `${name}-values.tif`, entry, act));
    }
  }
  if (entry.status === "done" && entry.said.mapped) {
    const name = entry.name.replace(/\.[^.]*$/, "");
    row.append(asked("Save overlay", "image/jpeg", `${name}-overlay.jpg`, entry, act));
  }
  if (act.chosen && act.chosen !== entry.model && entry.status !== "sending") {
    row.append(make("button", { type: "button", class: "plain", onclick: act.again }, `Ask ${act.chosen}`));
  }
  row.append(make("button", { type: "button", class: "plain", onclick: act.remove }, "Remove"));
  return row;
}

// A picture that the server makes when it is wanted.
function asked(words, type, name, entry, act) {
  const button = make("button", { type: "button", class: "plain" }, words);
  button.addEventListener("click", async () => {
    button.disabled = true;
    const blob = await act.picture(entry, type, chosen.opacity);
    button.disabled = false;
    if (blob) save(blob, name);
  });
  return button;
}

function failure(entry, act) {
  const box = make("div", { class: "banner bad", role: "alert" }, make("p", {}, make("strong", {}, entry.error)));
  if (entry.hint) box.append(make("p", {}, entry.hint));
  if (entry.request) box.append(make("p", { class: "small" }, "Request ", make("code", {}, entry.request)));
  if (entry.mayRetry) {
    box.append(make("button", { type: "button", class: "main", onclick: act.again }, "Try again"));
  }
  return box;
}

function preview(entry) {
  const image = make("img", { src: entry.url, alt: entry.name, class: "shown" });
  enlarge(image, image);
  image.addEventListener("error", () => image.replaceWith(noPreview()));
  return image;
}

const noPreview = () => make("p", { class: "muted no-preview" }, "This browser shows no preview of this kind of file.");

// Give a small image room on the screen, in whole steps; its pixels stay square and sharp.
function enlarge(image, box) {
  image.addEventListener("load", () => {
    const longer = Math.max(image.naturalWidth, image.naturalHeight, 1);
    const times = longer < SMALL ? Math.min(8, Math.ceil(SMALL / longer)) : 1;
    box.style.setProperty("--width", `${image.naturalWidth * times}px`);
    box.style.setProperty("--ratio", String(image.naturalWidth / Math.max(1, image.naturalHeight)));
    box.classList.toggle("pixels", times > 2);
  });
}

// The image under the maps of its labels, where the model says where they are.
async function mapped(entry, act) {
  try {
    const blob = await act.picture(entry, "image/jpeg", 0.6);
    const image = make("img", { alt: "The image under the maps of its labels", class: "shown" });
    enlarge(image, image);
    image.src = URL.createObjectURL(blob);
    await image.decode();
    const where = "Colours show where the model sees its labels: the mean score of the patches over each pixel.";
    return make("figure", {}, image, make("figcaption", { class: "muted small" }, where));
  } catch {
    return make("figure", {}, preview(entry));
  }
}

async function bars(entry, act) {
  const { said } = entry;
  const several = Boolean(said.labels);
  const unsure = said.answered === false;
  const best = several ? said.present : unsure ? [] : [said.label];
  const named = several ? "All labels" : "The most probable classes";
  const list = make("ol", { class: "bars", "aria-label": named });
  for (const { label, probability, colour } of several ? said.labels : said.top5) {
    const fill = make("span", { class: "fill" });
    fill.style.setProperty("--share", `${100 * probability}%`);
    const row = make("li", { class: best.includes(label) ? "best" : "" });
    const name = make("span", { class: "name" });
    if (colour) {
      const swatch = make("span", { class: "swatch" });
      swatch.style.setProperty("--colour", `rgb(${colour.join(" ")})`);
      name.append(swatch, " ");
    }
    name.append(label);
    row.append(name, make("span", { class: "number" }, percent(probability)));
    row.append(make("span", { class: "track", "aria-hidden": "true" }, fill));
    list.append(row);
  }
  const words = make("strong", {}, inWords(said));
  const guess = ` ${percent(said.probability ?? 0)}`;
  const sure = unsure ? [make("strong", {}, NOT_SURE), `, ${said.label} at best:${guess}`] : [make("strong", {}, said.label ?? ""), guess];
  const shown = several && said.mapped ? await mapped(entry, act) : spoken(entry, act);
  const verdict = make("p", { class: "verdict" }, ...(several ? [words] : sure));
  return [make("div", { class: "two" }, shown, make("div", {}, verdict, list))];
}

// The image, and behind a button what in it spoke for a class: the server hides parts and asks again.
function spoken(entry, act) {
  const found = entry.said.labels || entry.said.top5;
  const choice = make("select", { "aria-label": "Class" }, ...found.map(({ label }) => make("option", { value: label }, label)));
  const button = make("button", { type: "button", class: "plain" }, "Show what spoke for");
  const words = make("p", { class: "muted small", role: "status" });
  const figure = make("figure", {}, preview(entry), make("figcaption", { class: "spoken" }, button, choice, words));
  const show = async () => {
    button.disabled = true;
    words.textContent = "Hiding parts of the image and asking again …";
    const blob = await act.picture(entry, "image/jpeg", 0.8, choice.value);
    button.disabled = false;
    words.textContent = blob ? "Red: hiding it makes the class less probable; pale all over: nothing alone does." : "";
    if (!blob) return;
    const source = URL.createObjectURL(blob);
    const image = make("img", { alt: `The image, red where it spoke for ${choice.value}`, class: "shown" });
    enlarge(image, image);
    image.addEventListener("load", () => URL.revokeObjectURL(source), { once: true });
    image.src = source;
    figure.firstElementChild.replaceWith(image);
  };
  button.addEventListener("click", show);
  return figure;
}

async function loaded(source) {
  const image = make("img", { src: source, alt: "" });
  await image.decode();
  return image;
}

// The image itself; where this browser cannot show it, the server's copy of it as JPEG.
async function original(entry, act) {
  try {
    return await loaded(entry.url);
  } catch {
    if (!entry.copy) {
      const blob = await act.picture(entry, "image/jpeg", 0);
      if (blob) entry.copy = URL.createObjectURL(blob);
    }
    return entry.copy ? loaded(entry.copy).catch(() => null) : null;
  }
}

async function labels(entry, act) {
  const [image, picture] = await Promise.all([original(entry, act), loaded(entry.said.mask)]);
  const canvas = make("canvas", { role: "img", "aria-label": `Labels of ${entry.name}: ${inWords(entry.said)}` });
  const under = make("span", { class: "under-pointer", hidden: true });
  const stack = make("div", { class: "stack" }, image, canvas, under);
  const map = new LabelMap(canvas, picture, entry.said.shares);
  const shown = { only: -1, pinned: -1 };
  const draw = () => {
    stack.dataset.view = chosen.view;
    canvas.hidden = chosen.view === "image";
    if (image) image.style.visibility = chosen.view === "mask" ? "hidden" : "visible";
    map.draw({ opacity: chosen.opacity, only: shown.only, flat: chosen.view === "mask" || !image });
  };
  const key = legend(entry.said.shares, shown, draw);
  canvas.addEventListener("pointermove", (event) => point(event, map, key, under, stack));
  canvas.addEventListener("pointerleave", () => {
    under.hidden = true;
    key.mark(-1);
  });
  const box = image || picture;
  enlarge(box, stack);
  box.dispatchEvent(new Event("load"));
  draw();
  return [controls(draw), make("div", { class: "two wide-left" }, make("figure", {}, stack), key.element)];
}

function point(event, map, key, under, stack) {
  const label = map.at(event);
  key.mark(label);
  under.hidden = label < 0;
  if (label < 0) return;
  const box = stack.getBoundingClientRect();
  under.textContent = map.shares[label].label;
  under.style.setProperty("--x", `${event.clientX - box.left}px`);
  under.style.setProperty("--y", `${event.clientY - box.top}px`);
  under.classList.toggle("left", event.clientX - box.left > 0.6 * box.width);
}

function controls(draw) {
  const views = make("fieldset", { class: "views" }, make("legend", { class: "unseen" }, "What is shown"));
  const shown = make("output", { for: "opacity" }, percentOf(chosen.opacity));
  const slider = make("input", { type: "range", id: "opacity", min: "0", max: "100", step: "5" });
  slider.value = 100 * chosen.opacity;
  for (const [value, words] of VIEWS) {
    const radio = make("input", { type: "radio", name: "view", value, checked: chosen.view === value });
    radio.addEventListener("change", () => {
      chosen.view = value;
      slider.disabled = value !== "over";
      draw();
    });
    views.append(make("label", {}, radio, make("span", {}, words)));
  }
  slider.disabled = chosen.view !== "over";
  slider.addEventListener("input", () => {
    chosen.opacity = slider.value / 100;
    shown.textContent = percentOf(chosen.opacity);
    draw();
  });
  return make("div", { class: "controls" }, views, make("label", { class: "slider" }, "Opacity", slider, shown));
}

const percentOf = (share) => `${Math.round(100 * share)} %`;

function legend(shares, shown, draw) {
  const list = make("ul", { class: "legend", "aria-label": "Classes, and their shares of the image" });
  const order = shares.map((_, index) => index).sort((one, other) => shares[other].share - shares[one].share);
  const buttons = new Map();
  const show = (index) => {
    shown.only = index;
    draw();
  };
  for (const index of order.filter((place) => shares[place].share > 0)) {
    const { label, share, colour } = shares[index];
    const swatch = make("span", { class: "swatch" });
    swatch.style.setProperty("--colour", `rgb(${colour.join(" ")})`);
    const button = make("button", { type: "button", "aria-pressed": "false" }, swatch);
    button.append(make("span", { class: "name" }, label), make("span", { class: "number" }, percent(share)));
    button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(index));
    button.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(shown.pinned));
    button.addEventListener("click", () => {
      shown.pinned = shown.pinned === index ? -1 : index;
      buttons.forEach((other, place) => other.setAttribute("aria-pressed", String(place === shown.pinned)));
      show(shown.pinned);
    });
    buttons.set(index, button);
    list.append(make("li", {}, button));
  }
  const absent = shares.filter(({ share }) => !share).map(({ label }) => label);
  const rest = absent.length ? make("p", { class: "muted small" }, `Not in it: ${absent.join(", ")}.`) : null;
  const hint = make("p", { class: "muted small" }, "A click keeps one class in front.");
  return {
    element: make("div", {}, list, hint, rest),
    mark: (index) => buttons.forEach((button, place) => button.classList.toggle("here", place === index)),
  };
}

async function parted(entry, act) {
  const [image, picture] = await Promise.all([original(entry, act), loaded(entry.said.mask)]);
  const { stack, ...rest } = segments(entry, image, picture);
  enlarge(image || picture, stack);
  (image || picture).dispatchEvent(new Event("load"));
  return [make("div", { class: "two wide-left" }, make("figure", {}, stack), rest.side)];
}

async function values(entry, act) {
  const { said } = entry;
  const [image, picture] = await Promise.all([original(entry, act), loaded(said.mask)]);
  const one = (shown, words) => {
    if (!shown) return make("figure", {}, noPreview());
    shown.alt = `${words}: ${entry.name}`;
    shown.className = "shown";
    enlarge(shown, shown);
    shown.dispatchEvent(new Event("load"));
    return make("figure", {}, shown, make("figcaption", {}, words));
  };
  const pair = make("div", { class: "pair" }, one(image, "Image"), one(picture, "Predicted"));
  const head = make("tr", {}, ...["Channel", "Mean", "Least", "Greatest"].map((text) => make("th", { scope: "col" }, text)));
  const body = make("tbody");
  said.values.forEach((value, channel) => {
    const cells = [channel, figure(value.mean), figure(value.min), figure(value.max)];
    body.append(make("tr", {}, ...cells.map((text) => make("td", {}, String(text)))));
  });
  const caption = make("caption", {}, said.unit ? `Predicted values, unit: ${said.unit}` : "Predicted values");
  const table = make("table", {}, caption, make("thead", {}, head), body);
  return [pair, make("div", { class: "wide" }, table)];
}

// Where the time went, and who answered.
function figures(entry) {
  const { said, ms } = entry;
  const inside = said.ms.decode + said.ms.queue + said.ms.infer;
  const parts = [
    ["decode", "Decode", said.ms.decode],
    ["queue", "Queue", said.ms.queue],
    ["infer", "Infer", said.ms.infer],
    ["rest", "Way and rest", Math.max(0, ms - inside)],
  ];
  const strip = make("div", { class: "strip", "aria-hidden": "true" });
  const list = make("dl", { class: "times" });
  for (const [kind, words, value] of parts) {
    const piece = make("span", { class: kind });
    piece.style.setProperty("--grow", String(value));
    strip.append(piece);
    const dot = make("span", { class: `dot ${kind}`, "aria-hidden": "true" });
    list.append(make("div", {}, make("dt", {}, dot, words), make("dd", {}, milliseconds(value))));
  }
  list.append(make("div", {}, make("dt", {}, "Round trip"), make("dd", {}, milliseconds(ms))));
  const who = make("p", { class: "who" }, make("strong", {}, said.model), `${said.version ? ` version ${said.version}` : ""} · `);
  who.append(make("code", { title: `sha256 ${said.model_sha256}` }, short(said.model_sha256)));
  if (said.batch > 1) who.append(` · in a batch of ${said.batch}`);
  return make("footer", { class: "figures" }, who, strip, list);
}
