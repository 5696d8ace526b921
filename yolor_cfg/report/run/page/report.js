"use strict";
// What moves in the page of a run: curves, sorting, the slider of confidence, switches of boxes.

const facts = JSON.parse(document.getElementById("facts").textContent);
const all = (selector, place = document) => [...place.querySelectorAll(selector)];
const HEIGHT = 290;
const WHOLE = [1, 2, 5].flatMap((one) => [1, 10, 100, 1000, 10000].map((ten) => one * ten)).sort((one, other) => one - other);
const drawn = new Map();

// ---------------------------------------------------------------------------------------------------- curves
const ON_PAPER = { ink: "#000", faint: "#444", line: "#bbb", card: "#fff" };
let isPrinted = false;

function themeColors() {
  if (isPrinted) return ON_PAPER;
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "faint", "line", "card"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function formatValue(value) {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
  return Number.isInteger(value) ? String(value) : value.toFixed(size < 1 ? 4 : 2);
}

function isCrowded(plot) {
  return plot.curves.filter((curve) => curve.faint).length > 20;
}

function makeSeries(plot, colors, chosen) {
  const crowded = isCrowded(plot);
  return plot.curves.map((curve, place) => {
    const isChosen = String(place) === chosen;
    const isQuiet = curve.faint && crowded && !isChosen;
    return {
      label: curve.name,
      scale: "y",
      stroke: isQuiet ? colors.faint + "55" : curve.color || colors.ink,
      width: isChosen ? 3 : curve.faint ? (crowded ? 0.7 : 1.3) : 2,
      spanGaps: true,
      points: { show: plot.points, size: 5 },
      value: (_, value) => formatValue(value),
    };
  });
}

function makeAxis(colors, more) {
  return { stroke: colors.ink, grid: { stroke: colors.line, width: 1 }, ticks: { stroke: colors.line, width: 1 }, ...more };
}

function drawMarks(plot, colors) {
  return (chart) => {
    const context = chart.ctx, { left, top, width, height } = chart.bbox;
    context.save();
    for (const [x, name] of plot.marks) {
      const place = chart.valToPos(x, "x", true);
      if (place < left || place > left + width) continue;
      context.strokeStyle = context.fillStyle = colors.faint;
      context.lineWidth = devicePixelRatio;
      context.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
      context.beginPath();
      context.moveTo(place, top);
      context.lineTo(place, top + height);
      context.stroke();
      context.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
      const isRight = place > left + width * 0.8;
      context.textAlign = isRight ? "right" : "left";
      context.fillText(name, place + (isRight ? -5 : 5) * devicePixelRatio, top + height - 6 * devicePixelRatio);
    }
    context.restore();
  };
}

function makeScales(plot) {
  const span = plot.span, xs = plot.x;
  const y = span ? { range: [span[0], span[1] * 1.02] } : {};
  if (!span && plot.unit !== "log") {
    const values = plot.curves.flatMap((curve) => curve.y).filter((value) => value !== null);
    const least = Math.min(...values), most = Math.max(...values);
    y.range = (_, low, high) => [least >= 0 ? 0 : low, most === least && most === 0 ? 1 : high + 0.05 * (high - Math.min(low, 0))];
  }
  const single = xs.length === 1 ? { range: [xs[0] - 0.5, xs[0] + 0.5] } : {};
  return { x: { time: false, distr: plot.unit === "log" ? 3 : 1, ...single }, y };
}

function drawPlot(place) {
  const plot = facts.plots[place.dataset.plot], colors = themeColors();
  const chooser = place.parentElement.querySelector(".chooser");
  drawn.get(place)?.destroy();
  const crowded = isCrowded(plot), chosen = chooser ? chooser.value : "";
  const width = Math.max(240, place.clientWidth);
  const series = makeSeries(plot, colors, chosen);
  const options = {
    width, height: HEIGHT,
    scales: makeScales(plot),
    series: [{ label: plot.x_name, value: (_, value) => formatValue(value) }, ...series],
    axes: [
      makeAxis(colors, { label: plot.x_name, size: 32, labelSize: 18, labelGap: 0, labelFont: "12px system-ui, sans-serif", ...(plot.x_name === "epoch" ? { incrs: WHOLE } : {}) }),
      makeAxis(colors, { scale: "y", size: plot.unit === "rate" ? 74 : 56, values: (_, ticks) => ticks.map((one) => one === null ? "" : formatTick(one)) }),
    ],
    legend: { markers: { fill: (_, number) => series[number - 1]?.stroke ?? "transparent", width: 0 } },
    cursor: { focus: { prox: 24 }, drag: { x: true, y: false } },
    focus: { alpha: crowded ? 1 : 0.35 },
    hooks: { draw: [drawMarks(plot, colors)] },
  };
  const chart = new uPlot(options, [plot.x, ...plot.curves.map((curve) => curve.y)], place);
  if (crowded) {
    all(".u-series", place).forEach((row, number) => {
      row.hidden = number > 0 && plot.curves[number - 1].faint && String(number - 1) !== chosen;
      row.style.display = row.hidden ? "none" : "";
    });
  }
  drawn.set(place, chart);
}

function formatTick(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 1e5) ? value.toExponential(0) : String(+value.toPrecision(6));
}

const places = all("[data-plot]");
function drawAll() {
  places.forEach(drawPlot);
}
// Each is drawn when it comes into sight, so that a page with many opens at once.
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting && !drawn.has(entry.target)) drawPlot(entry.target);
  }
}, { rootMargin: "600px" });
places.forEach((place) => {
  seen.observe(place);
  place.parentElement.querySelector(".chooser")?.addEventListener("change", () => drawPlot(place));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => [...drawn.keys()].forEach(drawPlot));
for (const [event, value] of [["beforeprint", true], ["afterprint", false]]) {
  addEventListener(event, () => {
    isPrinted = value;
    document.documentElement.classList.toggle("printed", value);
    drawAll();
  });
}
let waiting = 0;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => drawn.forEach((chart, place) => chart.setSize({ width: Math.max(240, place.clientWidth), height: HEIGHT })), 120);
});

// --------------------------------------------------------------------------------------------------- sorting
function sortKey(row, column) {
  const text = row.cells[column].dataset.sort, number = Number(text);
  if (text === "-inf") return -Infinity;
  return text !== "" && !Number.isNaN(number) ? number : text;
}

function compareKeys(one, other) {
  if (typeof one === typeof other) return one < other ? -1 : one > other ? 1 : 0;
  return typeof one === "number" ? -1 : 1;
}

function sortTable(table, column) {
  const head = table.tHead.rows[0].cells[column], body = table.tBodies[0];
  const isNumber = head.classList.contains("number");
  const turned = { ascending: "descending", descending: "ascending" }[head.getAttribute("aria-sort")];
  const order = turned ?? (isNumber ? "descending" : "ascending"), sign = order === "ascending" ? 1 : -1;
  all("th", table.tHead).forEach((one) => one.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
  const rows = [...body.rows].map((row) => [sortKey(row, column), row]);
  rows.sort(([one], [other]) => sign * compareKeys(one, other));
  body.append(...rows.map(([, row]) => row));
}

for (const table of all("table.sortable")) {
  [...table.tBodies[0].rows].forEach((row, number) => { row.dataset.number = number; });
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    cell.querySelector("button").addEventListener("click", () => sortTable(table, column));
  });
}

// ------------------------------------------------------------------------------------------------ confidence
function showConfidence(field, value) {
  const part = facts.tables[field.dataset.part], table = document.getElementById(`classes-${field.dataset.part}`);
  field.closest(".slider").querySelector("output").textContent = Number(value).toFixed(3);
  if (!part?.classes) return;
  for (const row of table.tBodies[0].rows) {
    const curve = part.classes.indexOf(part.rows[row.dataset.number]);
    if (curve < 0) continue;
    for (const name of ["P", "R", "F1"]) {
      const cell = row.querySelector(`.moving.${name}`), plot = facts.plots[part[name]];
      cell.dataset.own ??= cell.textContent;
      const place = plot.x.reduce((best, x, i) => Math.abs(x - value) < Math.abs(plot.x[best] - value) ? i : best, 0);
      const isBest = Number(value) === Number(field.dataset.best);
      cell.textContent = isBest ? cell.dataset.own : plot.curves[curve].y[place].toFixed(3);
      cell.dataset.sort = cell.textContent;
    }
  }
}

for (const field of all("input.confidence")) {
  field.addEventListener("input", () => showConfidence(field, Number(field.value)));
  field.closest(".slider").querySelector(".back").addEventListener("click", () => {
    field.value = field.dataset.best;
    showConfidence(field, Number(field.dataset.best));
  });
}

// ------------------------------------------------------------------------------------------- boxes, commands
for (const check of all("input[data-kind]")) {
  const hide = "hide-" + check.dataset.kind.replace(".", "-");
  check.addEventListener("change", () => check.closest(".errors").classList.toggle(hide, !check.checked));
}

for (const drawing of all(".judged svg")) {
  drawing.addEventListener("click", () => drawing.parentElement.classList.toggle("large"));
}

for (const button of all(".copy")) {
  button.addEventListener("click", async () => {
    const text = button.parentElement.querySelector("pre");
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selected";
    }
  });
}
