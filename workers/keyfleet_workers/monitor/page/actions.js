/* What those who may act can do: asked for first where it can't simply be undone, and told of afterwards. */

import { setHidden, setText } from "./dom.js";

const page = document.getElementById("keys-page");
const ask = document.getElementById("ask");
const form = document.getElementById("ask-form");
const reason = document.getElementById("ask-reason");

/** Whether whoever looks at this page may act. */
export const mayAct = !("readOnly" in page.dataset);

let onDone = () => {};
let confirmed = null;

/** Have `then` called after every action. */
export function afterActions(then) {
  onDone = then;
}

/** Act on a key or a job: `path` is e.g. keys/one/disable. The button can't be pressed again meanwhile. */
export async function act(button, path, body) {
  button.disabled = true;
  try {
    const answer = await fetch(`${page.dataset.api}/${path}`, {
      method: "POST",
      headers: { [page.dataset.actionHeader]: "1", "Content-Type": "application/json" },
      body: body ? JSON.stringify(body) : null,
    });
    const told = await answer.json().catch(() => ({}));
    if (answer.ok) {
      toast(told.said, "success");
    } else {
      toast(told.error || `this didn't work (${answer.status})`, "danger");
    }
  } catch {
    toast("Flower doesn't answer", "danger");
  } finally {
    button.disabled = false;
    onDone();
  }
}

/** Ask whether to act; `asksReason` has one typed too, which `then` is given. */
export function confirmFirst({ title, text, verb, asksReason }, then) {
  setText(document.getElementById("ask-title"), title);
  setText(document.getElementById("ask-words"), text);
  setText(document.getElementById("ask-do"), verb);
  setHidden(document.getElementById("ask-reason-part"), !asksReason);
  reason.value = "";
  confirmed = then;
  window.bootstrap.Modal.getOrCreateInstance(ask).show();
}

/* The dialog comes and goes at once: while one fades in, Bootstrap leaves out that it is to be hidden. */
ask.addEventListener("shown.bs.modal", () => {
  const isAsked = !document.getElementById("ask-reason-part").hidden;
  (isAsked ? reason : document.getElementById("ask-do")).focus();
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  window.bootstrap.Modal.getOrCreateInstance(ask).hide();
  confirmed(reason.value);
});

/** Say something in a corner for a while, as Flower does. */
function toast(text, kind) {
  const element = document.createElement("div");
  const body = document.createElement("div");
  const isError = kind === "danger";
  element.className = `toast align-items-center text-bg-${kind} border-0`;
  element.setAttribute("role", isError ? "alert" : "status");
  body.className = "toast-body";
  body.textContent = text.charAt(0).toUpperCase() + text.slice(1);
  element.append(body);
  document.getElementById("toast-container").append(element);
  element.addEventListener("hidden.bs.toast", () => element.remove());
  new window.bootstrap.Toast(element, { delay: isError ? 10000 : 4000 }).show();
}
