// From pixels to the network's input, and from predictions to detections: the arithmetic of yolor-cfg, in the same
// precision and order. pixels: RGBA bytes [h, w, 4]; the input: float32 [C, H, W] in 0..1.
"use strict";

const f32 = Math.fround;

// Python rounds halves to the even neighbour.
function roundEven(value) {
  const low = Math.floor(value);
  const part = value - low;
  if (part !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

// [h, w, channels] bytes of RGBA: RGB, or grey as OpenCV reads it.
function pickChannels(pixels, channels) {
  const count = pixels.length / 4;
  const out = new Uint8Array(count * channels);
  for (let i = 0; i < count; i++) {
    const r = pixels[4 * i], g = pixels[4 * i + 1], b = pixels[4 * i + 2];
    if (channels === 1) out[i] = (r * 4899 + g * 9617 + b * 1868 + 8192) >> 14;
    else { out[3 * i] = r; out[3 * i + 1] = g; out[3 * i + 2] = b; }
  }
  return out;
}

// For each of `size` places of C Darknet's resize: the pixel before, the one after, and how far it is between them.
function darknetTaps(old, size) {
  const step = f32(f32(old - 1) / f32(Math.max(1, size - 1)));
  const before = new Int32Array(size), after = new Int32Array(size), part = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const place = i === size - 1 ? f32(old - 1) : f32(f32(i) * step);
    before[i] = Math.min(Math.trunc(place), old - 1);
    after[i] = Math.min(before[i] + 1, old - 1);
    part[i] = place - before[i];
  }
  return { before, after, part };
}

// C Darknet's resize into `out` [C, H, W] with its corner at (top, left): corners aligned, float32.
function resizeDarknet(image, inner, out) {
  const { data, height, width, channels } = image;
  const rows = darknetTaps(height, inner.height), columns = darknetTaps(width, inner.width);
  const unit = new Float32Array(256);
  for (let i = 0; i < 256; i++) unit[i] = f32(i / 255);
  const across = (row, x, c) => {
    const left = unit[data[(row * width + columns.before[x]) * channels + c]];
    const right = unit[data[(row * width + columns.after[x]) * channels + c]];
    const part = columns.part[x];
    return f32(f32(left * f32(1 - part)) + f32(right * part));
  };
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < inner.height; y++) {
      const part = rows.part[y], rest = f32(1 - part);
      let at = (c * out.height + inner.top + y) * out.width + inner.left;
      for (let x = 0; x < inner.width; x++) {
        const above = across(rows.before[y], x, c), below = across(rows.after[y], x, c);
        out.data[at++] = f32(f32(above * rest) + f32(below * part));
      }
    }
  }
}

// For each of `size` places of OpenCV's linear resize of bytes: two pixels and their weights in 1/2048.
function opencvTaps(old, size, clampsPart) {
  const scale = 1 / (size / old);
  const low = new Int32Array(size), high = new Int32Array(size);
  const lowWeight = new Int32Array(size), highWeight = new Int32Array(size);
  for (let i = 0; i < size; i++) {
    let place = f32((i + 0.5) * scale - 0.5);
    let first = Math.floor(place);
    let part = f32(place - first);
    if (clampsPart && first < 0) { first = 0; part = 0; }
    if (clampsPart && first >= old - 1) { first = old - 1; part = 0; }
    low[i] = Math.min(Math.max(first, 0), old - 1);
    high[i] = Math.min(Math.max(first + 1, 0), old - 1);
    lowWeight[i] = roundEven(f32(f32(1 - part) * 2048));
    highWeight[i] = roundEven(f32(part * 2048));
  }
  return { low, high, lowWeight, highWeight };
}

// OpenCV's INTER_LINEAR of bytes [h, w, C] to [inner.height, inner.width, C].
function resizeOpencv(image, inner) {
  const { data, height, width, channels } = image;
  if (inner.height === height && inner.width === width) return data;
  if (height === 2 * inner.height && width === 2 * inner.width) return halveOpencv(image, inner);
  const columns = opencvTaps(width, inner.width, true), rows = opencvTaps(height, inner.height, false);
  const line = inner.width * channels;
  const known = new Map();
  const stretchRow = (y) => {
    if (known.has(y)) return known.get(y);
    const out = new Int32Array(line);
    for (let x = 0; x < inner.width; x++) {
      const left = (y * width + columns.low[x]) * channels, right = (y * width + columns.high[x]) * channels;
      for (let c = 0; c < channels; c++) {
        out[x * channels + c] = data[left + c] * columns.lowWeight[x] + data[right + c] * columns.highWeight[x];
      }
    }
    if (known.size > 4) known.delete(known.keys().next().value);
    known.set(y, out);
    return out;
  };
  const out = new Uint8Array(inner.height * line);
  for (let y = 0; y < inner.height; y++) {
    const above = stretchRow(rows.low[y]), below = stretchRow(rows.high[y]);
    const one = rows.lowWeight[y], other = rows.highWeight[y];
    for (let i = 0; i < line; i++) {
      out[y * line + i] = (((one * (above[i] >> 4)) >> 16) + ((other * (below[i] >> 4)) >> 16) + 2) >> 2;
    }
  }
  return out;
}

// OpenCV averages four pixels where the size is exactly half.
function halveOpencv(image, inner) {
  const { data, width, channels } = image;
  const out = new Uint8Array(inner.height * inner.width * channels);
  for (let y = 0; y < inner.height; y++) {
    for (let x = 0; x < inner.width; x++) {
      for (let c = 0; c < channels; c++) {
        const at = (2 * y * width + 2 * x) * channels + c, below = at + width * channels;
        const sum = data[at] + data[at + channels] + data[below] + data[below + channels];
        out[(y * inner.width + x) * channels + c] = (sum + 2) >> 2;
      }
    }
  }
  return out;
}

// C Darknet's default: the image fills the input.
function stretch(image, net) {
  const out = newInput(image.channels, net.height, net.width, 0);
  resizeDarknet(image, { top: 0, left: 0, height: net.height, width: net.width }, out);
  const gain = [net.width / image.width, net.height / image.height];
  return { ...out, placement: { gain, padding: [0, 0], isClipped: false } };
}

// C Darknet's letterbox: centred on grey; boxes are shifted back by the unrounded half of the padding.
function letterboxDarknet(image, net) {
  const { height: h, width: w } = image;
  const byWidth = f32(f32(net.width) / f32(w)) < f32(f32(net.height) / f32(h));
  const height = byWidth ? Math.max(1, Math.floor((h * net.width) / w)) : net.height;
  const width = byWidth ? net.width : Math.max(1, Math.floor((w * net.height) / h));
  const out = newInput(image.channels, net.height, net.width, 0.5);
  const top = Math.floor((net.height - height) / 2), left = Math.floor((net.width - width) / 2);
  resizeDarknet(image, { top, left, height, width }, out);
  const padding = [(net.width - width) / 2, (net.height - height) / 2];
  return { ...out, placement: { gain: [width / w, height / h], padding, isClipped: false } };
}

// YOLOR's letterbox: padded evenly with grey 114, up to the next multiple of net.multiple_of (0: to the full size).
function letterboxYolor(image, net) {
  const { height: h, width: w, channels } = image;
  const gain = Math.min(net.height / h, net.width / w);
  const inner = { height: Math.max(1, roundEven(h * gain)), width: Math.max(1, roundEven(w * gain)) };
  let spareY = net.height - inner.height, spareX = net.width - inner.width;
  if (net.multiple_of) { spareY %= net.multiple_of; spareX %= net.multiple_of; }
  const top = roundEven(spareY / 2 - 0.1), bottom = roundEven(spareY / 2 + 0.1);
  const left = roundEven(spareX / 2 - 0.1), right = roundEven(spareX / 2 + 0.1);
  const out = newInput(channels, inner.height + top + bottom, inner.width + left + right, f32(114 / 255));
  const bytes = resizeOpencv(image, inner);
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < inner.height; y++) {
      let at = (c * out.height + top + y) * out.width + left;
      for (let x = 0; x < inner.width; x++) out.data[at++] = f32(bytes[(y * inner.width + x) * channels + c] / 255);
    }
  }
  const back = Math.min(out.height / h, out.width / w);
  const padding = [(out.width - w * back) / 2, (out.height - h * back) / 2];
  return { ...out, placement: { gain: [back, back], padding, isClipped: true } };
}

function newInput(channels, height, width, fill) {
  return { data: new Float32Array(channels * height * width).fill(fill), channels, height, width };
}

// The input for RGBA pixels of an image, and the placement that leads boxes back.
function prepare(pixels, height, width, net) {
  const image = { data: pickChannels(pixels, net.channels), height, width, channels: net.channels };
  return { stretch, darknet: letterboxDarknet, yolor: letterboxYolor }[net.fit](image, net);
}

// Corners in image pixels of a box in input pixels: centre, width and height.
function toImage(box, placement, height, width) {
  const corners = [0, 1, 2, 3].map((i) => {
    const half = f32(box[2 + (i % 2)] / 2), centre = box[i % 2];
    const edge = i < 2 ? f32(centre - half) : f32(centre + half);
    const place = (edge - placement.padding[i % 2]) / placement.gain[i % 2];
    const most = i % 2 ? height : width;
    return f32(placement.isClipped ? Math.min(Math.max(place, 0), most) : place);
  });
  return corners;
}

// Intersection over union of two boxes given by their corners, less (d / c) ** exponent if there is one.
function overlap(a, b, exponent) {
  const width = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0]));
  const height = Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  const shared = width * height;
  if (!(shared > 0)) return 0;
  const iou = shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared);
  if (exponent === null) return iou;
  const dx = (a[0] + a[2] - b[0] - b[2]) / 2, dy = (a[1] + a[3] - b[1] - b[3]) / 2;
  const cx = Math.max(a[2], b[2]) - Math.min(a[0], b[0]), cy = Math.max(a[3], b[3]) - Math.min(a[1], b[1]);
  const diagonal = cx * cx + cy * cy;
  return iou - (diagonal > 0 ? (dx * dx + dy * dy) / diagonal : 0) ** exponent;
}

// Of candidates, best first, those that no better one of their class suppresses.
function greedyNms(candidates, iou, exponent) {
  const kept = [];
  const byClass = new Map();
  for (const one of candidates) {
    const others = byClass.get(one.label) ?? [];
    if (others.some((other) => overlap(other.compared, one.compared, exponent) > iou)) continue;
    others.push(one);
    byClass.set(one.label, others);
    kept.push(one);
  }
  return kept;
}

// The detections {box: [x1, y1, x2, y2] in image pixels, score, label}, best first, of predictions [B, 5 + K].
function select(predictions, values, where, rules) {
  const isYolor = rules.kind === "yolor", least = f32(rules.conf);
  const candidates = [];
  for (let start = 0; start < predictions.length; start += values) {
    const row = predictions.subarray(start, start + values);
    if (!row.subarray(0, 4).every((value) => Math.abs(value) < 1e9)) continue;
    if (isYolor && !(row[4] > least)) continue;
    candidates.push(...rowCandidates(row, where, { ...rules, least, isYolor }));
  }
  candidates.sort((a, b) => b.score - a.score);
  const exponent = { greedynms: 0.6, diounms: rules.beta }[rules.kind] ?? null;
  let kept = greedyNms(candidates, rules.iou, exponent);
  if (!isYolor && !rules.multi_label) kept = bestClasses(kept);
  return kept.slice(0, rules.max_det).map(({ box, score, label }) => ({ box, score, label }));
}

// The pairs of one box and a class that score enough; YOLOR's NMS is done in input pixels, C Darknet's in
// fractions of the image.
function rowCandidates(row, where, rules) {
  let labels = [];
  let best = -1;
  for (let k = 0; k < row.length - 5; k++) {
    const score = rules.hidden.includes(k) ? 0 : f32(row[5 + k] * row[4]);
    if (score > rules.least) labels.push({ score, label: k });
    if (best < 0 || score > best) best = score;
  }
  if (rules.isYolor && !rules.multi_label) labels = labels.filter((one) => one.score === best).slice(0, 1);
  if (!labels.length) return [];
  const own = rules.isYolor ? byCorners(row) : row;
  const box = toImage(own, where.placement, where.height, where.width);
  const { height, width } = where;
  const fractions = [box[0] / width, box[1] / height, box[2] / width, box[3] / height];
  const [x, y, w, h] = row;
  const compared = rules.isYolor ? [x - w / 2, y - h / 2, x + w / 2, y + h / 2] : fractions;
  return labels.map((one) => ({ ...one, box, compared }));
}

// Centre and size of a box as they are after a way over its corners, which rounds them.
function byCorners([x, y, w, h]) {
  const low = [f32(x - f32(w / 2)), f32(y - f32(h / 2))], high = [f32(x + f32(w / 2)), f32(y + f32(h / 2))];
  return [0, 1].map((i) => f32(f32(low[i] + high[i]) / 2)).concat([0, 1].map((i) => f32(high[i] - low[i])));
}

// The best class of each box, best first.
function bestClasses(kept) {
  const seen = new Set();
  return kept.filter((one) => !seen.has(one.box) && seen.add(one.box));
}
