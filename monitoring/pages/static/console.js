// What the console does beyond links and forms: it takes dropped images, sends the form without leaving the page, and
// renews what a page shows. Without it everything works, one page after the other.
"use strict";

const policy = window.trustedTypes?.createPolicy("candor", { createHTML: (text) => text });

function parsed(text) {
  return new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html");
}

async function sendForm(form) {
  const results = document.getElementById("results");
  const hint = form.querySelector("[data-hint]");
  const button = form.querySelector("button");
  const files = form.querySelector("input[type=file]").files.length;
  hint.textContent = files === 1 ? "Classifying 1 image …" : `Classifying ${files} images …`;
  button.disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { Accept: "text/html" } });
    const page = parsed(await answer.text());
    const found = page.getElementById("results") ?? page.querySelector("main section");
    results.replaceChildren(...(found.id === "results" ? found.childNodes : [found]));
    hint.textContent = "";
  } catch {
    hint.textContent = "The server did not answer. Is it still running? Try again.";
  } finally {
    button.disabled = false;
  }
}

function watchForm(form) {
  const input = form.querySelector("input[type=file]");
  form.querySelector("[data-hint]").textContent = "You can also drop images here.";
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sendForm(form);
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
      sendForm(form);
    }
  });
}

// A reader who has marked text, opened a part or left the window keeps what is there.
function isRead(main) {
  return document.hidden || String(getSelection()) !== "" || main.querySelector("details[open], :focus") !== null;
}

async function renew() {
  const main = document.querySelector("main[data-live]");
  if (isRead(main)) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.ok) main.replaceChildren(...parsed(await answer.text()).querySelector("main").childNodes);
  } catch {
    // The server is away; the page keeps the time as of which it holds.
  }
}

// 1 to 9 give the answer of that number, 0 skips. The keys of a reader who types, or holds another key, stay theirs.
function answerByKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input:not([type=hidden]), select")) return;
  if (event.key === "0") document.querySelector("[data-skip]")?.click();
  if (/^[1-9]$/.test(event.key)) document.querySelectorAll("form[data-label] button")[event.key - 1]?.click();
}

if (document.querySelector("form[data-label]")) document.addEventListener("keydown", answerByKey);
document.querySelectorAll("form[data-try]").forEach(watchForm);
const live = document.querySelector("main[data-live]");
if (live) setInterval(renew, 1000 * Number(live.dataset.live));
