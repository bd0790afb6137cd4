// The faces as a strip of crops and as a table; choosing one marks it everywhere.
import { $, el } from "./dom.js";

const POINTS = ["left_eye", "right_eye", "nose", "mouth_left", "mouth_right"];
const SIDE = 96;
const MARGIN = 0.25;

export function showFaces(image, picture, { shown, chosen, choose }) {
  const faces = image.faces.map((face, index) => ({ face, number: index + 1 })).filter(({ face }) => shown.includes(face));
  $("faces").hidden = image.faces.length === 0;
  const focused = document.activeElement?.closest?.("#crops [data-face]")?.dataset.face;
  $("crops").replaceChildren(
    ...faces.map(({ face, number }) => {
      const crop = el("canvas", { width: 2 * SIDE, height: 2 * SIDE });
      crop.setAttribute("aria-hidden", "true");
      if (picture) cut(crop, picture, face.box, image.width);
      const button = el("button", { type: "button", className: "crop", onclick: () => choose(face.id) }, crop, el("span", { className: "sr" }, `Face ${number}, confidence `), face.confidence.toFixed(4));
      button.setAttribute("aria-pressed", String(face.id === chosen));
      button.dataset.face = face.id;
      return el("li", {}, button);
    }),
  );
  if (focused) document.querySelector(`#crops [data-face="${CSS.escape(focused)}"]`)?.focus();
  $("numbers").replaceChildren(
    ...faces.map(({ face, number }) => {
      const cells = [face.confidence.toFixed(5), ...face.box, ...POINTS.map((name) => (face.keypoints[name] ?? []).join(", "))];
      return el("tr", { className: face.id === chosen ? "chosen" : "" }, el("th", { scope: "row" }, String(number)), cells.map((cell) => el("td", {}, String(cell))));
    }),
  );
}

// The face with some of what is around it, square.
function cut(crop, picture, [x, y, width, height], fullWidth) {
  const factor = picture.naturalWidth / fullWidth;
  const side = Math.max(width, height) * (1 + 2 * MARGIN);
  const [left, top] = [x + width / 2 - side / 2, y + height / 2 - side / 2];
  const pen = crop.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, left * factor, top * factor, side * factor, side * factor, 0, 0, crop.width, crop.height);
}
