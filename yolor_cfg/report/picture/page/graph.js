"use strict";
const facts = JSON.parse(document.getElementById("facts").textContent);
const byId = (id) => document.getElementById(id);
const map = byId("map"), picture = byId("picture"), view = byId("view"), details = byId("details");
const layers = new Map(facts.layers.map((one) => [one.number, one]));
const order = facts.layers.map((one) => one.number);
const shapes = new Map(order.map((number) => [number, byId(number < 0 ? "image" : "layer" + number)]));
const links = [...view.querySelectorAll(".link")].map((path) => ({
  path, source: Number(path.dataset.source), target: Number(path.dataset.target),
}));
let selected = null, hits = [], place = 0;

// --- what is seen: x, y of the upper left corner on the screen, k pixels of it for one of the picture
const seen = { x: 0, y: 0, k: 1 };
const LARGEST = 4;

function show() {
  view.setAttribute("transform", `translate(${seen.x} ${seen.y}) scale(${seen.k})`);
}

function smallestScale() {
  return Math.min(map.clientWidth / facts.width, map.clientHeight / facts.height);
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
  lookAt({ x: 0, y: 0, width: facts.width, height: facts.height }, 1.6);
}

function zoom(factor, x = map.clientWidth / 2, y = map.clientHeight / 2) {
  const k = Math.min(Math.max(seen.k * factor, smallestScale() / 2), LARGEST), ratio = k / seen.k;
  Object.assign(seen, { k, x: x - ratio * (x - seen.x), y: y - ratio * (y - seen.y) });
  show();
}

function reveal(number) {
  const box = layers.get(number).box, edge = 40;
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

function fillDetails(number) {
  const one = layers.get(number), list = make("dl"), close = make("button", "×", "close");
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => select(null));
  addRow(list, "stage", one.stage);
  addRow(list, "cfg line", one.line ? String(one.line) : "");
  addRow(list, "output", one.shape);
  addRow(list, "reads", links.filter((link) => link.target === number).map((link) => layerButton(link.source)));
  addRow(list, "read by", links.filter((link) => link.source === number).map((link) => layerButton(link.target)));
  addRow(list, "role", one.role);
  addRow(list, "tasks", one.tasks);
  addRow(list, "parameters", one.parameters);
  addRow(list, "multiply-adds", one.macs);
  addRow(list, "memory", one.memory);
  details.replaceChildren(close, make("h2", (number < 0 ? "" : `#${number} `) + one.name), list);
  if (one.text) details.append(make("pre", one.text));
  details.hidden = false;
}

function select(number) {
  selected = number;
  for (const [own, shape] of shapes) {
    shape.classList.toggle("selected", own === number);
    shape.classList.remove("near");
  }
  view.classList.toggle("choosing", number !== null);
  for (const { path, source, target } of links) {
    const isNear = source === number || target === number;
    path.classList.toggle("near", isNear);
    if (isNear) shapes.get(source === number ? target : source).classList.add("near");
  }
  if (number === null) {
    details.hidden = true;
    history.replaceState(null, "", location.pathname + location.search);
    return;
  }
  history.replaceState(null, "", "#" + number);
  fillDetails(number);
  document.querySelector("aside").scrollTop = 0;
  reveal(number);
}

function step(by) {
  const now = order.indexOf(selected);
  select(order[now < 0 ? 0 : Math.min(Math.max(now + by, 0), order.length - 1)]);
}

// --- search: every word has to be in what a layer says of itself
function search() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  hits = words.length ? order.filter((number) => words.every((word) => isFound(layers.get(number), word))) : [];
  view.classList.toggle("searching", words.length > 0);
  for (const [number, shape] of shapes) shape.classList.toggle("hit", hits.includes(number));
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
  for (const shape of shapes.values()) shape.classList.remove("now");
  shapes.get(hits[place]).classList.add("now");
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
  const now = { x: event.clientX, y: event.clientY }, frame = map.getBoundingClientRect();
  const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
  moved += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
  if (moved > 4) map.classList.add("dragging");
  if (other) {
    const ratio = Math.hypot(now.x - other.x, now.y - other.y) / Math.hypot(before.x - other.x, before.y - other.y);
    zoom(ratio || 1, (now.x + other.x) / 2 - frame.left, (now.y + other.y) / 2 - frame.top);
  } else if (moved > 4) {
    seen.x += now.x - before.x;
    seen.y += now.y - before.y;
    show();
  }
  pointers.set(event.pointerId, now);
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
  select(shape ? (shape.id === "image" ? -1 : Number(shape.id.slice("layer".length))) : null);
});
map.addEventListener("wheel", (event) => {
  event.preventDefault();
  const frame = map.getBoundingClientRect(), lines = event.deltaMode ? 16 : 1;
  const speed = event.ctrlKey ? 0.01 : 0.0015;
  zoom(Math.exp(-event.deltaY * lines * speed), event.clientX - frame.left, event.clientY - frame.top);
}, { passive: false });

// --- keys
const KEYS = {
  ArrowDown: () => step(1), ArrowUp: () => step(-1), Home: () => select(order[0]),
  End: () => select(order[order.length - 1]), "+": () => zoom(1.25), "=": () => zoom(1.25),
  "-": () => zoom(0.8), 0: fit, Escape: () => select(null),
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
for (const stage of facts.stages) {
  const row = make("li"), button = make("button"), bar = make("span", "", "bar"), stripe = make("span", "", "stripe");
  stripe.style.background = stage.color;
  bar.style.width = `${(86 * stage.share) / most}%`;
  button.append(
    stripe, make("span", stage.title, "name"), make("span", stage.size, "size"),
    make("span", stage.shareText, "share"), bar,
  );
  button.addEventListener("click", () => lookAt(stage.box, 1.5));
  row.append(button);
  byId("stages").append(row);
}

let width = 0, height = 0;
new ResizeObserver(() => {
  if (!width) fit();
  else { seen.x += (map.clientWidth - width) / 2; seen.y += (map.clientHeight - height) / 2; show(); }
  width = map.clientWidth; height = map.clientHeight;
}).observe(map);
fit();
if (/^#-?\d+$/.test(location.hash) && layers.has(Number(location.hash.slice(1)))) {
  select(Number(location.hash.slice(1)));
}
