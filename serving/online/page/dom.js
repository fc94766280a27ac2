// Elements are made by these functions only: text is set as text, never parsed as HTML.

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

export function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  if (share < 1 && share > 0.999) return "> 99.9 %";
  return `${(100 * share).toFixed(1)} %`;
}

export function milliseconds(value) {
  return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

export function bytes(count) {
  if (count < 1024) return `${count} bytes`;
  if (count < 2 ** 20) return `${Math.round(count / 1024)} kB`;
  return `${(count / 2 ** 20).toFixed(count < 10 * 2 ** 20 ? 1 : 0).replace(".0", "")} MB`;
}

export function pixels(count) {
  return count < 1e6 ? `${count.toLocaleString("en")} pixels` : `${figure(count / 1e6)} million pixels`;
}

export function figure(value) {
  return String(Number(Number(value).toPrecision(4)));
}

export const short = (digest) => String(digest || "").slice(0, 12);

// Save a blob under a name.
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// The policy of this page lets no data URL be fetched: it is decoded here.
export function blobOf(dataUrl) {
  const [head, body] = dataUrl.split(",", 2);
  const text = atob(body);
  const data = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) data[place] = text.charCodeAt(place);
  return new Blob([data], { type: head.slice(5).split(";")[0] });
}
