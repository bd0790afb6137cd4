// One image: the picture, its faces, what became of it.
import { json, picture } from "./api.js";
import { showCallbacks } from "./callbacks.js";
import { FaceCanvas } from "./canvas.js";
import { $, bytes, chip, el, plural, time } from "./dom.js";
import { offerDownloads } from "./downloads.js";
import { showFaces } from "./faces.js";
import "./session.js";
import { hasEnded, watch } from "./watch.js";

const id = new URLSearchParams(location.search).get("id") ?? "";
const canvas = new FaceCanvas($("canvas"));
const pictures = new Map();
let image = null;
let photo = null;
let chosen = null;

const view = () => document.querySelector('input[name="view"]:checked').value;
const least = () => Number($("confidence").value);
const shownFaces = () => image.faces.filter((face) => face.confidence >= least());

// The photo for the canvas: as it was sent, or, where the browser does not know its format, as Facet decodes it.
async function loadPhoto() {
  try {
    return await picture(`/v1/images/${id}/original`);
  } catch (error) {
    if (error.code !== "not-shown" || image.status !== "completed") throw error;
    return pictureOf("none");
  }
}

function pictureOf(style) {
  if (!pictures.has(style)) {
    const loading = picture(`/v1/images/${id}/annotated?style=${style}`);
    loading.catch(() => pictures.delete(style));
    pictures.set(style, loading);
  }
  return pictures.get(style);
}

async function showPicture() {
  const asked = view();
  const hides = ["blur", "pixelate"].includes(asked);
  $("marks").disabled = asked !== "boxes";
  offerDownloads(image, asked);
  $("stage").setAttribute("aria-busy", "true");
  try {
    photo ??= await loadPhoto();
    const shown = hides ? await pictureOf(asked) : photo;
    if (asked !== view()) return; // another view was chosen meanwhile
    canvas.show({ picture: shown, width: image.width, height: image.height });
    $("veil").hidden = true;
    showResult();
  } catch (error) {
    $("veil").hidden = false;
    $("veil").textContent = error.message;
  }
  $("stage").setAttribute("aria-busy", "false");
}

function showResult() {
  const [asked, faces] = [view(), shownFaces()];
  const [keypoints, labels] = [$("keypoints").checked, $("labels").checked];
  canvas.show({ faces, chosen, boxes: asked === "boxes", keypoints, labels });
  const words = { boxes: "with boxes", blur: "with blurred faces", pixelate: "with pixelated faces", none: "as it is" };
  $("canvas").setAttribute("aria-label", `The photo ${words[asked]}, ${plural(faces.length, "face")}`);
  $("confidence-value").textContent = least().toFixed(3);
  $("shown").textContent = hasEnded(image) ? `${faces.length} of ${plural(image.faces.length, "face")}` : "";
  showFaces(image, photo, { shown: faces, chosen, choose });
}

function choose(faceId) {
  chosen = chosen === faceId ? null : faceId;
  showResult();
}

function setSlider() {
  const slider = $("confidence");
  const low = Math.floor(image.min_confidence * 1000) / 1000;
  Object.assign(slider, { min: low, max: 1, step: 1 - low < 0.1 ? 0.0005 : 0.001, disabled: image.faces.length === 0 });
  slider.value = low;
}

function showFacts() {
  document.title = `${image.request_id} · Facet`;
  $("title").textContent = image.request_id;
  $("status").replaceChildren(chip(image.status));
  $("failure").hidden = !image.failure;
  $("failure").textContent = image.failure?.reason ?? "";
  $("run").hidden = !image.flow_run;
  if (image.flow_run) $("run").href = image.flow_run.url;
  const facts = {
    Photo: image.width ? `${image.width} × ${image.height}, ${bytes(image.size_bytes)}, ${image.media_type.slice(6)}` : "to be fetched",
    Submitted: time(image.created_at),
    Finished: time(image.finished_at),
    Detector: image.detector ?? "–",
    "Least confidence": String(image.min_confidence),
    "Smallest face": `${image.min_face_size} px`,
    "Stored picture": image.annotate,
  };
  const rows = Object.entries(facts).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
  $("facts").replaceChildren(...rows, el("dt", { className: "sr" }, "Id"), el("dd", { className: "wide" }, el("code", {}, image.id)));
}

function showTimes() {
  const seconds = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`);
  const steps = Object.entries(image.timings);
  $("times").hidden = steps.length === 0;
  const longest = Math.max(...steps.map(([, value]) => value));
  $("steps").replaceChildren(
    ...steps.flatMap(([step, value]) => {
      const bar = el("span", { className: "bar-of", ariaHidden: "true" });
      bar.style.width = `${(100 * value) / longest}%`;
      return [el("dt", {}, step), el("dd", {}, seconds(value), bar)];
    }),
  );
}

function tell(now) {
  if (!now) return missing("The image has been removed.");
  image = now;
  $("image").hidden = false;
  showFacts();
  showTimes();
  setSlider();
  if (!hasEnded(image)) $("veil").textContent = `The photo is ${image.status}…`;
  if (image.media_type) showPicture();
  else $("veil").textContent = image.failure?.reason ?? "The photo is to be fetched…";
  for (const input of $("views").querySelectorAll("input")) input.disabled = image.status !== "completed" && input.value !== "boxes";
  if (hasEnded(image)) showCallbacks(id);
}

function missing(words) {
  $("missing").hidden = false;
  $("missing-why").textContent = words;
}

$("views").addEventListener("change", showPicture);
for (const control of ["keypoints", "labels", "confidence"]) $(control).addEventListener("input", showResult);
try {
  if (!id) throw new Error("No image is named. Choose one in the gallery.");
  tell(await json(`/v1/images/${encodeURIComponent(id)}`));
  if (!hasEnded(image)) watch(id, tell);
} catch (error) {
  missing(error.message);
}
