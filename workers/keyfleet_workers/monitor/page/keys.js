/* The table of keys. Of many keys each is one line, with its tightest limit, until somebody wants to know more. */

import { act, confirmFirst, mayAct } from "./actions.js";
import { fromTemplate, partsOf, setAttribute, setEnd, setHidden, setOrHide, setText } from "./dom.js";
import { amount, count, duration, things, words } from "./format.js";
import { limitRows, limitsOf, tightest } from "./limits.js";

const TONES = {
  ready: "good",
  cooling: "rest",
  resting: "rest",
  unreachable: "bad",
  no_worker: "bad",
  revoked: "bad",
  out_of_credit: "bad",
  disabled: "off",
};

/** How a state is coloured. */
export function toneOf(state) {
  return TONES[state] || "off";
}

const UNTIL = { disabled: "until enabled", revoked: "until it works", out_of_credit: "until it works" };

/** States that end sooner when somebody enables the key: they last for longer than a limit takes. */
const HELD = ["disabled", "revoked", "out_of_credit"];

/** One key. `update` takes {key, isShort}. */
export function keyRow({ key: { name } }) {
  const element = fromTemplate("key-row");
  const parts = partsOf(element);
  const limits = limitRows(parts.limits);
  let latest;
  let isOpen = false;
  const show = () => {
    const { key, isShort } = latest;
    const isBrief = isShort && !isOpen;
    element.classList.toggle("is-brief", isBrief);
    setHidden(parts.more, !isShort);
    setAttribute(parts.more, "aria-expanded", String(isOpen));
    showWho(parts, key);
    showState(parts, key);
    showPace(parts, key);
    showErrors(parts.errors, key, isBrief);
    limits.show(isBrief ? tightest(key) : limitsOf(key));
    if (mayAct) {
      setHidden(parts.probe, !Object.keys(key.workers).length);
      setHidden(parts.enable, !statesOfAll(key).some((state) => HELD.includes(state)));
      setHidden(parts.disable, statesOfAll(key).includes("disabled"));
    }
  };
  parts.more.addEventListener("click", () => {
    isOpen = !isOpen;
    show();
  });
  if (mayAct) {
    parts.probe.addEventListener("click", () => act(parts.probe, `keys/${name}/probe`));
    parts.enable.addEventListener("click", () => act(parts.enable, `keys/${name}/enable`));
    parts.disable.addEventListener("click", () => disable(parts.disable, name));
  }
  const update = (item) => {
    latest = item;
    show();
  };
  return { element, update };
}

/** What holds the whole key, whichever of it is the gravest. */
function statesOfAll(key) {
  return key.states.filter((state) => state.pool === null).map((state) => state.state);
}

function disable(button, name) {
  const question = {
    title: `Disable ${name}?`,
    text: "It takes no more requests, on all hosts, until somebody enables it. Calls under way finish.",
    verb: "Disable",
    asksReason: true,
  };
  confirmFirst(question, (reason) => act(button, `keys/${name}/disable`, { reason }));
}

function showWho(parts, key) {
  setText(parts.name, key.name);
  parts.name.title = key.name;
  const models = key.models.map((model) => (model === "*" ? "any model" : model)).join(", ");
  setOrHide(parts.models, models);
  parts.models.title = models;
  setOrHide(parts.lost, key.lost_models.length ? `can't use ${key.lost_models.join(", ")}` : "");
  const hosts = Object.entries(key.workers).map(([host, number]) => (number > 1 ? `${host} (${number})` : host));
  const about = [key.provider, key.group ? `group ${key.group}` : "", hosts.length ? `on ${hosts.join(", ")}` : ""];
  setOrHide(parts.about, about.filter(Boolean).join(" · "));
  parts.about.title = parts.about.textContent;
}

function showState(parts, key) {
  setText(parts.state, words(key.state));
  parts.state.dataset.tone = toneOf(key.state);
  const restS = key.state === "no_worker" ? null : key.rest_s || null;
  setEnd(parts.until, restS, "for");
  if (restS === null) {
    setText(parts.until, UNTIL[key.state] || "");
  }
  setOrHide(parts.reasons, reasonsOf(key));
  parts.reasons.title = parts.reasons.textContent;
  const probed = key.probed;
  setOrHide(parts.probed, probed ? `probed ${duration(probed.ago_s)} ago: ${probed.words}` : "");
}

/** Why it stands as it does: the gravest reason first, then what else holds it, on which host. */
function reasonsOf(key) {
  const others = key.states
    .filter((state) => state.pool === null && state.reason !== key.reason)
    .map((state) => `${state.host ? `${state.host}: ` : ""}${words(state.state)}, ${state.reason}`);
  const first = key.state === "no_worker" ? "nobody serves it" : key.reason;
  return [first, ...others].filter(Boolean).join("; ");
}

function showPace(parts, key) {
  setText(parts.requests, amount(key.requests_per_minute));
  setText(parts.tokens, amount(key.tokens_per_minute));
  setText(parts.flying, count(key.in_flight));
}

/** By kind, or where there is little room how many there were. */
function showErrors(element, key, isBrief) {
  const errors = Object.entries(key.errors).filter(([, number]) => number);
  const total = errors.reduce((sum, [, number]) => sum + number, 0);
  const told = errors.sort((one, other) => other[1] - one[1]).map(([kind, number]) => `${count(number)} ${words(kind)}`);
  setText(element, (isBrief ? total && count(total) : told.join(", ")) || "none");
  element.classList.toggle("is-none", !total);
  element.title = total ? `${told.join(", ")} since its workers began` : "";
}

/** How many keys stand how, the states that want somebody's attention last. */
export function statesOf(keys) {
  const counts = new Map();
  for (const key of keys) {
    counts.set(key.state, (counts.get(key.state) || 0) + 1);
  }
  const order = Object.keys(TONES);
  return [...counts].sort((one, other) => order.indexOf(one[0]) - order.indexOf(other[0]));
}

/** Keys that want somebody's attention first, those that were disabled last, and else by name. */
export function inOrder(keys) {
  const rank = (key) => ({ bad: 0, off: 2 })[toneOf(key.state)] ?? 1;
  const byName = (one, other) => one.name.localeCompare(other.name, "en", { numeric: true });
  return [...keys].sort((one, other) => rank(one) - rank(other) || byName(one, other));
}

/** Whether a key is meant by what somebody typed. */
export function isMeant(key, text) {
  const all = [key.name, key.group || "", key.provider || "", ...key.models, ...Object.keys(key.workers)].join(" ");
  return all.toLowerCase().includes(text.toLowerCase());
}

/** Keys without any, in words. */
export function noKeys(total) {
  return total ? "No key is like that." : "No key is known: no worker has run here lately. Start one: keyfleet worker";
}

/** The button that shows all of them. */
export function moreKeys(hidden) {
  return `Show ${things(hidden, "key")} more`;
}
