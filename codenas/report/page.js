"use strict";
// Immediate tooltips, a candidate highlighted in every chart, and a front that rotates.

const SVG = "http://www.w3.org/2000/svg";
const figures = JSON.parse(document.getElementById("figures").textContent);
const tip = document.getElementById("tip");

function upgradeTitles(root) {
  for (const title of root.querySelectorAll("title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
}

function showTip(event) {
  const over = event.target.closest ? event.target.closest("[data-tip]") : null;
  tip.hidden = !over;
  if (!over) return;
  tip.textContent = over.dataset.tip;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + "px";
  tip.style.top = Math.max(4, event.clientY - box.height - 12) + "px";
}

let highlighted = null;
function highlight(event) {
  const over = event.target.closest ? event.target.closest("[data-candidate]") : null;
  const candidate = over ? over.dataset.candidate : null;
  if (candidate === highlighted) return;
  highlighted = candidate;
  for (const each of document.querySelectorAll("[data-candidate]")) each.classList.toggle("hot", each.dataset.candidate === candidate);
  for (const chart of document.querySelectorAll("svg")) chart.classList.toggle("dim", chart.querySelector(".hot") !== null);
}

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Candidates with all three metrics, as of their highest rung, in a cube from -1 to 1.
function cloud(chart) {
  const axes = [
    ["size (MB)", (m) => m.size_bytes / 1e6],
    ["bits per byte", (m) => m.bits_per_byte],
    ["latency (ms)", (m) => m.latency_ms_p50],
  ];
  const points = figures.candidates.flatMap((each) => {
    const last = each.rungs[each.rungs.length - 1];
    return last ? [{ candidate: each.id, last, front: each.on_front, values: axes.map(([, of]) => of(last.metrics)) }] : [];
  }).filter((point) => point.values.every(Number.isFinite));
  if (!points.length) return;
  const bounds = axes.map((_, i) => {
    const values = points.map((point) => point.values[i]);
    const low = Math.min(...values), high = Math.max(...values);
    return high > low ? [low, high] : [low * 0.9 - 1e-9, low * 1.1 + 1e-9];
  });
  for (const point of points) point.at = point.values.map((v, i) => 2 * (v - bounds[i][0]) / (bounds[i][1] - bounds[i][0]) - 1);
  let turn = 0.65, tilt = 0.42;

  function project([x, y, z]) {
    const u = x * Math.cos(turn) + z * Math.sin(turn), w = z * Math.cos(turn) - x * Math.sin(turn);
    const v = y * Math.cos(tilt) - w * Math.sin(tilt), depth = w * Math.cos(tilt) + y * Math.sin(tilt);
    const near = 1 / (1 + 0.12 * depth);
    return [320 + 165 * u * near, 225 - 140 * v * near, depth];
  }

  function segment(from, to, kind) {
    const [a, b] = [project(from), project(to)];
    chart.append(element("line", { class: kind, x1: a[0], y1: a[1], x2: b[0], y2: b[1] }));
  }

  function draw() {
    chart.replaceChildren();
    for (const a of [-1, 1]) for (const b of [-1, 1]) {
      segment([-1, a, b], [1, a, b], "grid");
      segment([a, -1, b], [a, 1, b], "grid");
      segment([a, b, -1], [a, b, 1], "grid");
    }
    segment([-1, -1, -1], [1, -1, -1], "axis");
    segment([-1, -1, -1], [-1, 1, -1], "axis");
    segment([-1, -1, -1], [-1, -1, 1], "axis");
    axes.forEach(([name], i) => {
      const middle = [-1.36, -1.24, -1.36];
      middle[i] = 0;
      const [x, y] = project(middle);
      chart.append(element("text", { x, y: y + 4, "text-anchor": "middle", class: "name" }, name));
      for (const [side, place] of [[0, -0.82], [1, 0.98]]) {
        const spot = [-1.14, -1.1, -1.14];
        spot[i] = place;
        const [tx, ty] = project(spot);
        chart.append(element("text", { x: tx, y: ty + 4, "text-anchor": "middle" }, Number(bounds[i][side].toPrecision(3))));
      }
    });
    const placed = points.map((point) => [project(point.at), point]).sort((a, b) => b[0][2] - a[0][2]);
    for (const [[x, y, depth], point] of placed) {
      const group = element("g", { "data-candidate": point.candidate });
      const foot = project([point.at[0], -1, point.at[2]]);
      group.append(element("line", { class: "grid", x1: x, y1: y, x2: foot[0], y2: foot[1] }));
      const best = figures.best && figures.best.id === point.candidate;
      const kind = best ? "winner" : point.front ? "k1" : "k0";
      const circle = element("circle", { class: `mark ${kind}`, cx: x, cy: y, r: (best ? 8 : 6) * (1 - 0.15 * depth) });
      const [size, bits, latency] = point.values;
      circle.dataset.tip = `${point.candidate} after ${point.last.rung} steps\n` +
        `${bits.toFixed(3)} bits per byte, ${size.toPrecision(3)} MB, ${latency.toPrecision(3)} ms per token`;
      group.append(circle);
      if (best || point.front) group.append(element("text", { x: x + 9, y: y - 7, class: "point-name" }, point.candidate));
      chart.append(group);
    }
  }

  let held = null;
  chart.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY]; chart.setPointerCapture(event.pointerId); });
  chart.addEventListener("pointerup", () => { held = null; });
  chart.addEventListener("pointercancel", () => { held = null; });
  chart.addEventListener("pointermove", (event) => {
    if (held === null) return;
    turn += (event.clientX - held[0]) / 120;
    tilt = Math.max(-1.5, Math.min(1.5, tilt + (event.clientY - held[1]) / 120));
    held = [event.clientX, event.clientY];
    draw();
  });
  chart.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, 0.12], ArrowDown: [0, -0.12] }[event.key];
    if (!way) return;
    event.preventDefault();
    turn += way[0];
    tilt = Math.max(-1.5, Math.min(1.5, tilt + way[1]));
    draw();
  });
  draw();
}

upgradeTitles(document.body);
document.addEventListener("pointermove", (event) => { showTip(event); highlight(event); });
document.addEventListener("pointerdown", (event) => { showTip(event); highlight(event); });
const chart = document.getElementById("cloud");
if (chart) cloud(chart);
