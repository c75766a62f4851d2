// Shows /openapi.json as a page.

const $ = (id) => document.getElementById(id);

function part(kind, text, name) {
  const found = document.createElement(kind);
  if (text !== undefined) found.textContent = text;
  if (name) found.className = name;
  return found;
}

// paragraphs of text, with the words between backticks as code
function prose(text) {
  return text.split(/\n\s*\n/).map((paragraph) => {
    const found = part("p");
    found.append(...paragraph.replaceAll("\n", " ").split("`").map((words, place) => (place % 2 ? part("code", words) : words)));
    return found;
  });
}

function table(title, rows) {
  if (!rows.length) return [];
  const found = part("table");
  for (const row of rows) {
    const line = part("tr");
    line.append(...row.map((text) => part("td", text ?? "")));
    found.append(line);
  }
  return [part("h4", title), found];
}

const { info, paths, components } = await (await fetch("/openapi.json")).json();
const whole = (schema) => (schema?.$ref ? components.schemas[schema.$ref.split("/").pop()] : schema ?? {});

function kind(schema) {
  if (!schema) return "";
  const one = whole(schema);
  if (one.anyOf) return one.anyOf.map(kind).join(" or ");
  if (one.enum) return one.enum.join(" | ");
  if (one.prefixItems) return `[${one.prefixItems.map(kind).join(", ")}]`;
  if (one.type === "array") return `list of ${kind(one.items)}`;
  if (schema.$ref) return one.title;
  return one.format === "binary" ? "file" : one.type ?? "any";
}

// the fields of an answer; those of the entries of a list follow, indented by its name
function fields(schema, before = "") {
  const one = whole(schema);
  return Object.entries(one.properties ?? {}).flatMap(([name, field]) => {
    const inner = whole(field.items ?? (field.anyOf ?? []).find((other) => other.$ref) ?? field);
    const row = [before + name, kind(field), field.description ?? whole(field).description];
    return [row, ...(inner.properties ? fields(inner, `${before}${name}${field.items ? "[]" : ""}.`) : [])];
  });
}

function section(path, method, call) {
  const found = part("section", undefined, "path");
  const head = part("h3");
  head.append(part("span", method.toUpperCase(), `method ${method}`), part("code", path));
  found.append(head, ...prose(call.description));
  const parameters = (call.parameters ?? []).map((one) => [one.name, kind(one.schema), one.schema.default ? `default ${one.schema.default}` : one.description]);
  found.append(...table("Parameters", parameters));
  const bodies = Object.entries(call.requestBody?.content ?? {}).map(([type, { schema }]) => [type, schema.properties ? Object.entries(schema.properties).map(([name, one]) => `${name}: ${kind(one)}`).join(", ") : "the picture itself"]);
  found.append(...table("Body, one of", bodies));
  const answers = Object.entries(call.responses).map(([status, one]) => [status, Object.keys(one.content ?? {}).join(", "), one.description]);
  found.append(...table("Answers", answers));
  const good = call.responses[200]?.content?.["application/json"]?.schema;
  found.append(...table("Fields of 200", fields(good)));
  return found;
}

$("version").textContent = info.version;
$("about").append(...prose(info.description));
for (const place of document.querySelectorAll(".place")) place.textContent = location.origin;
for (const [path, methods] of Object.entries(paths)) {
  for (const [method, call] of Object.entries(methods)) $("paths").append(section(path, method, call));
}
