"use strict";
const facts = JSON.parse(document.getElementById("facts").textContent);
const byId = (id) => document.getElementById(id);
const map = byId("map"), picture = byId("picture"), view = byId("view"), details = byId("details");
const layers = new Map(facts.layers.map((one) => [one.number, one]));
const blocks = new Map(facts.blocks.map((one) => [one.number, one]));
const order = facts.layers.map((one) => one.number);
const readViews = Object.entries(facts.views).map(([name, places]) => {
  const node = byId(name), shapes = new Map();
  for (const shape of node.querySelectorAll(".layer")) {
    const number = Number(shape.dataset.number);
    shapes.set(number, shape);
    if (name === "folded" && blocks.has(number)) {
      for (const hidden of blocks.get(number).layers) shapes.set(hidden, shape);
    }
  }
  const links = [...node.querySelectorAll(".link")].map((path) => ({
    path, source: Number(path.dataset.source), target: Number(path.dataset.target),
  }));
  return [name, { ...places, node, shapes, links, rows: new Set(shapes.values()) }];
});
const views = Object.fromEntries(readViews), links = views.whole.links;
const MOST_WHOLE = 150;
let now = views.folded && order.length > MOST_WHOLE ? views.folded : views.whole;
let selected = null, hits = [], place = 0;

// --- what is seen: x, y of the upper left corner on the screen, k pixels of it for one of the picture
const seen = { x: 0, y: 0, k: 1 };
const LARGEST = 4;

function show() {
  view.setAttribute("transform", `translate(${seen.x} ${seen.y}) scale(${seen.k})`);
}

function smallestScale() {
  return Math.min(map.clientWidth / now.width, map.clientHeight / now.height);
}

function lookAt(box, largest) {
  const k = Math.min(map.clientWidth / box.width, map.clientHeight / box.height, largest);
  Object.assign(seen, {
    k, x: map.clientWidth / 2 - k * (box.x + box.width / 2),
    y: map.clientHeight / 2 - k * (box.y + box.height / 2),
  });
  show();
}

function fit() {
  lookAt({ x: 0, y: 0, width: now.width, height: now.height }, 1.6);
}

function zoom(factor, x = map.clientWidth / 2, y = map.clientHeight / 2) {
  const k = Math.min(Math.max(seen.k * factor, smallestScale() / 2), LARGEST), ratio = k / seen.k;
  Object.assign(seen, { k, x: x - ratio * (x - seen.x), y: y - ratio * (y - seen.y) });
  show();
}

function reveal(number) {
  const box = now.boxes[number], edge = 40;
  const left = seen.x + seen.k * box.x, top = seen.y + seen.k * box.y;
  const right = left + seen.k * box.width, bottom = top + seen.k * box.height;
  if (left < 0 || right > map.clientWidth) seen.x += map.clientWidth / 2 - (left + right) / 2;
  if (top < edge || bottom > map.clientHeight - edge) seen.y += map.clientHeight / 2 - (top + bottom) / 2;
  show();
}

// --- one layer
function make(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function unique(numbers) {
  return [...new Set(numbers)];
}

function layerButton(number) {
  const one = layers.get(number), button = make("button", number < 0 ? "image" : `#${number} ${one.kind}`);
  button.addEventListener("click", () => select(number));
  return button;
}

function addRow(list, term, content) {
  if (!content || (Array.isArray(content) && !content.length)) return;
  const value = make("dd");
  value.append(...(Array.isArray(content) ? content : [content]));
  list.append(make("dt", term), value);
}

function fillDetails(one) {
  const { number } = one, members = one.layers || [number], list = make("dl"), close = make("button", "×", "close");
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => select(null));
  const sources = links.filter((link) => members.includes(link.target) && !members.includes(link.source));
  const readers = links.filter((link) => members.includes(link.source) && !members.includes(link.target));
  addRow(list, "stage", one.stage);
  addRow(list, "cfg line", one.line ? String(one.line) : "");
  addRow(list, "output", one.shape);
  addRow(list, "reads", unique(sources.map((link) => link.source)).map(layerButton));
  addRow(list, "read by", unique(readers.map((link) => link.target)).map(layerButton));
  addRow(list, "role", one.role);
  addRow(list, "tasks", one.tasks);
  addRow(list, "parameters", one.parameters);
  addRow(list, "multiply-adds", one.macs);
  addRow(list, "memory", one.memory);
  if (one.layers) {
    addRow(list, "layers", `#${number} to #${members[members.length - 1]}`);
    addRow(list, "each", members.slice(0, one.size).map(layerButton));
  }
  const title = number < 0 || one.layers ? one.name : `#${number} ${one.name}`;
  details.replaceChildren(close, make("h2", title), list);
  if (one.text) details.append(make("pre", one.text));
  details.hidden = false;
}

function mark(view, number) {
  const chosen = number === null ? null : view.shapes.get(number);
  for (const shape of view.rows) {
    shape.classList.toggle("selected", shape === chosen);
    shape.classList.remove("near");
  }
  view.node.classList.toggle("choosing", number !== null);
  for (const { path, source, target } of view.links) {
    const ends = [view.shapes.get(source), view.shapes.get(target)], isNear = ends.includes(chosen);
    path.classList.toggle("near", isNear);
    if (isNear) for (const end of ends) end.classList.toggle("near", end !== chosen);
  }
}

function select(number, block = null) {
  selected = number;
  mark(now, number);
  history.replaceState(null, "", number === null ? location.pathname + location.search : "#" + number);
  details.hidden = number === null;
  if (number === null) return;
  fillDetails(block || layers.get(number));
  document.querySelector("aside").scrollTop = 0;
  reveal(number);
}

function step(by) {
  const at = order.indexOf(selected);
  select(order[at < 0 ? 0 : Math.min(Math.max(at + by, 0), order.length - 1)]);
}

// --- search: every word has to be in what a layer says of itself
function search() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  hits = words.length ? order.filter((number) => words.every((word) => isFound(layers.get(number), word))) : [];
  view.classList.toggle("searching", words.length > 0);
  for (const { rows, shapes } of Object.values(views)) {
    for (const shape of rows) shape.classList.remove("hit");
    for (const number of hits) shapes.get(number).classList.add("hit");
  }
  byId("hits").textContent = words.length ? `${hits.length} found` : "";
  place = -1;
}

function isFound(one, word) {
  return word.startsWith("#") ? "#" + one.number === word : one.words.includes(word);
}

function goOn(by) {
  if (!hits.length) return;
  place = (place < 0 && by < 0 ? hits.length - 1 : place + by + hits.length) % hits.length;
  byId("hits").textContent = `${place + 1} of ${hits.length}`;
  select(hits[place]);
}

byId("search").addEventListener("input", search);
byId("finder").addEventListener("submit", (event) => { event.preventDefault(); goOn(1); });
byId("previous").addEventListener("click", () => goOn(-1));
byId("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.shiftKey) { event.preventDefault(); goOn(-1); }
  if (event.key === "Escape") { event.target.value = ""; search(); map.focus(); event.stopPropagation(); }
});

// --- pointer: one drags, two zoom; a press that does not move chooses
const pointers = new Map();
let moved = 0;

map.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  if (!pointers.size) moved = 0;
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
});
window.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const after = { x: event.clientX, y: event.clientY }, frame = map.getBoundingClientRect();
  const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
  moved += Math.abs(after.x - before.x) + Math.abs(after.y - before.y);
  if (moved > 4) map.classList.add("dragging");
  if (other) {
    const ratio = Math.hypot(after.x - other.x, after.y - other.y) / Math.hypot(before.x - other.x, before.y - other.y);
    zoom(ratio || 1, (after.x + other.x) / 2 - frame.left, (after.y + other.y) / 2 - frame.top);
  } else if (moved > 4) {
    seen.x += after.x - before.x;
    seen.y += after.y - before.y;
    show();
  }
  pointers.set(event.pointerId, after);
});
for (const name of ["pointerup", "pointercancel"]) {
  window.addEventListener(name, (event) => {
    pointers.delete(event.pointerId);
    map.classList.remove("dragging");
  });
}
map.addEventListener("click", (event) => {
  if (moved > 4) return;
  const shape = event.target.closest(".layer");
  if (!shape) return select(null);
  const number = Number(shape.dataset.number);
  select(number, now === views.folded ? blocks.get(number) : null);
});
map.addEventListener("wheel", (event) => {
  event.preventDefault();
  const frame = map.getBoundingClientRect(), lines = event.deltaMode ? 16 : 1;
  const speed = event.ctrlKey ? 0.01 : 0.0015;
  zoom(Math.exp(-event.deltaY * lines * speed), event.clientX - frame.left, event.clientY - frame.top);
}, { passive: false });

// --- repeated blocks: all layers, or one row for each run of them
function setView(view) {
  now = view;
  for (const one of Object.values(views)) one.node.toggleAttribute("hidden", one !== view);
  byId("fold").textContent = view === views.folded ? "Unfold" : "Fold";
  mark(view, selected);
  fit();
}

function toggleFold() {
  if (!views.folded) return;
  setView(now === views.folded ? views.whole : views.folded);
  if (selected !== null) reveal(selected);
}

byId("fold").hidden = !views.folded;
byId("fold").addEventListener("click", toggleFold);

// --- keys
const KEYS = {
  ArrowDown: () => step(1), ArrowUp: () => step(-1), Home: () => select(order[0]),
  End: () => select(order[order.length - 1]), "+": () => zoom(1.25), "=": () => zoom(1.25),
  "-": () => zoom(0.8), 0: fit, f: toggleFold, Escape: () => select(null),
  ArrowLeft: () => { seen.x += 80; show(); }, ArrowRight: () => { seen.x -= 80; show(); },
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
  const isButton = event.target.tagName === "BUTTON";
  if (event.key === "/") {
    event.preventDefault();
    byId("search").focus();
  } else if (Object.hasOwn(KEYS, event.key) && !(isButton && event.key.startsWith("Arrow"))) {
    event.preventDefault();
    KEYS[event.key]();
  }
});
byId("larger").addEventListener("click", () => zoom(1.25));
byId("smaller").addEventListener("click", () => zoom(0.8));
byId("fit").addEventListener("click", fit);

// --- light and dark
const isDark = matchMedia("(prefers-color-scheme: dark)");
const setTheme = (dark) => { document.documentElement.dataset.theme = dark ? "dark" : "light"; };
setTheme(isDark.matches);
isDark.addEventListener("change", () => setTheme(isDark.matches));
byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme !== "dark"));

// --- stages
const most = Math.max(...facts.stages.map((stage) => stage.share), 1e-9);
for (const [at, stage] of facts.stages.entries()) {
  const row = make("li"), button = make("button"), bar = make("span", "", "bar"), stripe = make("span", "", "stripe");
  stripe.style.background = stage.color;
  bar.style.width = `${(86 * stage.share) / most}%`;
  button.append(
    stripe, make("span", stage.title, "name"), make("span", stage.size, "size"),
    make("span", stage.shareText, "share"), bar,
  );
  button.addEventListener("click", () => lookAt(now.stages[at], 1.5));
  row.append(button);
  byId("stages").append(row);
}

let width = 0, height = 0;
new ResizeObserver(() => {
  if (!width) fit();
  else { seen.x += (map.clientWidth - width) / 2; seen.y += (map.clientHeight - height) / 2; show(); }
  width = map.clientWidth; height = map.clientHeight;
}).observe(map);
setView(now);
if (/^#-?\d+$/.test(location.hash) && layers.has(Number(location.hash.slice(1)))) {
  select(Number(location.hash.slice(1)));
}
