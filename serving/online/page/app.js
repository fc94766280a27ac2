// The page: what was dropped, what is asked, what was answered in this visit.

import { showModel } from "./about.js";
import { inWords, showAnswer } from "./answer.js";
import * as api from "./api.js";
import { byId, bytes, make, pixels, save } from "./dom.js";

const AT_A_TIME = 4; // requests
const MOST = 300; // images of a visit
const TRIES = 6; // of a busy server
const LOOK_AGAIN = 2000; // ms, while nobody answers

const state = { models: [], limits: null, model: "", entries: [], selected: null, asking: 0, number: 0, gone: false };
const early = []; // files that came before the server said what it takes

const narrow = matchMedia("(max-width: 40rem)");

const announce = (words) => {
  byId("live").textContent = words;
};

// ---- what the server has

async function refresh() {
  try {
    const found = await api.about();
    state.models = found.models;
    state.limits = found.limits;
    byId("key-form").hidden = true;
    byId("forget").hidden = !(found.keys && api.hasKey());
    here();
  } catch (error) {
    if (error instanceof api.Refusal && error.status === 401) askForKey();
    else away(error.message);
    return false;
  }
  const wanted = decodeURIComponent(location.hash.slice(1));
  const names = state.models.map((model) => model.name);
  state.model = [state.model, wanted, names[0]].find((name) => names.includes(name));
  byId("model").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  byId("model").value = state.model;
  byId("chooser").hidden = names.length < 2;
  byId("drop").hidden = false;
  const { max_bytes: most, max_pixels: count, formats } = state.limits;
  byId("limits").textContent = `${formats.join(", ")}; up to ${bytes(most)} and ${pixels(count)}`;
  aboutModel();
  take(early.splice(0));
  return true;
}

function aboutModel() {
  const model = state.models.find(({ name }) => name === state.model);
  byId("about").hidden = !model;
  document.title = model ? `${model.name} · drillcore` : "drillcore";
  if (model) showModel(byId("about"), model);
}

function askForKey() {
  const wrong = api.hasKey();
  api.setKey("");
  byId("drop").hidden = byId("about").hidden = byId("chooser").hidden = byId("forget").hidden = true;
  byId("key-form").hidden = false;
  byId("key-error").textContent = wrong ? "This key does not open. Check it with whoever runs the server." : "";
  byId("key").value = "";
  byId("key").focus();
}

function away(message) {
  if (state.gone) return;
  state.gone = true;
  const words = `${message[0].toUpperCase()}${message.slice(1)}. This page goes on as soon as it is back.`;
  byId("gone").replaceChildren(make("p", {}, words));
  byId("gone").hidden = false;
  const look = async () => {
    if (!(await api.isReady())) return setTimeout(look, LOOK_AGAIN);
    state.gone = false;
    if (await refresh()) state.entries.filter((entry) => entry.lost).forEach(ask);
    return announce("The server is back.");
  };
  setTimeout(look, LOOK_AGAIN);
}

function here() {
  byId("gone").hidden = true;
}

// ---- images come in

function take(files) {
  const found = [...files];
  if (!state.limits) {
    early.push(...found);
    return;
  }
  if (!found.length) return;
  const room = Math.max(0, MOST - state.entries.length);
  notice(found.length > room ? `One visit holds ${MOST} images: ${found.length - room} were left out.` : "");
  const added = found.slice(0, room).map((file) => {
    state.number += 1;
    const name = file.name || `pasted-${state.number}.png`;
    return { id: state.number, file, name, url: URL.createObjectURL(file), model: state.model, status: "waiting" };
  });
  state.entries.push(...added);
  added.forEach(ask);
  if (!added.length) return;
  select(added[0], { focus: true });
  if (narrow.matches) byId("visit").scrollIntoView({ block: "start" });
}

function notice(words) {
  byId("notice").textContent = words;
  byId("notice").hidden = !words;
}

function unfit(file) {
  if (file.size > state.limits.max_bytes) {
    return ["The file is too large", `${bytes(file.size)}; the server takes ${bytes(state.limits.max_bytes)}.`];
  }
  if (!file.size) return ["The file is empty", "Choose another one."];
  return null;
}

// ---- images are asked for, a few at a time

function ask(entry) {
  Object.assign(entry, { status: "waiting", model: entry.model || state.model, error: "", lost: false, tries: 0 });
  const problem = unfit(entry.file);
  if (problem) {
    fail(entry, problem[0], problem[1]);
    return;
  }
  changed(entry);
  next();
}

function next() {
  while (state.asking < AT_A_TIME && !state.gone) {
    const entry = state.entries.find(({ status }) => status === "waiting");
    if (!entry) break;
    state.asking += 1;
    send(entry).finally(() => {
      state.asking -= 1;
      next();
    });
  }
}

async function send(entry) {
  entry.status = "sending";
  changed(entry);
  try {
    const { said, ms } = await api.answer(entry.model, entry.file);
    Object.assign(entry, { status: "done", said, ms });
    changed(entry);
    announce(`${entry.name}: ${inWords(said)}`);
    followVersion(said);
  } catch (error) {
    if (!state.entries.includes(entry)) return;
    if (error instanceof api.Gone) lose(entry, error);
    else if (error instanceof api.Refusal) refused(entry, error);
    else {
      fail(entry, "The answer could not be shown", String(error.message));
      throw error;
    }
  }
}

// Another version answers than the one the page tells of.
function followVersion(said) {
  const told = state.models.find(({ name }) => name === said.model);
  if (!told || told.sha256 === said.model_sha256) return;
  told.sha256 = said.model_sha256;
  notice(`${said.version ? `Version ${said.version}` : "Another file"} of ${said.model} answers now.`);
  refresh();
}

function lose(entry, error) {
  fail(entry, "The server does not answer", "The image is asked for again as soon as the server is back.");
  entry.lost = true;
  away(error.message);
}

function refused(entry, error) {
  if ((error.status === 429 || error.status === 503) && entry.tries < TRIES) {
    wait(entry, Math.max(1, error.retryAfter));
    return;
  }
  if (error.status === 401) {
    fail(entry, "A key is needed", error.message);
    entry.mayRetry = true;
    askForKey();
    return;
  }
  const title = TITLES[error.reason] || STATUS[error.status] || "The server refused it";
  fail(entry, title, inFull(error), error.request);
  entry.mayRetry = ![413, 415, 422].includes(error.status);
  changed(entry);
}

// The reason stands in the title already.
function inFull({ message, reason }) {
  const words = reason && message.startsWith(`${reason}: `) ? message.slice(reason.length + 2) : message;
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}

const TITLES = { too_large: "The image is too large", too_small: "The image is too small" };
const STATUS = {
  404: "This model is not served any more",
  413: "The file is too large",
  415: "This is no image the server reads",
  422: "This is no image the server reads",
  429: "The server is busy",
  500: "Something went wrong in the server",
  503: "The server is busy",
  504: "It took too long",
};

function wait(entry, seconds) {
  entry.tries += 1;
  entry.status = "busy";
  let left = seconds;
  const tick = () => {
    if (entry.status !== "busy" || !state.entries.includes(entry)) return;
    if (left <= 0) {
      entry.status = "waiting";
      changed(entry);
      next();
      return;
    }
    entry.error = `The server is busy; trying again in ${left} s`;
    changed(entry);
    left -= 1;
    setTimeout(tick, 1000);
  };
  tick();
}

function fail(entry, title, hint, request = "") {
  Object.assign(entry, { status: "failed", error: title, hint, request });
  changed(entry);
  if (state.selected !== entry) announce(`${entry.name}: ${title}`);
}

// ---- what was answered in this visit

function changed(entry) {
  history();
  if (state.selected === entry) show();
}

function history() {
  const list = byId("history");
  byId("visit").hidden = !state.entries.length;
  byId("drop").classList.toggle("small", state.entries.length > 0);
  const known = new Map([...list.children].map((item) => [Number(item.dataset.id), item]));
  for (const entry of state.entries) {
    let item = known.get(entry.id);
    known.delete(entry.id);
    if (!item) {
      item = historyItem(entry);
      list.append(item);
    }
    const button = item.firstElementChild;
    button.setAttribute("aria-current", String(entry === state.selected));
    item.dataset.status = entry.status;
    button.lastElementChild.textContent = entry.status === "done" ? inWords(entry.said) : WORDS[entry.status];
    if (entry.status === "failed") button.lastElementChild.textContent = entry.error;
  }
  known.forEach((item) => item.remove());
  const done = state.entries.filter(({ status }) => status === "done").length;
  byId("visit-title").textContent = `This visit: ${done} of ${state.entries.length} answered`;
}

const WORDS = { waiting: "waiting", sending: "asking …", busy: "server busy", failed: "", done: "" };

function historyItem(entry) {
  const image = make("img", { src: entry.url, alt: "", width: 72, height: 72 });
  image.addEventListener("error", () => image.replaceWith(make("span", { class: "thumb", "aria-hidden": "true" }, "?")));
  const words = [make("span", { class: "name" }, entry.name), make("span", { class: "said" })];
  const button = make("button", { type: "button", onclick: () => select(entry, { focus: false }) }, image, ...words);
  const item = make("li", {}, button);
  item.dataset.id = entry.id;
  return item;
}

function select(entry, { focus }) {
  state.selected = entry;
  history();
  show();
  const item = byId("history").querySelector("[aria-current=true]");
  item?.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (focus && entry) byId("answer").focus({ preventScroll: true });
}

async function show() {
  const root = byId("answer");
  const entry = state.selected;
  root.hidden = !entry;
  if (!entry) return;
  await showAnswer(root, entry, {
    chosen: state.model,
    again: () => {
      entry.model = state.model;
      ask(entry);
    },
    remove: () => remove(entry),
    picture: (asked, type, opacity, label = "") =>
      api.picture(asked.model, asked.file, type, opacity, label).catch((error) => {
        notice(error.message);
        return null;
      }),
  });
}

function remove(entry) {
  const place = state.entries.indexOf(entry);
  state.entries.splice(place, 1);
  release(entry);
  select(state.entries[place] || state.entries[place - 1] || null, { focus: true });
  if (!state.entries.length) byId("choose").focus();
}

function release(entry) {
  URL.revokeObjectURL(entry.url);
  if (entry.copy) URL.revokeObjectURL(entry.copy);
}

// ---- wiring

byId("choose").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = "";
});

byId("model").addEventListener("change", (event) => {
  state.model = event.target.value;
  window.history.replaceState(null, "", `#${encodeURIComponent(state.model)}`);
  aboutModel();
  show();
});

byId("clear").addEventListener("click", () => {
  state.entries.splice(0).forEach(release);
  notice("");
  select(null, { focus: false });
  byId("choose").focus();
});

byId("save-all").addEventListener("click", () => {
  const rows = state.entries.map(({ name, model, status, said, error, hint }) => {
    if (status !== "done") return { name, model, error: error ? `${error}: ${hint || ""}` : status };
    const { mask: _, ...rest } = said;
    return { name, ...rest };
  });
  save(new Blob([JSON.stringify(rows, null, 2)], { type: "application/json" }), "answers.json");
});

byId("history").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const item = event.target.closest("li");
  if (!step || !item) return;
  const other = step > 0 ? item.nextElementSibling : item.previousElementSibling;
  if (!other) return;
  event.preventDefault();
  other.firstElementChild.focus();
  other.firstElementChild.click();
});

byId("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = byId("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) {
    byId("key-error").textContent = "A key has printable ASCII characters and no spaces.";
    return;
  }
  api.setKey(given);
  if (await refresh()) {
    byId("choose").focus();
    state.entries.filter((entry) => entry.status === "failed" && entry.mayRetry).forEach(ask);
  }
});

byId("forget").addEventListener("click", () => {
  api.setKey("");
  askForKey();
});

document.addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) {
    event.preventDefault();
    take(event.clipboardData.files);
  }
});

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  byId("veil").hidden = false;
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("veil").hidden = true;
});
document.addEventListener("drop", (event) => {
  byId("veil").hidden = true;
  if (!carriesFiles(event)) return;
  event.preventDefault();
  take(event.dataTransfer.files);
});

// Light or dark: as the system has it, until the button is used.
function theme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").setAttribute("aria-pressed", String(dark));
}
const system = matchMedia("(prefers-color-scheme: dark)");
const kept = localStorage.getItem("drillcore.theme");
theme(kept ? kept === "dark" : system.matches);
system.addEventListener("change", () => localStorage.getItem("drillcore.theme") || theme(system.matches));
byId("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme !== "dark";
  localStorage.setItem("drillcore.theme", dark ? "dark" : "light");
  theme(dark);
});

refresh();
