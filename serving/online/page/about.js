// The model beside the answers: facts, what to type elsewhere, and its card.

import { rendered } from "./card.js";
import { make, percent, short } from "./dom.js";

const TASKS = {
  classification: "one class per image",
  dense_labels: "one class per pixel",
  dense_regression: "values per pixel",
};

export function showModel(root, model) {
  root.replaceChildren(make("h2", {}, model.name));
  if (model.problem) root.append(make("p", { class: "banner warn" }, model.problem));
  root.append(facts(model), terminal(model));
  if (model.classes.length) root.append(classes(model));
  if (model.card) {
    // Its title stands above already.
    const text = model.card.replace(/^\s*# .*\n/, "");
    root.append(make("div", { class: "card" }, make("h3", { class: "unseen" }, "Card"), rendered(text)));
  } else {
    root.append(make("p", { class: "muted" }, "This model has no card."));
  }
}

function facts(model) {
  const list = make("dl", { class: "facts" });
  const row = (name, ...value) => list.append(make("div", {}, make("dt", {}, name), make("dd", {}, ...value)));
  const code = (text) => make("code", { title: text }, short(text));
  row("Version", `${model.version || "none, an exported file"} · `, code(model.sha256));
  row("Answers", TASKS[model.task] || model.task, model.unit ? ` (${model.unit})` : "");
  if (model.abstain) row("Not sure", unsure(model.abstain));
  row("Takes", takes(model.input));
  row("Runs on", model.providers.map((name) => name.replace("ExecutionProvider", "")).join(", "));
  row("Trained on", `${model.lineage || "unknown"} · `, code(model.data_digest));
  return list;
}

function unsure({ threshold, accuracy }) {
  const right = `so that ${percent(accuracy)} of its answers are right`;
  return threshold === null ? `always: nothing shows that it could answer ${right}` : `below ${percent(threshold)}, ${right}`;
}

function takes({ channels, resize, min_size: [height, width] }) {
  const kind = channels === 1 ? "grey images" : "colour images";
  if (resize) return `${kind} of any size, seen at ${resize[1]} × ${resize[0]}`;
  return width > 1 || height > 1 ? `${kind}, ${width} × ${height} pixels and more` : `${kind} of any size`;
}

function terminal(model) {
  const address = new URL(`predict/${model.name}`, document.baseURI);
  const text = `curl -F file=@image.jpg ${address.href}`;
  const status = make("span", { role: "status", class: "small" });
  const copy = make("button", { type: "button", class: "plain" }, "Copy");
  copy.addEventListener("click", async () => {
    status.textContent = await navigator.clipboard.writeText(text).then(() => "Copied", () => "Select it by hand");
  });
  const line = make("pre", { tabIndex: 0 }, make("code", {}, text));
  return make("details", {}, make("summary", {}, "From a terminal"), line, copy, " ", status);
}

function classes(model) {
  const list = make("ul", { class: "classes" });
  model.classes.forEach((name, index) => {
    const item = make("li");
    if (model.colours) {
      const swatch = make("span", { class: "swatch" });
      swatch.style.setProperty("--colour", `rgb(${model.colours[index].join(" ")})`);
      item.append(swatch);
    }
    item.append(name);
    list.append(item);
  });
  return make("details", {}, make("summary", {}, `${model.classes.length} classes`), list);
}
