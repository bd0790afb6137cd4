// Sends photos a few at a time, and shows what becomes of each.
import { showActivity } from "./activity.js";
import { pageOf, send } from "./api.js";
import { $, chip, el, outcome, plural } from "./dom.js";
import { pick } from "./picking.js";
import "./session.js";
import { thumbnail } from "./thumbnails.js";
import { hasEnded, watch } from "./watch.js";

const SENDERS = 3;
const REMEMBERED = "facet-sent";
const MOST_REMEMBERED = 100;

const waiting = [];
const rows = new Set();
let senders = 0;

class Row {
  constructor(name) {
    this.state = "waiting";
    this.frame = el("span", { className: "frame" });
    this.name = el("span", { className: "name" }, name);
    this.told = el("span", { className: "told" });
    this.element = el("li", { className: "row" }, this.frame, this.name, this.told);
    rows.add(this);
    $("sent-list").prepend(this.element);
    $("sent").hidden = false;
    this.tell("waiting");
  }

  tell(state, words = "") {
    this.state = state;
    this.told.replaceChildren(chip(state), ...(words ? [" ", el("span", { className: "words" }, words)] : []));
    summarise();
  }

  // Follow an image that was accepted.
  follow(id, name) {
    this.id = id;
    this.name.replaceChildren(el("a", { href: pageOf(id) }, name));
    remember();
    watch(id, (image) => {
      if (!image) return this.tell("removed");
      this.name.firstChild.textContent = image.request_id;
      this.tell(image.status, outcome(image));
      if (hasEnded(image) && image.status === "completed" && !this.frame.firstChild) thumbnail(this.frame, id, 160);
    });
  }
}

function summarise() {
  const all = [...rows];
  const done = all.filter((row) => row.state === "completed").length;
  const failed = all.filter((row) => ["failed", "cancelled", "refused"].includes(row.state)).length;
  $("sent-summary").textContent = `${done} of ${plural(all.length, "photo")} done${failed ? `, ${failed} failed` : ""}`;
}

function remember() {
  const kept = [...rows].filter((row) => row.id).map((row) => [row.id, row.name.textContent]);
  sessionStorage.setItem(REMEMBERED, JSON.stringify(kept.slice(-MOST_REMEMBERED)));
}

function fields(name) {
  const asked = Object.fromEntries([...new FormData($("options"))].filter(([, value]) => value !== ""));
  const named = asked.request_id ?? name;
  return { ...asked, request_id: named.replace(/[\x00-\x1f\x7f]/g, " ").slice(-200) };
}

const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");

function preview(file) {
  const done = ({ type, target }) => {
    URL.revokeObjectURL(target.src);
    if (type === "error") target.remove(); // a format that this browser does not know
  };
  return el("img", { alt: "", loading: "lazy", decoding: "async", onload: done, onerror: done, src: URL.createObjectURL(file) });
}

function queue(jobs) {
  if (!$("options").checkValidity()) {
    $("options").closest("details").open = true;
    $("options").reportValidity();
    return;
  }
  for (const { file, url, name } of jobs) {
    const row = new Row(name);
    if (file) row.frame.append(preview(file));
    waiting.push({ row, file, url, asked: fields(name), key: newKey() });
  }
  while (senders < SENDERS && waiting.length) sendAll();
}

async function sendAll() {
  senders += 1;
  while (waiting.length) await sendOne(waiting.shift());
  senders -= 1;
}

async function sendOne(job) {
  const { row, file, url, asked, key } = job;
  row.tell("sending");
  let body = { ...asked, image_url: url };
  if (file) {
    body = new FormData();
    for (const [name, value] of Object.entries(asked)) body.append(name, value);
    body.append("image", file, file.name);
  } else {
    for (const name of ["min_confidence", "min_face_size"]) if (name in body) body[name] = Number(body[name]);
  }
  try {
    const { id } = await send("/v1/images", body, key);
    row.tell("queued");
    row.follow(id, asked.request_id);
  } catch (error) {
    if (![0, 429, 503].includes(error.status)) return row.tell("refused", error.message);
    row.tell("waiting", error.message);
    await new Promise((resolve) => setTimeout(resolve, 1000 * (error.wait || 5)));
    waiting.unshift(job);
  }
}

pick(
  (files) => queue(files),
  (url) => queue([{ url, name: url.split(/[?#]/)[0].split("/").findLast(Boolean) }]),
);
$("sent-clear").addEventListener("click", () => {
  for (const row of rows) {
    if (!row.id) continue;
    row.element.remove();
    rows.delete(row);
  }
  $("sent").hidden = rows.size === 0;
  remember();
});
for (const [id, name] of JSON.parse(sessionStorage.getItem(REMEMBERED) ?? "[]")) new Row(name).follow(id, name);
showActivity();
