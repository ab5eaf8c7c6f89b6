/* The limits of a key: a bar for each, by quota. */

import { Rows, fromTemplate, partsOf, setBar, setText } from "./dom.js";
import { amount, count, duration, windowName, words } from "./format.js";

const NEARLY_USED = 0.9;

/** What is shown of a key's limits: those of each quota, below its name where there are several or it rests. */
export function limitsOf(key) {
  const isNamed = new Set(key.quotas.map((quota) => quota.label)).size > 1;
  return key.quotas.flatMap((quota) => {
    const head = isNamed || quota.state ? [{ quota: quota.name, head: headOf(quota), isResting: Boolean(quota.state) }] : [];
    return [...head, ...quota.limits.map((limit) => ({ ...limit, quota: quota.name }))];
  });
}

/** The limit of which the least is left: the one that a key waits for first. None, or one. */
export function tightest(key) {
  const limits = key.quotas.flatMap((quota) => quota.limits.map((limit) => ({ ...limit, quota: quota.name })));
  return limits.sort((one, other) => shareOf(other) - shareOf(one)).slice(0, 1);
}

function headOf({ label, state }) {
  if (!state) {
    return label;
  }
  return `${label}: ${words(state.state)}${state.rest_s === null ? "" : ` for ${duration(Math.max(1, state.rest_s))}`}`;
}

function shareOf(limit) {
  return limit.amount ? limit.used / limit.amount : 1;
}

function limitRow() {
  const element = fromTemplate("limit-row");
  const parts = partsOf(element);
  const update = (limit) => {
    const share = shareOf(limit);
    const numbers = `${count(limit.used)} of ${count(limit.amount)} used, ${count(limit.left)} left`;
    setText(parts.name, `${amount(limit.amount)} ${limit.unit}/${windowName(limit.window_s)}`);
    setBar(parts.bar, parts.fill, share, numbers);
    setText(parts.left, `${amount(limit.used)} used, ${amount(limit.left)} left`);
    parts.left.title = numbers;
    element.classList.toggle("is-nearly-used", share >= NEARLY_USED);
  };
  return { element, update };
}

function headRow() {
  const element = document.createElement("div");
  element.className = "limit-head";
  const update = ({ head, isResting }) => {
    setText(element, head);
    element.classList.toggle("is-resting", isResting);
  };
  return { element, update };
}

/** Rows of limits within `parent`. */
export function limitRows(parent) {
  const nameOf = (item) => (item.head === undefined ? `${item.quota} ${item.unit} ${item.window_s}` : item.quota);
  return new Rows(parent, nameOf, (item) => (item.head === undefined ? limitRow() : headRow()));
}
