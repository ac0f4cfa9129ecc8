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
    results.dispatchEvent(new CustomEvent("candor:tried", { bubbles: true, detail: { files, form, sample: button.value } }));
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

// A part in which somebody types, reads with the keyboard or has marked text stays as it is.
function isRead(part) {
  const marked = getSelection();
  if (String(marked) !== "" && part.contains(marked.anchorNode)) return true;
  if (part.contains(document.activeElement)) return true;
  return [...part.querySelectorAll("input, select, textarea")].some(isChanged);
}

// The cards of a page, one by one where several stand beside each other.
function partsOf(main) {
  return [...main.children].flatMap((each) => (each.matches(".columns, .stack, .folds") ? partsOf(each) : [each]));
}

// What is open stays open. What somebody reads loses its green, because it is not renewed.
function replacePart(part, fresh, all) {
  const folds = (of) => [of, ...of.querySelectorAll("*")].filter((each) => each.tagName === "DETAILS");
  const [shown, next] = [folds(part), folds(fresh)];
  if (shown.length === next.length) next.forEach((each, at) => (each.open = shown[at].open));
  if (part.isEqualNode(fresh)) return;
  if (!all && isRead(part)) part.dataset.kept = "";
  else part.replaceWith(fresh);
}

let renewal = null; // the last one that is not answered
let tag = ""; // of what it brought

// Puts what has changed on the page into it. `all`: also where somebody reads, because the reader asked for it.
async function renew({ all = false } = {}) {
  const main = document.querySelector("main[data-live]");
  if (document.hidden || (renewal && !all)) return;
  const own = (renewal = {});
  try {
    const had = all ? {} : { "If-None-Match": tag };
    const answer = await fetch(location.href, { headers: { Accept: "text/html", ...had } });
    if (!answer.ok) return; // 304: nothing has changed
    const text = await answer.text();
    if (own !== renewal) return; // the reader asked for something else meanwhile
    const page = parsed(text).querySelector("main");
    main.dataset.live = page.dataset.live;
    const [shown, fresh] = [partsOf(main), partsOf(page)];
    const same = fresh.length === shown.length;
    if (same) shown.forEach((part, at) => replacePart(part, fresh[at], all));
    else if (all || !isRead(main)) main.replaceChildren(...page.childNodes);
    const left = !same || main.querySelector("[data-kept]"); // and is to be brought again
    tag = (!left && answer.headers.get("etag")) || "";
    document.dispatchEvent(new CustomEvent("candor:renewed"));
  } catch {
    // The clock says that the server is away.
  } finally {
    if (own === renewal) renewal = null;
  }
}

// The clock goes on while the server answers; a server that is away, or that cannot serve, is said within ten seconds.
const CHECK_MS = 4000;
const clock = document.querySelector("[data-clock]");
const away = document.querySelector("[data-away]");

async function check() {
  const is = await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(CHECK_MS) }).catch(() => null);
  const time = new Date().toLocaleTimeString("en-GB", { timeZone: clock.dataset.zone, timeZoneName: "short" });
  clock.classList.toggle("live", Boolean(is));
  if (is) clock.textContent = `live, ${time}`;
  if (is && away.textContent && live) renew();
  if (!is && !away.textContent) away.textContent = away.dataset.away.replace("{}", time);
  if (is) away.textContent = "";
  document.body.classList.toggle("is-away", !is);
}

// What takes longer than a second shows that it goes on, and for how long.
function showProgress(element) {
  const [line, bar, said] = ["p", "progress", "span"].map((name) => document.createElement(name));
  const begun = Date.now();
  line.setAttribute("role", "status");
  line.className = "slow explain";
  bar.setAttribute("aria-label", element.dataset.slow);
  line.append(bar, said);
  element.after(line);
  const say = () => (said.textContent = ` ${element.dataset.slow}: ${Math.round((Date.now() - begun) / 1000)} s`);
  say();
  const timer = setInterval(say, 1000);
  addEventListener("pageshow", () => (clearInterval(timer), line.remove()), { once: true });
}

document.addEventListener("submit", (event) => event.target.dataset.slow && showProgress(event.target));
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-slow]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) showProgress(link);
});

// A form is sent once, however often its buttons are pressed before the next page is there.
let isLeaving = false;
addEventListener("pageshow", () => (isLeaving = false));
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "post") return;
  if (isLeaving) event.preventDefault();
  isLeaving = true;
});

// 1 to 9 label the case on the screen, 0 skips it, and the next one takes its place. A key before that is about no case
// that anybody has seen.
async function labelByKey(key) {
  const form = document.querySelector("form[data-label]");
  const button = form?.querySelectorAll("button")[key - 1];
  const skip = key === "0" && document.querySelector("[data-skip]");
  if (isLeaving || (!skip && !button)) return;
  isLeaving = true;
  const [address, body] = skip ? [skip.href] : [form.action, new URLSearchParams(new FormData(form, button))];
  try {
    const answer = await fetch(address, { method: body ? "POST" : "GET", body, headers: { Accept: "text/html" } });
    document.querySelector("main").replaceWith(parsed(await answer.text()).querySelector("main"));
    history.replaceState(null, "", answer.url);
  } finally {
    isLeaving = false;
  }
}

// J and K walk the cases of a page; other keys press what names them: in the case that has the focus, or of the only one.
function followKey(key) {
  const all = [...document.querySelectorAll("[data-cases] > *")];
  const at = all.indexOf(document.activeElement.closest("[data-cases] > *"));
  const step = { j: 1, k: -1 }[key];
  if (all.length && step) return all[Math.min(Math.max(at + step, 0), all.length - 1)].focus();
  if (key === "enter" && document.activeElement !== all[at]) return; // that of a link or a button
  const place = all.length ? all[at] : document.querySelector("main");
  place?.querySelector(`[data-key="${key}"]`)?.click();
}

// The keys of a reader who types, or holds another key, stay theirs.
document.addEventListener("keydown", (event) => {
  const isTyped = event.target.matches("input:not([type=hidden], [type=checkbox]), select, textarea");
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || isTyped) return;
  if (/^[0-9]$/.test(event.key)) labelByKey(event.key).catch(check);
  else if (/^([jklsu]|Enter|Escape)$/i.test(event.key)) followKey(event.key.toLowerCase());
});

// The server writes times in this zone from the next page on; until then in UTC, and it always says which.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const isZoneNew = zone && !document.cookie.split("; ").includes(`candor_zone=${zone}`);
if (isZoneNew) document.cookie = `candor_zone=${zone}; path=/; max-age=31536000; samesite=lax`;

document.querySelectorAll("form[data-try]").forEach(watchForm);
const live = document.querySelector("main[data-live]");
if (live) {
  const wait = () => setTimeout(() => renew().finally(wait), 1000 * Number(live.dataset.live));
  wait();
  document.addEventListener("candor:days", () => renew({ all: true }));
}
if (live && isZoneNew && zone !== "UTC") renew();
if (clock) {
  check();
  setInterval(check, CHECK_MS);
  document.addEventListener("visibilitychange", () => document.hidden || (check(), live && renew()));
}
for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}
