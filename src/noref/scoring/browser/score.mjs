// Written by `noref export`. Scores pictures in a browser as noref does; README.md beside it has the rule in words.

const cubic = (x) => {
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
};
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const lanczos = (x) => (x < 3 ? sinc(x) * sinc(x / 3) : 0);
const KERNELS = { bicubic: [cubic, 2], lanczos: [lanczos, 3] }; // of a distance, and where they end

const halfToEven = (x) => {
  const whole = Math.floor(x);
  return x - whole === 0.5 ? whole + (whole % 2) : Math.round(x);
};

/** Load the model: `ort` is onnxruntime-web, `folder` the address of the exported folder. */
export async function load(ort, folder = ".", options = { executionProviders: ["wasm"] }) {
  const card = await (await fetch(`${folder}/model.card.json`)).json();
  const session = await ort.InferenceSession.create(`${folder}/model.onnx`, options);
  return { ort, card, session };
}

/** Score of a picture, 0 to 100, higher is better: a File or Blob, an image, canvas or bitmap, or an ImageData. */
export async function score(model, source) {
  const rule = model.card.input_rule;
  const picture = rgb(source?.data ? source : await pixels(source));
  const { width, height } = targetSize(picture.width, picture.height, rule.size);
  const resized = resize(picture, width, height, rule.resize.filter);
  const parts = rule.size.crop ? crops(resized, rule.size.crop) : [resized];
  let sum = 0;
  for (const part of parts) sum += await quality(model, part);
  return 100 * Math.min(1, Math.max(0, sum / parts.length));
}

async function quality({ ort, session, card }, { data, width, height }) {
  const image = new ort.Tensor("uint8", data, [1, height, width, 3]);
  const name = session.outputNames[0];
  return (await session.run({ [card.input_rule.tensor.name]: image }, [name]))[name].data[0];
}

/** RGBA pixels of whatever a canvas can draw, upright, in sRGB, on white. */
export async function pixels(source) {
  const image = source instanceof Blob ? await createImageBitmap(source) : source;
  const [width, height] = [image.naturalWidth ?? image.width, image.naturalHeight ?? image.height];
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, width, height);
}

function rgb({ data, width, height }) {
  const found = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; to < found.length; from += 4) {
    found[to++] = data[from];
    found[to++] = data[from + 1];
    found[to++] = data[from + 2];
  }
  return { data: found, width, height };
}

/** The size at which a picture is scored. */
export function targetSize(width, height, size) {
  const [short, long] = [Math.min(width, height), Math.max(width, height)];
  if (short < 1 || long > size.max_aspect * short) throw new Error(`${width} x ${height} pixels are too long and thin`);
  const fit = size.max_pixels === null ? Infinity : Math.sqrt(size.max_pixels / (width * height));
  const least = Math.max(size.min_side, size.crop ?? 0) / short;
  let scale = Math.min(1, fit);
  if (least > scale) scale = size.crop ? least : Math.min(least, Math.max(fit, size.least_side / short));
  return { width: Math.max(1, halfToEven(width * scale)), height: Math.max(1, halfToEven(height * scale)) };
}

/** { data: RGB bytes, width, height } at another size: rows first, then columns, whole levels after each. */
export function resize({ data, width, height }, newWidth, newHeight, filter = "bicubic") {
  const along = (from, to) => windows(from, to, ...KERNELS[filter]);
  let found = data;
  if (newWidth !== width) {
    found = new Uint8Array(3 * newWidth * height);
    along(width, newWidth).forEach(([first, weights], x) => {
      for (let y = 0; y < height; y++) {
        blend(data, 3 * (y * width + first), 3, weights, found, 3 * (y * newWidth + x));
      }
    });
  }
  if (newHeight === height) return { data: found, width: newWidth, height };
  const last = new Uint8Array(3 * newWidth * newHeight);
  along(height, newHeight).forEach(([first, weights], y) => {
    for (let x = 0; x < newWidth; x++) {
      blend(found, 3 * (first * newWidth + x), 3 * newWidth, weights, last, 3 * (y * newWidth + x));
    }
  });
  return { data: last, width: newWidth, height: newHeight };
}

/** For each new pixel the first old one that counts, and the weights from there; they sum to 1. */
function windows(from, to, kernel, support) {
  const scale = from / to;
  const wide = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support * wide + 0.5));
    const end = Math.min(from, Math.floor(centre + support * wide + 0.5));
    const weights = Array.from({ length: end - first }, (_, k) => kernel(Math.abs(first + k - centre + 0.5) / wide));
    const sum = weights.reduce((a, b) => a + b, 0);
    return [first, Float64Array.from(weights, (w) => w / sum)];
  });
}

function blend(data, start, step, weights, out, place) {
  let [red, green, blue] = [0.5, 0.5, 0.5]; // half a level: what follows rounds down
  for (let k = 0, i = start; k < weights.length; k++, i += step) {
    red += weights[k] * data[i];
    green += weights[k] * data[i + 1];
    blue += weights[k] * data[i + 2];
  }
  out[place] = red < 0 ? 0 : red > 255 ? 255 : red;
  out[place + 1] = green < 0 ? 0 : green > 255 ? 255 : green;
  out[place + 2] = blue < 0 ? 0 : blue > 255 ? 255 : blue;
}

/** The fewest square crops that cover a picture, evenly spaced. */
function crops({ data, width, height }, side) {
  const starts = (length) => {
    const gaps = Math.ceil(length / side) - 1;
    if (!gaps) return [Math.floor((length - side) / 2)];
    return Array.from({ length: gaps + 1 }, (_, i) => halfToEven((i * (length - side)) / gaps));
  };
  const cut = (top, left) => {
    const part = new Uint8Array(3 * side * side);
    for (let y = 0; y < side; y++) {
      const from = 3 * ((top + y) * width + left);
      part.set(data.subarray(from, from + 3 * side), 3 * y * side);
    }
    return { data: part, width: side, height: side };
  };
  return starts(height).flatMap((top) => starts(width).map((left) => cut(top, left)));
}
