// Small pictures, fetched with the key when they come into sight.
import { picture } from "./api.js";

const sources = new WeakMap();
const observer = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      load(target, sources.get(target));
    }
  },
  { rootMargin: "300px" },
);

// Puts a completed image's thumbnail into the frame.
export function thumbnail(frame, imageId, side) {
  sources.set(frame, `/v1/images/${imageId}/annotated?style=none&max_side=${side}`);
  observer.observe(frame);
}

async function load(frame, path, again = 3) {
  try {
    const image = await picture(path);
    image.alt = "";
    frame.replaceChildren(image);
  } catch (error) {
    if (error.wait && again) setTimeout(() => load(frame, path, again - 1), 1000 * error.wait);
    else frame.classList.add("empty");
  }
}
