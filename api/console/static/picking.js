// Photos from wherever they are dropped, chosen or pasted: calls back with files, or with a URL.
import { $, plural } from "./dom.js";
import { isPicture } from "./signatures.js";

const NAME = /\.(jpe?g|jpe|jfif|mpo|png|webp|bmp|dib|tiff?|gif|avif|hei[cf]|hif)$/i;
const MOST_NAMED = 10;

export function pick(withFiles, withUrl) {
  const chosen = async (input) => {
    const files = [...input.files].map(named);
    input.value = "";
    withFiles(input.webkitdirectory ? await photosOf(files) : files);
  };
  for (const [button, input] of [["choose-photos", "photos"], ["choose-folder", "folder"]]) {
    $(button).addEventListener("click", () => $(input).click());
    $(input).addEventListener("change", () => chosen($(input)));
  }
  $("by-url").addEventListener("submit", (event) => {
    event.preventDefault();
    withUrl($("url").value.trim());
    $("url").value = "";
  });
  dropping(withFiles, withUrl);
  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("input, dialog")) return;
    const files = [...event.clipboardData.files];
    const text = event.clipboardData.getData("text").trim();
    if (files.length) withFiles(files.map(named));
    else if (/^https?:\/\/\S+$/.test(text)) withUrl(text);
  });
}

const named = (file) => ({ file, name: file.webkitRelativePath || file.name });

// A folder's photos, by their content; what is only called a photo is sent too, and refused with the reason.
async function photosOf(files) {
  const isPhoto = async ({ file, name }) =>
    !/(^|\/)\./.test(name) && (NAME.test(name) || (await isPicture(file).catch(() => true)));
  const taken = await Promise.all(files.map(isPhoto));
  const leftOut = files.filter((_, index) => !taken[index]).map(({ name }) => name);
  const more = leftOut.length > MOST_NAMED ? ` and ${leftOut.length - MOST_NAMED} more` : "";
  $("left-out").textContent = leftOut.length
    ? `Left out ${plural(leftOut.length, "file")}, being no photo: ${leftOut.slice(0, MOST_NAMED).join(", ")}${more}.`
    : "";
  return files.filter((_, index) => taken[index]);
}

function dropping(withFiles, withUrl) {
  const zone = $("drop");
  const over = (event) => {
    event.preventDefault();
    zone.classList.toggle("over", event.type !== "dragleave" || zone.contains(event.relatedTarget));
  };
  for (const kind of ["dragenter", "dragover", "dragleave"]) document.addEventListener(kind, over);
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const url = event.dataTransfer.getData("text/uri-list").split("\n")[0].trim();
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const plain = [...event.dataTransfer.files].map(named); // read now: a transfer is empty once this has waited
    const walked = (await Promise.all(entries.map((entry) => walk(entry)))).flat();
    const inside = await photosOf(walked.filter(({ name }) => name.includes("/")));
    const found = entries.length ? [...walked.filter(({ name }) => !name.includes("/")), ...inside] : plain;
    if (found.length) withFiles(found);
    else if (/^https?:/.test(url)) withUrl(url);
  });
}

// All files under an entry, with their paths; a file that was dropped itself is taken whatever it is.
async function walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, name: entry.fullPath.replace(/^\//, "") }];
  }
  const reader = entry.createReader();
  const entries = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    entries.push(...some);
  }
  return (await Promise.all(entries.map((each) => walk(each)))).flat();
}
