// What the console does beyond links and forms: it takes dropped images, sends the form without leaving the page, and
// renews what a page shows. Charts are read by charts.js. Without both everything works, one page after the other.
"use strict";

const policy = window.trustedTypes?.createPolicy("candor", { createHTML: (text) => text });

function parsed(text) {
  return new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html");
}

async function sendForm(form, button) {
  const results = document.getElementById("results");
  const hint = form.querySelector("[data-hint]");
  const files = button.name ? [] : [...form.querySelector("input[type=file]").files];
  const body = new FormData(form, button); // before the button is disabled, which would leave its value out
  hint.textContent = form.dataset.busy;
  button.disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } });
    const page = parsed(await answer.text());
    const found = page.getElementById("results") ?? page.querySelector("main section");
    results.replaceChildren(...(found.id === "results" ? found.childNodes : [found]));
    results.scrollIntoView({ block: "start" });
    results.dispatchEvent(new CustomEvent("candor:tried", { bubbles: true, detail: { files, form } }));
    hint.textContent = "";
  } catch {
    hint.textContent = form.dataset.away;
  } finally {
    button.disabled = false;
  }
}

function watchForm(form) {
  const input = form.querySelector("input[type=file]");
  const main = form.querySelector("[data-classify]");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sendForm(form, event.submitter ?? main);
  });
  form.addEventListener("dragover", (event) => {
    event.preventDefault();
    form.classList.add("over");
  });
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    if (event.dataTransfer.files.length) {
      input.files = event.dataTransfer.files;
      sendForm(form, main);
    }
  });
}

function isChanged(field) {
  if (field.type === "checkbox") return field.checked !== field.defaultChecked;
  if (field.tagName !== "SELECT") return field.value !== field.defaultValue;
  return field.selectedIndex !== Math.max(0, [...field.options].findIndex((each) => each.defaultSelected));
}

// A part in which somebody types, reads with the keyboard, has marked text or opened something stays as it is.
function isRead(part) {
  const marked = getSelection();
  if (String(marked) !== "" && part.contains(marked.anchorNode)) return true;
  if (part.contains(document.activeElement) || part.querySelector("details[open]")) return true;
  return [...part.querySelectorAll("input, select, textarea")].some(isChanged);
}

let renewal = null; // the last one that is not answered

// Puts what has changed on the page into it. `all`: also where somebody reads, because the reader asked for it.
async function renew({ all = false } = {}) {
  const main = document.querySelector("main[data-live]");
  if (document.hidden || (renewal && !all)) return;
  const own = (renewal = {});
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const text = await answer.text();
    if (own !== renewal) return; // the reader asked for something else meanwhile
    const shown = [...main.children];
    const fresh = [...parsed(text).querySelector("main").children];
    if (fresh.length === shown.length) {
      shown.forEach((part, at) => part.isEqualNode(fresh[at]) || (!all && isRead(part)) || part.replaceWith(fresh[at]));
    } else if (all || !isRead(main)) {
      main.replaceChildren(...fresh);
    }
    document.dispatchEvent(new CustomEvent("candor:renewed"));
  } catch {
    // The server is away; the page keeps the time as of which it holds.
  } finally {
    if (own === renewal) renewal = null;
  }
}

// 1 to 9 give the answer of that number, 0 skips. The keys of a reader who types, or holds another key, stay theirs.
function answerByKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input:not([type=hidden]), select")) return;
  if (event.key === "0") document.querySelector("[data-skip]")?.click();
  if (/^[1-9]$/.test(event.key)) document.querySelectorAll("form[data-label] button")[event.key - 1]?.click();
}

// The server writes times in this zone from the next page on; until then in UTC, and it always says which.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const isZoneNew = zone && !document.cookie.split("; ").includes(`candor_zone=${zone}`);
if (isZoneNew) document.cookie = `candor_zone=${zone}; path=/; max-age=31536000; samesite=lax`;

if (document.querySelector("form[data-label]")) document.addEventListener("keydown", answerByKey);
document.querySelectorAll("form[data-try]").forEach(watchForm);
const live = document.querySelector("main[data-live]");
if (live) {
  setInterval(renew, 1000 * Number(live.dataset.live));
  document.addEventListener("candor:days", () => renew({ all: true }));
}
if (live && isZoneNew && zone !== "UTC") renew();
