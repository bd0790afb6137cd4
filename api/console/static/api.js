// The API, asked with the user's key. The key is kept in this tab's session storage and sent in a header by this script
// alone: there is no cookie, and no page of another site can send it.
import { askForKey } from "./sign-in.js";

const KEY = "facet-key";

export const root = document.querySelector('meta[name="facet-root"]').content;
export const pageOf = (imageId) => `${root}/image?id=${encodeURIComponent(imageId)}`;
export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const forgetKey = () => sessionStorage.removeItem(KEY);

export class ApiError extends Error {
  constructor(status, code, message, wait) {
    super(message);
    Object.assign(this, { status, code, wait });
  }
}

// The answer, once there is a good one; asks for a key where one is needed. Throws ApiError.
export async function request(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = new Headers(options.headers);
    if (key) headers.set("Authorization", `Bearer ${key}`);
    let answer;
    try {
      answer = await fetch(root + path, { ...options, headers });
    } catch {
      throw new ApiError(0, "not-reachable", "Facet does not answer. Is it running?", 5);
    }
    if (answer.ok) return answer;
    const problem = await problemOf(answer);
    if (answer.status !== 401) throw problem;
    if (key === sessionStorage.getItem(KEY)) {
      sessionStorage.setItem(KEY, await askForKey(key ? problem.message : ""));
      document.dispatchEvent(new Event("signed-in"));
    }
  }
}

export const json = async (path, options) => (await request(path, options)).json();

// A submission; sent again under the same key, it is done once.
export function send(path, body, key) {
  const headers = { "Idempotency-Key": key };
  if (body instanceof FormData) return json(path, { method: "POST", body, headers });
  return json(path, { method: "POST", body: JSON.stringify(body), headers: { ...headers, "Content-Type": "application/json" } });
}

// A picture as an image element, which could not send the key if it loaded itself.
export async function picture(path) {
  const blob = await (await request(path)).blob();
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  try {
    await image.decode();
  } catch {
    throw new ApiError(0, "not-shown", "This browser cannot show the picture.");
  } finally {
    URL.revokeObjectURL(image.src);
  }
  return image;
}

async function problemOf(answer) {
  const wait = Number(answer.headers.get("Retry-After")) || 0;
  try {
    const { code, detail } = await answer.json();
    return new ApiError(answer.status, code, detail, wait);
  } catch {
    return new ApiError(answer.status, "error", `Facet answered ${answer.status}.`, wait);
  }
}
