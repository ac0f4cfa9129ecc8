// A viewer for images that were tried: window and zoom, by slider, by key and by pointer. It changes only what is
// shown here; the model saw its own input, which stands beside its answer.
"use strict";

const viewer = document.getElementById("viewer");
const canvas = viewer?.querySelector("canvas");
const hint = viewer?.querySelector("[data-hint]");
const [center, range, zoom] = ["center", "window", "zoom"].map((name) => viewer?.querySelector(`input[name=${name}]`));
let seen = null; // the image, and its samples
let asked = 0; // so that a late answer does not replace a later one
let pending = false;

function decoded(text) {
  const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  return new Uint16Array(bytes.buffer);
}

// The gray of each possible sample, by the linear window of DICOM (PS3.3 C.11.2.1.2.1).
function curve() {
  const middle = Number(center.value) - 0.5;
  const width = Math.max(1, Number(range.value) - 1);
  return Uint8ClampedArray.from({ length: 65536 }, (_, sample) => {
    const share = (seen.offset + seen.slope * sample - middle) / width + 0.5;
    return Math.round(255 * Math.min(1, Math.max(0, seen.inverted ? 1 - share : share)));
  });
}

function draw() {
  pending = false;
  if (!seen) return;
  const grays = curve();
  const picture = new ImageData(seen.width, seen.height);
  const { samples, channels } = seen;
  for (let at = 0, from = 0; at < picture.data.length; at += 4, from += channels) {
    picture.data[at] = grays[samples[from]];
    picture.data[at + 1] = grays[samples[from + (channels > 1 ? 1 : 0)]];
    picture.data[at + 2] = grays[samples[from + (channels > 1 ? 2 : 0)]];
    picture.data[at + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
  canvas.style.width = `${(fitted() * Number(zoom.value)) / 100}px`;
  for (const input of [center, range, zoom]) {
    const unit = input === zoom ? " %" : "";
    viewer.querySelector(`output[for=${input.id}]`).textContent = Number(input.value).toLocaleString() + unit;
  }
}

function redraw() {
  if (!pending) requestAnimationFrame(draw);
  pending = true;
}

// The width at which the whole image is seen.
function fitted() {
  const frame = canvas.parentElement;
  return Math.min(frame.clientWidth, (frame.clientHeight * seen.width) / seen.height);
}

function begin(found) {
  seen = { ...found, samples: decoded(found.samples) };
  const ends = seen.samples.reduce(([low, high], each) => [Math.min(low, each), Math.max(high, each)], [65535, 0]);
  const [low, high] = ends.map((each) => seen.offset + seen.slope * each).sort((one, other) => one - other);
  canvas.width = seen.width;
  canvas.height = seen.height;
  Object.assign(center, { min: Math.floor(Math.min(low, seen.center)), max: Math.ceil(Math.max(high, seen.center)) });
  Object.assign(range, { min: 1, max: Math.ceil(Math.max(2, 2 * (high - low), seen.window)) });
  reset();
}

function reset() {
  center.value = Math.round(seen.center);
  range.value = Math.round(seen.window);
  zoom.value = 100;
  redraw();
}

async function look(file, form, name, asking) {
  const number = ++asked;
  seen = null;
  canvas.width = canvas.height = 1;
  viewer.querySelector("h2").textContent = name;
  hint.textContent = viewer.dataset.opening;
  viewer.showModal();
  try {
    const answer = await fetch(`${form.getAttribute("action")}/view?${new URLSearchParams(asking)}`, {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream" },
      body: file,
    });
    const found = await answer.json();
    if (number !== asked || !viewer.open) return;
    hint.textContent = answer.ok ? "" : found.detail;
    if (!answer.ok) return;
    begin(found);
    if (found.reduced > 1) hint.textContent = viewer.dataset.reduced.replace("{}", found.reduced);
  } catch {
    if (number === asked) hint.textContent = viewer.dataset.away;
  }
}

// The wheel zooms, and what is under the pointer stays there.
function zoomAt(event) {
  if (!seen || event.ctrlKey) return;
  event.preventDefault();
  const before = canvas.getBoundingClientRect();
  const [across, down] = [(event.clientX - before.left) / before.width, (event.clientY - before.top) / before.height];
  zoom.value = Number(zoom.value) * 2 ** (-event.deltaY / (event.deltaMode ? 12 : 400));
  draw();
  const after = canvas.getBoundingClientRect();
  const frame = canvas.parentElement;
  frame.scrollLeft += after.left + across * after.width - event.clientX;
  frame.scrollTop += after.top + down * after.height - event.clientY;
}

// Dragging sets the window, as in a reading room: sideways its width, up and down its center.
function drag(event) {
  if (!seen || !(event.buttons & 1) || event.pointerType === "touch") return;
  if (event.shiftKey) {
    canvas.parentElement.scrollBy(-event.movementX, -event.movementY);
    return;
  }
  const step = (Number(range.max) - 1) / 1000;
  range.value = Number(range.value) + event.movementX * step;
  center.value = Number(center.value) + event.movementY * step;
  redraw();
}

if (viewer) {
  for (const input of [center, range, zoom]) input.addEventListener("input", redraw);
  viewer.querySelector("[data-reset]").addEventListener("click", () => seen && reset());
  viewer.addEventListener("close", () => {
    seen = null;
  });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "touch") canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", drag);
  canvas.addEventListener("wheel", zoomAt, { passive: false });
  addEventListener("resize", () => seen && redraw());
  document.addEventListener("candor:tried", ({ target, detail }) => {
    target.querySelectorAll(".trial").forEach((trial) => {
      const button = trial.querySelector("[data-look]");
      const file = detail.files[Number(trial.dataset.file)];
      if (!button || !(file || detail.sample)) return;
      const { frame } = trial.dataset;
      const asking = { ...(frame && { frame }), ...(!file && { sample: detail.sample }) };
      button.hidden = false;
      button.addEventListener("click", () => look(file, detail.form, file?.name ?? detail.sample, asking));
    });
  });
}
