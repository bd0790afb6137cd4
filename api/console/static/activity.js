// Queue depth and throughput, as small live plots of the last five minutes.
import { json } from "./api.js";
import { $ } from "./dom.js";

const PAUSE = 2000;
const [WIDTH, HEIGHT, PAD] = [240, 56, 3];

export async function showActivity() {
  for (;;) {
    let pause = PAUSE;
    if (!document.hidden) {
      try {
        draw(await json("/v1/activity"));
      } catch (error) {
        pause = 1000 * (error.wait || 5);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

function draw({ queued, processing, step_seconds: step, finished, unfinished }) {
  const minute = Math.round(60 / step);
  const rates = finished.map((_, end) => finished.slice(Math.max(0, end + 1 - minute), end + 1).reduce((sum, n) => sum + n, 0));
  plot($("queue"), unfinished, `${queued} waiting, ${processing} in work`);
  plot($("throughput"), rates, `${rates.at(-1)} photos in the last minute`);
}

function plot(figure, values, summary) {
  const most = Math.max(...values, 1);
  const points = values.map((value, index) => {
    const x = (index / (values.length - 1)) * WIDTH;
    return `${x.toFixed(1)} ${(HEIGHT - PAD - (value / most) * (HEIGHT - 2 * PAD)).toFixed(1)}`;
  });
  const line = `M${points.join("L")}`;
  figure.querySelector(".line").setAttribute("d", line);
  figure.querySelector(".area").setAttribute("d", `${line}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`);
  figure.querySelector(".figure").textContent = values.at(-1);
  figure.querySelector(".most").textContent = `at most ${Math.max(...values)}`;
  const label = figure.querySelector("figcaption span").textContent;
  figure.querySelector("svg").setAttribute("aria-label", `${label}: ${summary}, at most ${Math.max(...values)} in five minutes`);
}
