// The page of noref serve: pictures in, scores out. Sends each picture to this service, and nothing anywhere else.

const AT_ONCE = 3; // requests that are under way
const KNOWN = new Set(["name", "score", "error", "quality", "model", "scale", "judged", "seconds", "interval", "reasons", "cautions"]);
const WORDS = [[70, "good"], [50, "acceptable"], [30, "poor"], [0, "bad"]]; // from this score on
const COLUMNS = ["name", "score", "error", "low", "high", "reasons", "cautions", "model", "judged"];
const $ = (id) => document.getElementById(id);

const items = []; // one a picture: file, name, state, result, the parts of its card
let running = 0;
let key = sessionStorage.getItem("key") ?? "";
let models = [];

// ---- pictures come in

function add(files) {
  for (const file of files) {
    const item = { file, name: file.name || "pasted picture", state: "waiting", result: null };
    items.push(item);
    build(item);
  }
  arrange();
  work();
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((one) => one.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((one) => one.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((good, bad) => entry.file(good, bad))];
  const reader = entry.createReader();
  const found = [];
  for (let some = [null]; some.length; ) {
    some = await new Promise((good, bad) => reader.readEntries(good, bad));
    found.push(...some);
  }
  return (await Promise.all(found.filter((one) => !one.name.startsWith(".")).map(filesOf))).flat();
}

// ---- the service is asked

async function ask(path, item) {
  const headers = { "Content-Type": "application/octet-stream" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const model = item.model ? `${path.includes("?") ? "&" : "?"}model=${encodeURIComponent(item.model)}` : "";
  for (let tries = 0; ; tries++) {
    let answer;
    try {
      answer = await fetch(path + model, { method: "POST", body: item.file, headers });
    } catch (error) {
      throw new Error(item.file.size ? "noref cannot be reached, or the file cannot be read" : "the file is empty or a folder");
    }
    if (answer.status === 401) throw Object.assign(new Error("an API key is needed"), { locked: true });
    if (answer.status !== 503 || tries === 60) return answer;
    await new Promise((done) => setTimeout(done, 1000 * Number(answer.headers.get("Retry-After") ?? 1) * (0.5 + Math.random())));
  }
}

function work() {
  while (running < AT_ONCE) {
    const item = items.find((one) => one.state === "waiting");
    if (!item) break;
    item.state = "running";
    running++;
    score(item).finally(() => { running--; work(); });
  }
  tell();
}

async function score(item) {
  item.model = models.length > 1 ? $("model").value : null;
  try {
    const answer = await ask("/v1/score", item);
    const body = await answer.json();
    item.result = body.results?.[0] ?? { score: null, error: body.error };
    item.state = item.result.score === null ? "failed" : "scored";
  } catch (error) {
    item.result = { score: null, error: error.message };
    item.state = "failed";
    item.retry = true;
    if (error.locked) askKey();
  }
  show(item);
  arrange();
}

async function toggleMap(item) {
  const { layer, map, fade, legend } = item.parts;
  const on = map.getAttribute("aria-pressed") !== "true";
  if (on && !layer.src) {
    map.disabled = true;
    map.textContent = "Drawing…";
    try {
      const answer = await ask("/v1/map?format=layer", item);
      if (!answer.ok) throw new Error((await answer.json()).error);
      layer.src = URL.createObjectURL(await answer.blob());
      layer.alt = `Map of ${item.name}: where it looks worse and where better`;
      legend.querySelector(".low").textContent = `${Math.round(answer.headers.get("Map-Low"))} worse`;
      legend.querySelector(".high").textContent = `better ${Math.round(answer.headers.get("Map-High"))}`;
    } catch (error) {
      map.textContent = "Show map";
      item.parts.error.textContent = `No map: ${error.message}`;
      item.parts.error.hidden = false;
      return;
    } finally {
      map.disabled = false;
      map.focus({ preventScroll: true });
    }
  }
  map.setAttribute("aria-pressed", on);
  map.textContent = on ? "Hide map" : "Show map";
  for (const part of [layer, fade, legend]) part.hidden = !on;
  faded(item);
}

function faded(item) {
  const { photo, layer, fade } = item.parts;
  const strength = layer.hidden ? 0 : fade.firstElementChild.nextElementSibling.value / 100;
  layer.style.opacity = strength;
  photo.style.filter = `grayscale(${strength})`;
}

// ---- cards

function build(item) {
  const card = $("card").content.cloneNode(true).firstElementChild;
  const part = (name) => card.querySelector(name);
  item.card = card;
  item.parts = Object.fromEntries(
    ["photo", "layer", "cannot", "score", "word", "meter", "range", "point", "interval", "reasons", "caution", "error", "mapping", "map", "fade", "again", "legend"]
      .map((name) => [name, part(`.${name}`)]),
  );
  part("h3").textContent = item.name;
  part("h3").title = item.name;
  const { photo, cannot, map, fade, again } = item.parts;
  photo.src = URL.createObjectURL(item.file);
  photo.alt = item.name;
  photo.onerror = () => { photo.hidden = true; cannot.hidden = false; item.unseen = true; };
  map.onclick = () => toggleMap(item);
  map.setAttribute("aria-label", `Map of ${item.name}`);
  fade.querySelector("input").oninput = () => faded(item);
  again.onclick = () => { renew(item); work(); };
  renew(item);
}

function renew(item) {
  Object.assign(item, { state: "waiting", result: null, retry: false });
  const { layer, map } = item.parts;
  if (layer.src) URL.revokeObjectURL(layer.src);
  layer.removeAttribute("src");
  map.setAttribute("aria-pressed", false);
  map.textContent = "Show map";
  for (const name of ["layer", "meter", "interval", "reasons", "caution", "error", "mapping", "fade", "legend"]) item.parts[name].hidden = true;
  faded(item);
  item.card.className = "card waiting";
  item.parts.score.textContent = "waiting…";
  item.parts.word.textContent = "";
  item.card.querySelector("details").hidden = true;
}

function show(item) {
  const { parts, result } = item;
  item.card.className = `card ${item.state}`;
  parts.mapping.hidden = item.state === "failed" && !item.retry;
  parts.map.hidden = item.state !== "scored";
  parts.again.hidden = !item.retry;
  if (item.state === "failed") {
    parts.score.textContent = "";
    parts.word.textContent = "no score";
    parts.error.textContent = result.error;
    parts.error.hidden = false;
    parts.cannot.textContent = "";
    return;
  }
  parts.score.textContent = result.score.toFixed(1);
  parts.word.textContent = word(result.score);
  parts.meter.hidden = false;
  parts.point.style.left = `${result.score}%`;
  interval(parts, result.interval);
  reasons(parts.reasons, result.reasons ?? []);
  parts.caution.textContent = plain(result.cautions ?? []);
  parts.caution.hidden = !parts.caution.textContent;
  more(item);
}

const word = (score) => WORDS.find(([least]) => score >= least)[1];

function interval({ range, interval: text }, ends) {
  range.hidden = text.hidden = !ends;
  if (!ends) return;
  const [low, high] = ends;
  range.style.left = `${low}%`;
  range.style.width = `${high - low}%`;
  text.textContent = `${low.toFixed(0)} to ${high.toFixed(0)} in 9 of 10 cases`;
}

function reasons(list, found) {
  const chips = found.filter((one) => one.severity >= 0.2).map((one) => {
    const chip = document.createElement("li");
    chip.textContent = one.text ?? `${String(one.name).replaceAll("_", " ")} (${Math.round(100 * one.severity)} %)`;
    chip.classList.toggle("slight", one.severity < 0.4);
    return chip;
  });
  list.replaceChildren(...chips.slice(0, 4));
  list.hidden = !chips.length;
}

// what a later model says beyond all this, and what is of less interest
function more(item) {
  const { result } = item;
  const rows = Object.entries(result).filter(([name, value]) => !KNOWN.has(name) && value !== null && String(value) !== "");
  if (result.judged) rows.push(["judged at", `${result.judged[0]} × ${result.judged[1]} pixels`]);
  rows.push(["model", result.model]);
  item.card.querySelector("dl").replaceChildren(...rows.flatMap(([name, value]) => {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name.replaceAll("_", " ");
    text.textContent = plain(value);
    return [term, text];
  }));
  item.card.querySelector("details").hidden = false;
}

function plain(value) {
  if (Array.isArray(value)) return value.map(plain).join(", ");
  if (value && typeof value === "object") return value.text ?? Object.entries(value).map(([k, v]) => `${k} ${plain(v)}`).join(", ");
  return typeof value === "number" ? String(Math.round(1000 * value) / 1000) : String(value);
}

// ---- order, filter, summary

function shown() {
  const limit = $("filter").checked ? Number($("threshold").value) : Infinity;
  const value = (item) => item.result?.score ?? null;
  const order = {
    added: () => 0,
    worst: (a, b) => (value(a) ?? 1000) - (value(b) ?? 1000),
    best: (a, b) => (value(b) ?? -1) - (value(a) ?? -1),
    name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }),
  }[$("sort").value];
  return items.filter((item) => limit === Infinity || (value(item) !== null && value(item) < limit)).toSorted(order);
}

function arrange() {
  const [list, focused] = [$("cards"), document.activeElement];
  const cards = shown().map((item) => item.card);
  for (const card of [...list.children]) if (!cards.includes(card)) card.remove();
  cards.forEach((card, place) => { if (list.children[place] !== card) list.insertBefore(card, list.children[place] ?? null); });
  if (focused?.isConnected) focused.focus({ preventScroll: true });
  document.body.classList.toggle("some", items.length > 0);
  $("drop-title").textContent = items.length ? "Drop more pictures here" : "Drop pictures here";
  $("bar").hidden = items.length === 0;
  $("points").textContent = $("threshold").value;
  $("none").hidden = items.length === 0 || cards.length > 0;
  $("none").textContent = `No picture is below ${$("threshold").value}.`;
  $("save").disabled = items.every((item) => !item.result);
  tell();
}

function tell() {
  const count = (state) => items.filter((item) => item.state === state).length;
  const [scored, failed] = [count("scored"), count("failed")];
  const parts = [`${scored} scored`];
  if (failed) parts.push(`${failed} without a score`);
  const left = items.length - scored - failed;
  if (left) parts.push(`${left} to go`);
  if ($("filter").checked) parts.push(`${shown().length} below ${$("threshold").value}`);
  $("count").textContent = items.length ? parts.join(" · ") : "";
  clearTimeout(tell.timer); // a screen reader gets a summary when things have come to rest
  tell.timer = setTimeout(() => { $("said").textContent = items.length ? parts.join(", ") : ""; }, 700);
}

function save() {
  const fields = (item) => {
    const result = item.result ?? { error: "not scored yet" };
    const [low, high] = result.interval ?? [];
    const row = { ...result, name: item.name, low, high, reasons: (result.reasons ?? []).map((one) => one.text ?? one.name).join("; "), cautions: result.cautions?.join("; "), judged: result.judged?.join(" x ") };
    return COLUMNS.map((column) => quoted(row[column]));
  };
  const text = [COLUMNS, ...shown().map(fields)].map((row) => `${row.join(",")}\r\n`).join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "scores.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function quoted(value) {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function clear() {
  for (const { parts } of items) for (const one of [parts.photo, parts.layer]) if (one.src) URL.revokeObjectURL(one.src);
  items.length = 0;
  arrange();
  $("choose").focus();
}

// ---- key and models

function askKey() {
  $("key-note").textContent = key ? "That key is not the right one." : "";
  $("key").hidden = false;
  $("key-text").focus();
}

async function loadModels() {
  const answer = await fetch("/v1/models", { headers: key ? { Authorization: `Bearer ${key}` } : {} });
  if (answer.status === 401) return askKey();
  models = (await answer.json()).models;
  $("model").replaceChildren(...models.map(({ name }) => new Option(name)));
  $("model-label").hidden = models.length < 2;
  return undefined;
}

$("key").onsubmit = (event) => {
  event.preventDefault();
  key = $("key-text").value.trim();
  sessionStorage.setItem("key", key);
  $("key").hidden = true;
  for (const item of items) if (item.retry) renew(item);
  loadModels().then(work);
};

// ---- what people do

$("choose").onclick = () => $("files").click();
$("camera").onclick = () => $("photo").click();
for (const input of [$("files"), $("photo")]) input.onchange = () => { add(input.files); input.value = ""; };
for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  add(await dropped(event.dataTransfer));
});
document.addEventListener("paste", (event) => add(event.clipboardData.files));
for (const name of ["sort", "filter", "threshold"]) $(name).addEventListener("input", arrange);
$("threshold").addEventListener("input", () => { $("filter").checked = true; arrange(); });
$("model").onchange = () => { for (const item of items) renew(item); arrange(); work(); };
$("save").onclick = save;
$("clear").onclick = clear;
loadModels().catch(() => {});
