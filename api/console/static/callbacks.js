// The deliveries of an image's callbacks with their attempts; one can be sent again.
import { json } from "./api.js";
import { $, chip, el, notify, plural, time } from "./dom.js";

const PAUSE = 2000;

let turn = 0;
let drawn = "";

// Shows them until none is pending; a later call takes over from an earlier one.
export async function showCallbacks(imageId) {
  const mine = (turn += 1);
  while (mine === turn) {
    let pause = PAUSE;
    try {
      const { deliveries } = await json(`/v1/deliveries?image_id=${imageId}`);
      $("callbacks").hidden = deliveries.length === 0;
      if (JSON.stringify(deliveries) !== drawn) draw(deliveries);
      drawn = JSON.stringify(deliveries);
      if (!deliveries.some((delivery) => delivery.state === "pending")) return;
    } catch (error) {
      pause = 1000 * (error.wait || 5);
    }
    await new Promise((resolve) => setTimeout(resolve, document.hidden ? 5 * pause : pause));
  }
}

function draw(deliveries) {
  const focused = document.activeElement?.dataset?.delivery;
  $("deliveries").replaceChildren(...deliveries.map(card));
  if (focused) document.querySelector(`[data-delivery="${CSS.escape(focused)}"]`)?.focus();
}

function card(delivery) {
  const again = el("button", { type: "button", onclick: () => redeliver(delivery) }, "Redeliver");
  again.dataset.delivery = delivery.id;
  const next = delivery.next_attempt_at && delivery.attempts.length ? ["Next attempt: ", time(delivery.next_attempt_at)] : [];
  return el(
    "div",
    { className: "card" },
    el("div", { className: "callback-head" }, chip(delivery.state), el("code", {}, delivery.url), again),
    delivery.reason ? el("p", {}, delivery.reason) : null,
    el("p", { className: "muted small" }, delivery.attempts.length ? plural(delivery.attempts.length, "attempt") : "No attempt yet", next.length ? ". " : "", ...next),
    delivery.attempts.length ? attempts(delivery.attempts) : null,
  );
}

function attempts(made) {
  const head = ["At", "Answer", "Took", "What it said"].map((name) => el("th", { scope: "col" }, name));
  const rows = made.toReversed().map((attempt) =>
    el(
      "tr",
      {},
      el("td", {}, time(attempt.at)),
      el("td", {}, attempt.status_code ? String(attempt.status_code) : "–"),
      el("td", {}, attempt.seconds === null ? "under way" : `${Math.round(attempt.seconds * 1000)} ms`),
      el("td", { className: "said" }, attempt.error ?? (attempt.answer || "–")),
    ),
  );
  const region = el("div", { className: "scrolls" }, el("table", {}, el("caption", { className: "sr" }, "Attempts"), el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)));
  for (const [name, value] of [["role", "region"], ["aria-label", "Attempts"], ["tabindex", "0"]]) region.setAttribute(name, value);
  return region;
}

async function redeliver(delivery) {
  try {
    await json(`/v1/deliveries/${delivery.id}/redeliver`, { method: "POST" });
    notify("The callback is sent again.");
    showCallbacks(delivery.image_id);
  } catch (error) {
    notify(error.message, "bad");
  }
}
