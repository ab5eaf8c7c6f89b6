/* The limits of a key: a bar for each, by quota. */

import { Rows, fromTemplate, partsOf, setBar, setText } from "./dom.js";
import { amount, count, duration, windowName, words } from "./format.js";

const NEARLY_USED = 0.9;

/** All limits of a key with the quota that each belongs to; quotas that rest and have no limit too. */
export function limitsOf(key) {
  const labels = new Set(key.quotas.map((quota) => quota.label));
  return key.quotas.flatMap((quota) => {
    const label = labels.size > 1 || quota.state ? quota.label : "";
    const limits = quota.limits.map((limit) => ({ ...limit, quota: quota.name, label, state: quota.state }));
    return limits.length || !quota.state ? limits : [{ quota: quota.name, label, state: quota.state, unit: "" }];
  });
}

/** The limit of which the least is left: the one that a key waits for first. */
export function tightest(limits) {
  return limits.reduce((found, limit) => (found && shareOf(found) >= shareOf(limit) ? found : limit), undefined);
}

function shareOf(limit) {
  return limit.amount ? limit.used / limit.amount : 1;
}

function nameOf(limit) {
  return limit.unit ? `${limit.unit}/${windowName(limit.window_s)}` : "limits not known yet";
}

function row() {
  const element = fromTemplate("limit-row");
  const parts = partsOf(element);
  const update = (limit) => {
    const share = limit.unit ? shareOf(limit) : 0;
    const rest = limit.state ? restOf(limit.state) : "";
    const label = limit.label ? ` · ${limit.label}` : "";
    setText(parts.name, `${nameOf(limit)}${label}${rest}`);
    parts.name.title = parts.name.textContent;
    const numbers = limit.unit ? `${count(limit.used)} of ${count(limit.amount)} used, ${count(limit.left)} left` : "";
    setBar(parts.bar, parts.fill, share, numbers);
    setText(parts.left, limit.unit ? `${amount(limit.used)} / ${amount(limit.amount)}` : "");
    parts.left.title = numbers;
    element.classList.toggle("is-nearly-used", share >= NEARLY_USED);
    element.classList.toggle("is-resting", Boolean(limit.state));
  };
  return { element, update };
}

function restOf(state) {
  return ` · ${words(state.state)}${state.rest_s === null ? "" : ` ${duration(Math.max(1, state.rest_s))}`}`;
}

/** Rows of limits within `parent`. */
export function limitRows(parent) {
  return new Rows(parent, (limit) => `${limit.quota} ${limit.unit} ${limit.window_s}`, row);
}
