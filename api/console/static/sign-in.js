// One dialog, however many requests wait for the key.
import { $ } from "./dom.js";

let asked = null;

export function askForKey(why) {
  asked ??= new Promise((resolve) => {
    const [dialog, form, input] = [$("sign-in"), $("sign-in-form"), $("sign-in-key")];
    $("sign-in-why").textContent = why || "This service needs an API key.";
    input.value = "";
    dialog.showModal();
    dialog.oncancel = (event) => event.preventDefault(); // without a key there is nothing to see
    form.onsubmit = (event) => {
      event.preventDefault();
      asked = null;
      dialog.close();
      resolve(input.value.trim());
      input.value = "";
    };
  });
  return asked;
}
