// Reads charts: a line below each says what is at the point under the mouse, a tap or the arrow keys. In charts over
// time, dragging or Shift with the arrow keys chooses days, and the server draws these. A form does the same.
"use strict";

const CHART = ".chart svg[role=img]";
const hints = new WeakMap();
let dragged = null; // the chart and the point at which the mouse went down

function pointsOf(chart) {
  const left = (point) => (point.querySelector("circle, path") ?? point).getBoundingClientRect().left;
  return [...chart.querySelectorAll("g:has(> title)")].sort((one, other) => left(one) - left(other));
}

function readoutOf(chart) {
  let line = chart.nextElementSibling;
  while (line?.matches("svg")) line = line.nextElementSibling;
  if (line?.classList.contains("readout")) return line;
  line = document.createElement("p");
  line.className = "readout explain";
  line.setAttribute("role", "status");
  chart.after(line);
  return line;
}

function say(chart, text) {
  const line = readoutOf(chart);
  if (!hints.has(line)) hints.set(line, line.textContent);
  line.textContent = text ?? hints.get(line);
}

function pointAt(chart, point) {
  if (point.classList.contains("pointed")) return;
  clear(chart, "pointed");
  point.classList.add("pointed");
  say(chart, point.querySelector("title").textContent);
}

function clear(chart, name) {
  chart.querySelectorAll(`.${name}`).forEach((each) => each.classList.remove(name));
}

function nearest(chart, x) {
  const middle = (point) => {
    const box = (point.querySelector("circle, path") ?? point).getBoundingClientRect();
    return box.left + box.width / 2;
  };
  const away = (point) => Math.abs(middle(point) - x);
  return pointsOf(chart).reduce((best, each) => (best && away(best) <= away(each) ? best : each), null);
}

// The points from one to another are chosen, and the line says which days that are.
function choose(chart, from, to) {
  const points = pointsOf(chart).filter((each) => each.dataset.first);
  const ends = [points.indexOf(from), points.indexOf(to)].sort((one, other) => one - other);
  clear(chart, "chosen");
  if (ends[0] < 0) return;
  const inside = points.slice(ends[0], ends[1] + 1);
  inside.forEach((each) => each.classList.add("chosen"));
  const days = daysOf(inside);
  const written = (day) => new Date(day).toLocaleDateString(document.documentElement.lang, { timeZone: "UTC" });
  const text = readoutOf(chart).dataset.chosen;
  if (text) say(chart, text.replace("{first}", written(days.since)).replace("{last}", written(days.until)));
}

function daysOf(points) {
  return {
    since: points.map((each) => each.dataset.first).sort()[0],
    until: points.map((each) => each.dataset.last).sort().at(-1),
  };
}

function lookCloser(chart) {
  const chosen = [...chart.querySelectorAll(".chosen")];
  if (chosen.length < 2 || !readoutOf(chart).dataset.chosen) return;
  const address = new URL(location.href);
  Object.entries(daysOf(chosen)).forEach(([name, day]) => address.searchParams.set(name, day));
  go(address, chart);
}

// Shows the days of an address: the page renews its parts, and the same chart has the focus again.
function go(address, chart) {
  const place = chart ? [...document.querySelectorAll(CHART)].indexOf(chart) : -1;
  history.pushState(null, "", address);
  document.addEventListener("candor:renewed", () => document.querySelectorAll(CHART)[place]?.focus(), { once: true });
  document.dispatchEvent(new CustomEvent("candor:days"));
}

function step(chart, by, isChoosing) {
  const points = pointsOf(chart).filter((each) => !isChoosing || each.dataset.first);
  if (!points.length) return;
  const now = points.findIndex((each) => each.classList.contains("pointed"));
  const next = now < 0 ? (by > 0 ? 0 : points.length - 1) : Math.min(Math.max(now + by, 0), points.length - 1);
  if (!isChoosing) clear(chart, "chosen");
  else if (!chart.querySelector(".chosen")) chart.anchor = points[Math.max(now, 0)];
  pointAt(chart, points[next]);
  if (isChoosing) choose(chart, chart.anchor, points[next]);
}

function onKey(event) {
  const chart = event.target.closest?.(CHART);
  if (!chart || event.ctrlKey || event.altKey || event.metaKey) return;
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (by) step(chart, by, event.shiftKey);
  else if (event.key === "Enter") lookCloser(chart);
  else if (event.key === "Escape") giveUp(chart);
  else return;
  event.preventDefault();
}

// Escape gives up the choice; without one it goes back to all days.
function giveUp(chart) {
  const whole = document.querySelector("a[data-zoom=whole]");
  if (!chart.querySelector(".chosen") && whole && readoutOf(chart).dataset.chosen) return go(whole.href, chart);
  clear(chart, "chosen");
  clear(chart, "pointed");
  say(chart, null);
}

function onMove(event) {
  const chart = dragged?.chart ?? event.target.closest?.(CHART);
  if (!chart || (event.pointerType === "touch" && event.type === "pointermove")) return;
  const point = nearest(chart, event.clientX);
  if (!point) return;
  if (!dragged) return pointAt(chart, point);
  if (dragged.from !== point || chart.querySelector(".chosen")) choose(chart, dragged.from, point);
}

function onDown(event) {
  const chart = event.target.closest?.(CHART);
  if (!chart || event.button !== 0) return;
  onMove(event);
  const from = nearest(chart, event.clientX);
  clear(chart, "chosen");
  if (event.pointerType !== "touch" && from?.dataset.first) dragged = { chart, from };
}

function onUp() {
  const chart = dragged?.chart;
  dragged = null;
  if (chart) lookCloser(chart);
}

// The answers behind a point: of its bin, by the link in the table below, or of its days.
function answersOf(chart, point) {
  const card = chart.closest(".chart");
  const bins = [...card.querySelectorAll("a[href*='bin=']")];
  if (bins.length) return bins[pointsOf(chart).indexOf(point)]?.href;
  if (!card.dataset.answers || !point.dataset.first) return null;
  const { answers, affected, others } = card.dataset;
  const own = point.matches(".affected") ? affected : point.matches(".others") ? others : answers;
  const address = new URL(own, location.href);
  address.searchParams.set("from", point.dataset.first);
  address.searchParams.set("to", point.dataset.last);
  return address;
}

function onPoint(event) {
  const point = event.target.closest?.("g:has(> title)");
  const chart = point?.closest(CHART);
  const address = chart && answersOf(chart, point);
  if (address) location.assign(address);
}

function onLink(event) {
  const link = event.target.closest?.("a[data-zoom]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || !document.querySelector("main[data-live]")) return;
  event.preventDefault();
  go(link.href, null);
}

function letChartsBeRead() {
  document.querySelectorAll(CHART).forEach((chart) => chart.setAttribute("tabindex", "0"));
}

document.addEventListener("keydown", onKey);
document.addEventListener("pointermove", onMove);
document.addEventListener("pointerdown", onDown);
document.addEventListener("pointerup", onUp);
document.addEventListener("click", onPoint);
document.addEventListener("click", onLink);
document.addEventListener("candor:renewed", letChartsBeRead);
addEventListener("popstate", () => document.dispatchEvent(new CustomEvent("candor:days")));
letChartsBeRead();
