// The script of the page. Every page is whole without it, but for what changes something.
"use strict";
const main = document.querySelector("main");

// ---- times of the reader's own zone --------------------------------------------------------
const two = (number) => String(number).padStart(2, "0");
const day = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
const clock = (at) => [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
function localize(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    time.title = at.toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
    if (time.dataset.show === "clock") time.textContent = clock(at);
    if (time.dataset.show === "moment") time.textContent = `${day(at)} ${clock(at)}`;
  }
}

// A box that scrolls can be scrolled by keys, too; one that does not is no stop on the way.
function letScroll() {
  for (const box of main.querySelectorAll(".scroll")) box.tabIndex = box.scrollWidth > box.clientWidth ? 0 : -1;
}
window.addEventListener("resize", letScroll);

// ---- a new state of the page ---------------------------------------------------------------
let shown = 0;
async function show(url) {
  const turn = ++shown;
  const answer = await fetch(url, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  if (!answer.ok && answer.status !== 404) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("main");
  if (!fresh || turn !== shown) return;
  document.title = page.title;
  replace(fresh);
}

// Someone types, or has opened a menu: those parts stay as they are.
function busy(part) {
  return part.contains(document.activeElement) && /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)
    || part.querySelector("details[open].menu, form[data-touched]") !== null;
}

function replace(fresh) {
  const parts = [...main.querySelectorAll("[data-part]")];
  const others = new Map([...fresh.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
  const same = parts.length === others.size && parts.every((part) => others.has(part.dataset.part));
  if (!same) {
    const focused = document.activeElement?.id;
    main.replaceChildren(...fresh.childNodes);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    main.dataset.live = fresh.dataset.live ?? "";
    localize(main);
    letScroll();
    return;
  }
  for (const part of parts) {
    const next = others.get(part.dataset.part);
    if (busy(part) || part.innerHTML === next.innerHTML) continue;
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    const scrolled = [...part.querySelectorAll("[data-scroll]")].map((each) => each.scrollTop);
    part.replaceChildren(...next.childNodes);
    [...part.querySelectorAll("[data-scroll]")].forEach((each, number) => { each.scrollTop = scrolled[number] ?? each.scrollHeight; });
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    localize(part);
  }
  main.dataset.live = fresh.dataset.live ?? "";
  letScroll();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-swap]");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
  event.preventDefault();
  history.pushState(null, "", link.href); // at once: what is shown meanwhile must be this page
  show(link.href).catch(() => location.reload());
});
window.addEventListener("popstate", () => show(location.href).catch(() => location.reload()));

// ---- what happens meanwhile ----------------------------------------------------------------
let due = 0;
let next = 0;
// At most once a second; a page that takes long to make is asked for less often.
function soon() {
  if (due || document.hidden) return;
  due = setTimeout(async () => {
    const began = Date.now();
    await show(location.href).catch(() => {});
    due = 0;
    next = Date.now() + Math.max(1000, 4 * (Date.now() - began));
  }, Math.max(150, next - Date.now()));
}
let stream = null;
let waits = 0; // seconds before it is tried again
function listen() {
  const url = main.dataset.live;
  const from = url?.split("?")[0];
  if (stream && stream.from === from) return;
  stream?.source.close();
  clearTimeout(stream?.again);
  stream = null;
  if (!url) return;
  const source = new EventSource(url, { withCredentials: true });
  for (const kind of ["message", "event", "progress", "log", "end", "busy"]) source.addEventListener(kind, soon);
  for (const kind of ["end", "damaged"]) source.addEventListener(kind, () => source.close());
  const own = stream = { source, from, again: 0 };
  source.addEventListener("open", () => { waits = 0; });
  // A browser comes back by itself, but not where the answer was an error: then ask for the page meanwhile.
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED || stream !== own) return;
    waits = Math.min(60, 2 * waits || 2);
    own.again = setTimeout(() => {
      if (stream !== own) return;
      stream = null;
      soon();
      listen();
    }, waits * (0.5 + Math.random()) * 1000);
  });
}
new MutationObserver(listen).observe(main, { attributes: true, attributeFilter: ["data-live"] });
document.addEventListener("visibilitychange", () => { if (main.dataset.live) soon(); });
// Bars of what runs grow by themselves, though nothing is recorded meanwhile.
setInterval(() => { if (main.dataset.live && main.querySelector("[data-grows]")) soon(); }, 2000);

// ---- forms that change something -----------------------------------------------------------
function read(form) {
  const body = Object.create(null);  // a key of a user may be "constructor"
  const fields = [...form.querySelectorAll("[data-at]")].map((field) => ({ field, path: JSON.parse(field.dataset.at) }));
  for (const { field, path } of fields) {
    const value = valueOf(field);
    if (value === undefined) continue;
    let place = body;
    for (const key of path.slice(0, -1)) place = place[key] ??= Object.create(null);
    if (!(path.at(-1) in place)) place[path.at(-1)] = value;
  }
  // An object that may be left out is left out if nobody has typed anything into it.
  for (const { field, path } of fields.filter(({ field }) => field.dataset.type === "optional").reverse()) {
    const around = path.slice(0, -1).reduce((place, key) => place?.[key], body);
    const key = path.at(-1);
    if (!around || !(key in around)) continue;
    const inside = fields.filter((each) => each.path.length > path.length && path.every((part, at) => part === each.path[at]));
    if ("given" in field.dataset ? !isBlank(around[key]) : inside.some((each) => isChanged(each.field))) continue;
    if (field.dataset.empty) around[key] = new Raw(field.dataset.empty);
    else delete around[key];
  }
  return body;
}
function isChanged(field) {
  if (field.type === "checkbox") return field.checked !== field.defaultChecked;
  if (field.options) return [...field.options].some((each) => each.selected !== (each.defaultSelected || (each.index === 0 && !field.querySelector("[selected]"))));
  return field.value !== field.defaultValue;
}
function isBlank(value) {
  if (value === false || value instanceof Raw && value.text === "null") return true;
  return typeof value === "object" && !(value instanceof Raw) && Object.values(value).every(isBlank);
}
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
function valueOf(field) {
  const text = field.value;
  const type = field.dataset.type;
  if (type === "boolean") return field.checked;
  if (type === "object" || type === "optional") return Object.create(null);
  if (type === "string" || type === "text" ? text === "" : text.trim() === "") {
    return field.dataset.empty ? new Raw(field.dataset.empty) : undefined;
  }
  if (type === "json") {
    JSON.parse(text);
    return new Raw(text);
  }
  // What is no number is sent as a text: the server says what is wrong with it.
  if (type === "integer" || type === "number") return NUMBER.test(text.trim()) ? new Raw(text.trim()) : text.trim();
  return text;
}
// A number keeps all of its digits: JavaScript would round a long one.
class Raw { constructor(text) { this.text = text; } }
function write(value) {
  if (value instanceof Raw) return value.text;
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`;
  if (value && typeof value === "object") {
    return `{${Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}:${write(each)}`).join(",")}}`;
  }
  return JSON.stringify(value);
}
document.addEventListener("input", (event) => { const form = event.target.closest("form[data-send]"); if (form) form.dataset.touched = ""; });
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-send]");
  if (!form) return;
  event.preventDefault();
  const whole = form.querySelector("[data-whole]");
  const buttons = form.querySelectorAll("button");
  for (const each of form.querySelectorAll(".problem")) each.textContent = "";
  for (const button of buttons) button.disabled = true;
  try {
    const again = JSON.parse(form.dataset.repeat ?? "{}");  // it may have been done meanwhile
    const body = form.dataset.method === "DELETE" ? undefined : write({ ...read(form), ...again });
    const answer = await fetch(form.dataset.send, {
      method: form.dataset.method || "POST",
      headers: { "Content-Type": "application/json", "X-Gorkflow": "1", Accept: "application/json" },
      credentials: "same-origin",
      body,
    });
    const told = await answer.json().catch(() => ({}));
    delete form.dataset.repeat;
    if (!answer.ok) {
      if (told.repeat) form.dataset.repeat = JSON.stringify(told.repeat);
      for (const { path, message } of told.problems ?? []) {
        const field = [...form.querySelectorAll("[data-of]")].find((each) => JSON.parse(each.dataset.of).join(".") === path);
        if (field) field.textContent = message;
      }
      throw new Error(told.error ?? `The server answered ${answer.status}.`);
    }
    delete form.dataset.touched;
    form.closest("details[open]")?.removeAttribute("open");
    const next = form.dataset.next?.replace("{run_id}", encodeURIComponent(told.run_id ?? ""));
    if (next) location.assign(next); else await show(location.href);
  } catch (error) {
    whole.textContent = error instanceof SyntaxError ? `This is not JSON: ${error.message}` : error.message;
  } finally {
    for (const button of buttons) button.disabled = false;
  }
});

// ---- keys ----------------------------------------------------------------------------------
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    const open = document.querySelector("details.menu[open]");
    if (open) { open.removeAttribute("open"); open.querySelector("summary").focus(); }
  }
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) {
    event.preventDefault();
    document.querySelector(".top input")?.focus();
  }
});
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.menu[open]")) if (!open.contains(event.target)) open.removeAttribute("open");
});

localize(document);
letScroll();
listen();
