// What every page does: the way out.
import { forgetKey, hasKey } from "./api.js";
import { $ } from "./dom.js";

const show = () => ($("sign-out").hidden = !hasKey());

document.addEventListener("signed-in", show);
$("sign-out").addEventListener("click", () => {
  forgetKey();
  location.reload();
});
show();
