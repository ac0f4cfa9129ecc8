// The page of the API: each operation has a form that sends it to this server. Without this script the page is to read.
"use strict";

const LONGEST = 20000; // characters of an answer that are shown
const token = document.getElementById("api-token");
let model = null;

function addressOf(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  for (const field of form.querySelectorAll("input[data-in]")) {
    if (field.dataset.in === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
    if (field.dataset.in === "query" && field.value) query.set(field.name, field.value);
  }
  return query.size ? `${path}?${query}` : path;
}

function headersOf(form, kind, file) {
  const headers = {};
  for (const field of form.querySelectorAll("input[data-in=header]")) if (field.value) headers[field.name] = field.value;
  if (token.value) headers.Authorization = `Bearer ${token.value}`;
  if (kind) headers["Content-Type"] = file ? file.type || "application/octet-stream" : kind;
  return headers;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function asCommand(method, address, headers, body, file) {
  const parts = ["curl", "-X", method];
  for (const [name, value] of Object.entries(headers)) {
    parts.push("-H", quoted(`${name}: ${name === "Authorization" ? "Bearer TOKEN" : value}`));
  }
  if (file) parts.push("--data-binary", quoted(`@${file.name}`));
  else if (body !== undefined) parts.push("--data-binary", quoted(body));
  return [...parts, quoted(location.origin + address)].join(" ");
}

function show(element, text) {
  element.hidden = false;
  element.textContent = text.length > LONGEST ? `${text.slice(0, LONGEST)}\n…` : text;
}

function readable(text, type) {
  if (!type.includes("json") || type.includes("ndjson")) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 1);
  } catch {
    return text;
  }
}

async function send(form) {
  const hint = form.querySelector("[data-hint]");
  const kind = form.querySelector("[data-kind]")?.value;
  const field = kind && form.querySelector(`[data-body="${CSS.escape(kind)}"]`);
  const file = field?.querySelector("input[type=file]")?.files[0];
  const body = field ? (file ?? field.querySelector("textarea")?.value) : undefined;
  const address = addressOf(form);
  const method = form.dataset.method;
  const headers = headersOf(form, kind, file);
  show(form.querySelector("[data-sent]"), asCommand(method, address, headers, body, file));
  hint.textContent = form.dataset.sending;
  const started = performance.now();
  try {
    const answer = await fetch(address, { method, headers, body });
    const text = await answer.text();
    const type = answer.headers.get("content-type") ?? "";
    hint.textContent = `${answer.status} ${answer.statusText} · ${type.split(";")[0]} · ${Math.round(performance.now() - started)} ms`;
    show(form.querySelector("[data-answer]"), readable(text, type));
  } catch {
    hint.textContent = form.dataset.away;
  }
}

// The name of a loaded model, for fields that ask for one.
async function fillModel(form) {
  const field = form.querySelector("input[name=model][data-in=path]");
  if (!field || field.value || form.dataset.models === undefined) return;
  model ??= fetch("/models")
    .then((answer) => (answer.ok ? answer.json() : { models: [] }))
    .then((found) => found.models[0]?.modelName ?? "")
    .catch(() => "");
  const name = await model;
  if (!field.value) field.value = name;
}

for (const form of document.querySelectorAll("form[data-api]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
  form.querySelector("[data-kind]")?.addEventListener("change", (event) => {
    for (const each of form.querySelectorAll("[data-body]")) each.hidden = each.dataset.body !== event.target.value;
  });
  const details = form.closest("details");
  details.addEventListener("toggle", () => details.open && fillModel(form));
  if (details.open) fillModel(form);
}
