// The picture with boxes and keypoints, drawn as sharp as the screen is.

const FACE = "#2ee6a6";
const CHOSEN = "#ffd34d";
const SHADE = "rgba(6, 20, 15, 0.8)";
const FONT = '600 12px ui-monospace, "SF Mono", Menlo, Consolas, monospace';

export class FaceCanvas {
  constructor(canvas) {
    this.canvas = canvas;
    this.shown = { picture: null, width: 1, height: 1, faces: [], chosen: null, boxes: true, keypoints: true, labels: true };
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
  }

  // `width` and `height` of the upright photo, in whose pixels the faces are; the picture may have another size.
  show(changes) {
    Object.assign(this.shown, changes);
    this.draw();
  }

  draw() {
    const { picture, width, height, faces, chosen, boxes, keypoints, labels } = this.shown;
    if (!picture) return;
    const stage = this.canvas.parentElement;
    const limit = Math.max(320, innerHeight - 330); // so that the slider beneath is in sight
    const scale = Math.min(stage.clientWidth / width, limit / height);
    const density = devicePixelRatio || 1;
    this.canvas.style.width = `${width * scale}px`;
    this.canvas.style.height = `${height * scale}px`;
    this.canvas.width = Math.max(1, Math.round(width * scale * density));
    this.canvas.height = Math.max(1, Math.round(height * scale * density));
    const pen = this.canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.scale(density, density);
    pen.drawImage(picture, 0, 0, width * scale, height * scale);
    for (const face of faces) {
      const isChosen = face.id === chosen;
      if (!boxes && !isChosen) continue;
      const [x, y, w, h] = face.box.map((value) => value * scale);
      const colour = isChosen ? CHOSEN : FACE;
      frame(pen, x, y, w, h, colour);
      if (keypoints && boxes) for (const [px, py] of Object.values(face.keypoints)) mark(pen, px * scale, py * scale, w, colour);
      if (labels && boxes) label(pen, face.confidence.toFixed(4), x, y + h, colour);
    }
  }
}

// Dark under light, so that it is seen on any picture.
function frame(pen, x, y, w, h, colour) {
  for (const [width, style] of [[4, SHADE], [2, colour]]) {
    pen.lineWidth = width;
    pen.strokeStyle = style;
    pen.beginPath();
    pen.roundRect(x, y, w, h, 3);
    pen.stroke();
  }
}

// Smaller on a small face, which it would cover.
function mark(pen, x, y, faceWidth, colour) {
  const radius = Math.min(2.3, Math.max(0.9, 0.035 * faceWidth));
  for (const [size, style] of [[radius + 1, SHADE], [radius, colour]]) {
    pen.fillStyle = style;
    pen.beginPath();
    pen.arc(x, y, size, 0, 2 * Math.PI);
    pen.fill();
  }
}

function label(pen, text, x, y, colour) {
  pen.font = FONT;
  const width = pen.measureText(text).width + 10;
  const density = devicePixelRatio || 1;
  const top = Math.min(y + 4, pen.canvas.height / density - 18);
  const left = Math.max(0, Math.min(x, pen.canvas.width / density - width));
  pen.fillStyle = SHADE;
  pen.beginPath();
  pen.roundRect(left, top, width, 18, 4);
  pen.fill();
  pen.fillStyle = colour;
  pen.fillText(text, left + 5, top + 13);
}
