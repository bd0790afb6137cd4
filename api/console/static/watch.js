// Watches images until they have ended, many in one request.
import { json } from "./api.js";

const PAUSE = 700;
const HIDDEN_PAUSE = 5000;
const AT_ONCE = 100;

const watched = new Map();
let running = false;

export const hasEnded = (image) => !["queued", "processing"].includes(image.status);

// Calls back with each new state of the image, and with null when it is not there.
export function watch(imageId, seen) {
  watched.set(imageId, seen);
  if (!running) run();
}

async function run() {
  running = true;
  while (watched.size) {
    let pause = document.hidden ? HIDDEN_PAUSE : PAUSE;
    const ids = [...watched.keys()];
    try {
      for (let start = 0; start < ids.length; start += AT_ONCE) await look(ids.slice(start, start + AT_ONCE));
    } catch (error) {
      pause = 1000 * (error.wait || 3);
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  running = false;
}

async function look(ids) {
  const query = new URLSearchParams(ids.map((id) => ["image_id", id]));
  query.set("limit", AT_ONCE);
  const { images } = await json(`/v1/images?${query}`);
  const found = new Map(images.map((image) => [image.id, image]));
  for (const id of ids) {
    const image = found.get(id) ?? null;
    const seen = watched.get(id);
    if (!image || hasEnded(image)) watched.delete(id);
    seen(image);
  }
}
