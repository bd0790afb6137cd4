// The images, newest first; the filters are in the page's address.
import { json, pageOf } from "./api.js";
import { $, chip, el, notify, outcome, plural, time } from "./dom.js";
import "./session.js";
import { thumbnail } from "./thumbnails.js";
import { hasEnded, watch } from "./watch.js";

const FILTERS = ["status", "request_id"];
const PAGE = 24;

let cursor = null;
let asked = 0;

function card(image) {
  const frame = el("span", { className: "frame" });
  const told = el("span", { className: "told" });
  const tell = (now) => {
    told.replaceChildren(chip(now.status), " ", el("span", { className: "words" }, outcome(now)));
    if (now.status === "completed") thumbnail(frame, now.id, 480);
    else frame.classList.toggle("empty", hasEnded(now));
  };
  tell(image);
  if (!hasEnded(image)) watch(image.id, (now) => now && tell(now));
  const name = el("span", { className: "name" }, image.request_id);
  return el("li", {}, el("a", { className: "tile", href: pageOf(image.id) }, frame, name, told, el("span", { className: "when" }, time(image.created_at))));
}

async function load({ more = false } = {}) {
  const turn = (asked += 1);
  const query = new URLSearchParams({ limit: PAGE });
  for (const name of FILTERS) {
    const value = new URLSearchParams(location.search).get(name);
    if (value) query.set(name, value);
  }
  if (more && cursor) query.set("cursor", cursor);
  try {
    const page = await json(`/v1/images?${query}`);
    if (turn !== asked) return; // another filter was chosen meanwhile
    cursor = page.next_cursor;
    const cards = page.images.map(card);
    if (more) $("gallery").append(...cards);
    else $("gallery").replaceChildren(...cards);
    $("more").hidden = cursor === null;
    const count = $("gallery").children.length;
    $("found").textContent = count ? `${plural(count, "image")}${cursor ? ", and there are more" : ""}` : "There is no such image.";
    if (more) cards[0]?.querySelector("a").focus();
  } catch (error) {
    notify(error.message, "bad");
  }
}

function showFilters() {
  const query = new URLSearchParams(location.search);
  for (const name of FILTERS) $("filters").elements[name].value = query.get(name) ?? "";
}

function filter(event) {
  event.preventDefault();
  const chosen = [...new FormData($("filters"))].filter(([, value]) => value !== "");
  const query = new URLSearchParams(chosen).toString();
  history.pushState(null, "", query ? `?${query}` : location.pathname);
  load();
}

$("filters").addEventListener("submit", filter);
$("status").addEventListener("change", filter);
$("request").addEventListener("search", filter);
$("more").addEventListener("click", () => load({ more: true }));
addEventListener("popstate", () => (showFilters(), load()));
showFilters();
load();
