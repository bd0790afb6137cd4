// Elements, and how things are said. Text is only ever set as text, so nothing that was sent can be markup.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export function svg(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

export const chip = (status) => el("span", { className: `chip ${status}` }, status);

export function time(at) {
  if (!at) return "–";
  const when = new Date(at);
  const year = when.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  const parts = { year, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  return el("time", { dateTime: at, title: when.toISOString() }, when.toLocaleString([], parts));
}

export function bytes(count) {
  if (count === null) return "–";
  return count < 1e6 ? `${Math.max(1, Math.round(count / 1e3))} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

export function notify(message, kind = "") {
  const toast = el("p", { className: `toast ${kind}` }, message);
  $("toasts").append(toast);
  setTimeout(() => toast.remove(), 8000);
}

// What a status is for people, beside its chip.
export function outcome(image) {
  if (image.status === "completed") return image.faces.length ? plural(image.faces.length, "face") : "no face";
  return image.failure ? image.failure.reason : "";
}
