// Segments over an image: outlines, and two of them made one by a click on each; the merged map can be saved.

import { make, percent, save } from "./dom.js";
import { greyPng } from "./png.js";

const OUTLINE = [255, 220, 0];

class SegmentMap {
  // `picture`: a decoded image whose red and green are 256 and 1 of each pixel's id.
  constructor(canvas, picture, count) {
    this.canvas = canvas;
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.context.drawImage(picture, 0, 0);
    const { data } = this.context.getImageData(0, 0, canvas.width, canvas.height);
    this.ids = new Uint16Array(data.length / 4);
    for (let pixel = 0; pixel < this.ids.length; pixel += 1) this.ids[pixel] = 256 * data[4 * pixel] + data[4 * pixel + 1];
    this.parent = Array.from({ length: count }, (_, id) => id);
  }

  // The segment a pixel belongs to after all that was merged.
  root(id) {
    let found = id;
    while (this.parent[found] !== found) found = this.parent[found];
    return found;
  }

  merge(one, other) {
    const [first, second] = [this.root(one), this.root(other)];
    this.parent[Math.max(first, second)] = Math.min(first, second);
  }

  // Ids from 0 without gaps, as a saved map has them.
  numbered() {
    const roots = this.parent.map((_, id) => this.root(id));
    const order = [...new Set(roots)].sort((one, other) => one - other);
    const number = new Map(order.map((id, place) => [id, place]));
    return this.ids.map((id) => number.get(roots[id]));
  }

  touch(one, other) {
    const { width } = this.canvas;
    const roots = this.parent.map((_, id) => this.root(id));
    const pair = (a, b) => (roots[a] === one && roots[b] === other) || (roots[a] === other && roots[b] === one);
    for (let pixel = 0; pixel < this.ids.length; pixel += 1) {
      const right = (pixel + 1) % width && pair(this.ids[pixel], this.ids[pixel + 1]);
      if (right || (pixel + width < this.ids.length && pair(this.ids[pixel], this.ids[pixel + width]))) return true;
    }
    return false;
  }

  draw(colours, { chosen, under }) {
    const { width, height } = this.canvas;
    const picture = this.context.createImageData(width, height);
    const roots = this.parent.map((_, id) => this.root(id));
    for (let pixel = 0; pixel < this.ids.length; pixel += 1) {
      const root = roots[this.ids[pixel]];
      const right = (pixel + 1) % width ? roots[this.ids[pixel + 1]] : root;
      const below = pixel + width < this.ids.length ? roots[this.ids[pixel + width]] : root;
      const edge = right !== root || below !== root;
      const [red, green, blue] = edge ? OUTLINE : colours[root];
      const alpha = edge ? 255 : root === chosen ? 170 : root === under ? 110 : 0;
      picture.data.set([red, green, blue, alpha], 4 * pixel);
    }
    this.context.putImageData(picture, 0, 0);
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * this.canvas.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * this.canvas.height);
    if (x < 0 || y < 0 || x >= this.canvas.width || y >= this.canvas.height) return -1;
    return this.root(this.ids[y * this.canvas.width + x]);
  }
}

// Return {stack, side}: the picture with its outlines, and what stands beside it.
export function segments(entry, image, picture) {
  const listed = entry.said.segments;
  const canvas = make("canvas", { role: "img", "aria-label": `Segments of ${entry.name}: ${listed.length}` });
  const stack = make("div", { class: "stack" }, image, canvas);
  const map = new SegmentMap(canvas, picture, listed.length);
  const colours = listed.map(({ colour }) => colour);
  const shown = { chosen: -1, under: -1 };
  const words = make("p", { class: "muted small", role: "status", id: "merge-words" });
  const list = make("ol", { class: "legend", "aria-label": "Segments, and their shares of the image" });
  const button = make("button", { type: "button", class: "plain", id: "save-merged", hidden: true }, "Save merged map");
  const undo = make("button", { type: "button", class: "plain", id: "undo-merges", hidden: true }, "Undo merges");

  const draw = () => map.draw(colours, shown);
  const choose = (id) => {
    if (shown.chosen < 0 || shown.chosen === id) {
      shown.chosen = shown.chosen === id ? -1 : id;
      words.textContent = shown.chosen < 0 ? "" : "Click another segment to make one of the two.";
    } else if (!map.touch(shown.chosen, id)) {
      shown.chosen = id;
      words.textContent = "These two do not touch: the second one is chosen now.";
    } else {
      map.merge(shown.chosen, id);
      shown.chosen = -1;
      button.hidden = undo.hidden = false;
      words.textContent = "Merged.";
    }
    draw();
    fill();
  };
  const fill = () => {
    const areas = new Map();
    listed.forEach(({ segment, share }) => {
      const root = map.root(segment);
      areas.set(root, (areas.get(root) || 0) + share);
    });
    const rows = [...areas].sort((one, other) => other[1] - one[1]).map(([root, share]) => {
      const swatch = make("span", { class: "swatch" });
      swatch.style.setProperty("--colour", `rgb(${colours[root].join(" ")})`);
      const row = make("button", { type: "button", "aria-pressed": String(root === shown.chosen) }, swatch);
      row.append(make("span", { class: "name" }, `Segment ${root}`), make("span", { class: "number" }, percent(share)));
      row.addEventListener("click", () => choose(root));
      return make("li", {}, row);
    });
    list.replaceChildren(...rows);
  };
  canvas.addEventListener("pointermove", (event) => {
    const under = map.at(event);
    if (under !== shown.under) {
      shown.under = under;
      draw();
    }
  });
  canvas.addEventListener("click", (event) => map.at(event) >= 0 && choose(map.at(event)));
  button.addEventListener("click", async () => {
    const blob = await greyPng(map.numbered(), canvas.width, canvas.height);
    save(blob, `${entry.name.replace(/\.[^.]*$/, "")}-merged.png`);
  });
  undo.addEventListener("click", () => {
    map.parent = map.parent.map((_, id) => id);
    shown.chosen = -1;
    button.hidden = undo.hidden = true;
    words.textContent = "";
    draw();
    fill();
  });
  draw();
  fill();
  const said = listed.length > 1 ? "A click on one segment and on another merges the two." : "All of it is one segment.";
  const hint = make("p", { class: "muted small" }, said);
  return { stack, side: make("div", {}, hint, words, make("div", { class: "actions" }, button, undo), list) };
}
