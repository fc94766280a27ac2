// What is asked of the server, and what can go wrong with it.

const READ = ["image/jpeg", "image/png", "image/webp", "image/tiff", "image/bmp"];
const PATIENCE = 120_000; // ms; the server's own deadline is shorter

// The server answered, and said no.
export class Refusal extends Error {
  constructor(status, body, retryAfter) {
    super(body.error || `the server answered ${status}`);
    this.status = status;
    this.reason = body.reason || "";
    this.request = body.request_id || "";
    this.retryAfter = retryAfter; // seconds, 0 where it did not say
  }
}

// Nobody answered.
export class Gone extends Error {}

let key = sessionStorage.getItem("drillcore.key") || "";

export const hasKey = () => Boolean(key);

export function setKey(value) {
  key = value;
  if (value) sessionStorage.setItem("drillcore.key", value);
  else sessionStorage.removeItem("drillcore.key");
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (key) headers.authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(PATIENCE) });
  } catch (error) {
    throw new Gone(error.name === "TimeoutError" ? "the server did not answer in time" : "the server does not answer");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Refusal(response.status, body, Number(response.headers.get("retry-after")) || 0);
}

async function read(response, how) {
  try {
    return await response[how]();
  } catch {
    throw new Gone("the connection broke off");
  }
}

export async function about() {
  return read(await ask("api/models"), "json");
}

export async function isReady() {
  return ask("v2/health/ready").then(() => true, () => false);
}

function predict(model, file, accept, query) {
  const type = READ.includes(file.type) ? file.type : "application/octet-stream";
  return ask(`predict/${encodeURIComponent(model)}?${new URLSearchParams(query)}`, {
    method: "POST",
    body: file,
    headers: { "content-type": type, accept },
  });
}

// Returns the answer, and the milliseconds from sending to having it.
export async function answer(model, file) {
  const began = performance.now();
  const said = await read(await predict(model, file, "application/json", { mask: "true" }), "json");
  return { said, ms: performance.now() - began };
}

// Returns the answer as a picture.
export async function picture(model, file, type, opacity = 0.5, label = "") {
  return read(await predict(model, file, type, { opacity: String(opacity), ...(label && { label }) }), "blob");
}
