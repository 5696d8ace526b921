// The page: files, the camera, the network, and what is shown.
const facts = JSON.parse(document.getElementById("facts").textContent);
const get = (id) => document.getElementById(id);
const rules = { ...facts.rules };
let ort = null, session = null;
let shown = null; // the last picture and what the network predicts for it
let stream = null;
let isBusy = false;
const yolor = { detections: [], facts }; // for scripts and tests

// Bytes of a block of the page: base64 of gzip.
async function unpack(id) {
  const text = get(id).textContent;
  const packed = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  get(id).textContent = "";
  const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

function tell(state, text) {
  document.body.dataset.state = state;
  if (get("status").textContent !== text) get("status").textContent = text;
}

function fail(reason) {
  tell("failed", `This did not work: ${reason?.message ?? reason}`);
}

// One thread: several need a server with special headers. All parts come from this page, none from a URL.
async function start() {
  const url = URL.createObjectURL(new Blob([await unpack("runtime")], { type: "text/javascript" }));
  ort = await import(url);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = (await unpack("wasm")).buffer;
  session = await ort.InferenceSession.create(await unpack("model"), { executionProviders: ["wasm"] });
  get("file").disabled = false;
  get("camera").disabled = !navigator.mediaDevices?.getUserMedia;
  if (get("camera").disabled) get("camera").textContent = "No camera here";
  tell("ready", "Ready.");
}

// Waits until the browser has painted what was told.
const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));

// Runs the network on a picture: an ImageBitmap or a playing video.
async function look(picture, height, width) {
  const sheet = document.createElement("canvas");
  [sheet.height, sheet.width] = [height, width];
  const pen = sheet.getContext("2d", { willReadFrequently: true });
  pen.drawImage(picture, 0, 0, width, height);
  const pixels = pen.getImageData(0, 0, width, height).data;
  const began = performance.now();
  const input = prepare(pixels, height, width, facts.net);
  const shape = [1, input.channels, input.height, input.width];
  const { predictions } = await session.run({ images: new ort.Tensor("float32", input.data, shape) });
  const where = { placement: input.placement, height, width };
  const seconds = (performance.now() - began) / 1000;
  shown = { sheet, where, seconds, values: predictions.data, count: predictions.dims[2] };
  show();
}

function show() {
  const { sheet, where, values, count, seconds } = shown;
  yolor.detections = select(values, count, where, rules);
  draw(sheet, yolor.detections);
  list(yolor.detections);
  const found = yolor.detections.length;
  const text = `${found} ${found === 1 ? "object" : "objects"} in ${where.width} x ${where.height} pixels`;
  tell("done", stream ? `${text}.` : `${text}, ${seconds.toFixed(2)} s.`);
  get("view").setAttribute("aria-label", `${text}: ${summary(yolor.detections)}`);
}

const nameOf = (label) => facts.names[label] ?? `class ${label}`;
const colourOf = (label) => `hsl(${(label * 137.5 + 210) % 360} 85% 45%)`;

function summary(detections) {
  const counts = new Map();
  for (const { label } of detections) counts.set(label, (counts.get(label) ?? 0) + 1);
  return [...counts].map(([label, count]) => `${count} x ${nameOf(label)}`).join(", ") || "none";
}

// The picture with boxes; lines and letters keep their size on the screen.
function draw(sheet, detections) {
  const view = get("view");
  [view.width, view.height] = [sheet.width, sheet.height];
  view.hidden = false;
  get("hint").hidden = true;
  get("stage").classList.add("full");
  const pen = view.getContext("2d");
  pen.drawImage(sheet, 0, 0);
  const unit = view.width / Math.max(1, view.clientWidth);
  pen.font = `600 ${13 * unit}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  for (const one of [...detections].reverse()) drawBox(pen, one, unit);
}

function drawBox(pen, { box, score, label }, unit) {
  const [x1, y1, x2, y2] = box;
  const text = `${nameOf(label)} ${score.toFixed(2)}`;
  const height = 18 * unit, width = pen.measureText(text).width + 8 * unit;
  const left = Math.max(0, Math.min(x1, pen.canvas.width - width));
  const top = y1 >= height ? y1 - height : Math.max(0, y1);
  pen.lineWidth = 2.5 * unit;
  pen.strokeStyle = pen.fillStyle = colourOf(label);
  pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  pen.fillRect(left, top, width, height);
  pen.fillStyle = "#fff";
  pen.strokeStyle = "rgb(0 0 0 / 60%)";
  pen.lineWidth = 2 * unit;
  pen.strokeText(text, left + 4 * unit, top + 2.5 * unit);
  pen.fillText(text, left + 4 * unit, top + 2.5 * unit);
}

function list(detections) {
  get("table").hidden = !detections.length;
  get("rows").replaceChildren(...detections.map(({ box, score, label }) => {
    const row = document.createElement("tr");
    const places = box.map((value) => Math.round(value));
    const texts = [nameOf(label), score.toFixed(2), `${places[0]}, ${places[1]}`, `${places[2]}, ${places[3]}`];
    row.append(...texts.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
    swatch.style.background = colourOf(label);
    row.firstChild.prepend(swatch);
    return row;
  }));
}

// A file in its own pixels: upright, without a change of colours.
async function open(file) {
  if (!session || isBusy || !file) return;
  closeCamera();
  isBusy = true;
  tell("busy", "Looking …");
  try {
    const as = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
    const picture = await createImageBitmap(file, as).catch(() => {
      throw new Error(`${file.name || "this"} is not an image that this browser reads`);
    });
    await painted();
    await look(picture, picture.height, picture.width);
    picture.close();
  } catch (reason) {
    fail(reason);
  } finally {
    isBusy = false;
  }
}

async function openCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    get("camera").textContent = "Close camera";
    get("camera").setAttribute("aria-pressed", "true");
    await watch(stream);
  } catch (reason) {
    closeCamera();
    fail(reason.name === "NotAllowedError" ? "the camera was not allowed" : reason);
  }
}

// Always the newest picture: those that come while the network works are left out.
async function watch(own) {
  const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true, srcObject: own });
  await video.play();
  while (stream === own) {
    await look(video, video.videoHeight, video.videoWidth);
    await painted();
  }
}

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  get("camera").textContent = "Open camera";
  get("camera").setAttribute("aria-pressed", "false");
}

function follow(id, name) {
  const slider = get(id);
  const write = () => { get(`${id}-value`).textContent = Number(rules[name]).toFixed(2); };
  slider.value = rules[name];
  write();
  slider.addEventListener("input", () => {
    rules[name] = Number(slider.value);
    write();
    if (shown) show();
  });
}

follow("conf", "conf");
follow("iou", "iou");
get("file").addEventListener("change", (event) => {
  open(event.target.files[0]).then(() => { event.target.value = ""; });
});
get("camera").addEventListener("click", () => (stream ? closeCamera() : openCamera()));
addEventListener("dragover", (event) => { event.preventDefault(); get("stage").classList.add("over"); });
addEventListener("dragleave", () => get("stage").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  get("stage").classList.remove("over");
  open(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => open(event.clipboardData.files[0]));
addEventListener("resize", () => shown && draw(shown.sheet, yolor.detections));
start().catch(fail);
