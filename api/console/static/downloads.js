// Files that are fetched with the key, and then saved.
import { request } from "./api.js";
import { $, el, notify } from "./dom.js";

const EXTENSIONS = { "image/jpeg": "jpg", "image/tiff": "tif" };

export function offerDownloads(image, view) {
  const name = image.request_id.split("/").at(-1).replace(/\.\w{2,5}$/, "").replace(/[^\p{L}\p{N}._ -]/gu, "_") || image.id;
  const extension = EXTENSIONS[image.media_type] ?? image.media_type?.split("/")[1] ?? "bin";
  const path = `/v1/images/${image.id}`;
  $("download-picture").disabled = image.status !== "completed";
  $("download-original").disabled = !image.media_type;
  $("download-view").textContent = { boxes: "with boxes", blur: "blurred", pixelate: "pixelated", none: "plain" }[view];
  $("download-picture").onclick = () => save(`${path}/annotated?style=${view}`, `${name}-${view === "none" ? "plain" : view}.jpg`);
  $("download-original").onclick = () => save(`${path}/original`, `${name}.${extension}`);
  $("download-json").onclick = () => save(path, `${name}.json`);
}

async function save(path, name) {
  try {
    let blob = await (await request(path)).blob();
    if (name.endsWith(".json")) blob = new Blob([JSON.stringify(JSON.parse(await blob.text()), null, 2)], { type: "application/json" });
    const link = el("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    notify(error.message, "bad");
  }
}
