// Photos from wherever they are dropped, chosen or pasted: calls back with files, or with a URL.
import { $ } from "./dom.js";

const NAME = /\.(jpe?g|png|webp|bmp|tiff?|gif|avif|heic|heif)$/i;

export function pick(withFiles, withUrl) {
  const chosen = (input) => {
    withFiles([...input.files].filter((file) => !input.webkitdirectory || NAME.test(file.name)).map(named));
    input.value = "";
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
    const found = entries.length ? (await Promise.all(entries.map((entry) => walk(entry, true)))).flat() : plain;
    if (found.length) withFiles(found);
    else if (/^https?:/.test(url)) withUrl(url);
  });
}

// All photos under an entry; a file that was dropped itself is taken whatever its name is.
async function walk(entry, itself = false) {
  if (entry.isFile) {
    if (!itself && !NAME.test(entry.name)) return [];
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
