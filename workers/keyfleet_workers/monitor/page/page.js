/* Asks how the fleet stands every two seconds, while somebody looks, and shows it. */

import { afterActions } from "./actions.js";
import { Rows, setHidden, setOrHide, setText } from "./dom.js";
import { amount, count, words } from "./format.js";
import { inOrder, isMeant, keyRow, moreKeys, noKeys, statesOf, toneOf } from "./keys.js";
import { jobRow, queueRow } from "./work.js";

const EVERY_MS = 2000;
const PATIENCE_MS = 10000;
const FULL_UP_TO = 12; // keys that are shown in full; more are one line each
const SHOWN_AT_FIRST = 25;

const at = (id) => document.getElementById(id);
const page = at("keys-page");

const keys = new Rows(at("keys-rows"), (item) => item.key.name, keyRow);
const queues = new Rows(at("queues-rows"), (queue) => queue.name, queueRow);
const jobs = new Rows(at("jobs-rows"), (job) => job.id, jobRow);
const filters = new Rows(at("key-filters"), (filter) => filter.state, filterButton);
const alerts = new Rows(at("alerts"), (text) => text, alertOf);

let picture = null;
let wantedState = "";
let showsAll = false;
let timer = 0;
let asked = 0;

function filterButton() {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "task-state-filter";
  let latest;
  element.addEventListener("click", () => {
    wantedState = latest.state;
    showKeys();
  });
  const update = (filter) => {
    latest = filter;
    setText(element, filter.state ? `${count(filter.number)} ${words(filter.state)}` : `All ${count(filter.number)}`);
    element.dataset.tone = filter.state ? toneOf(filter.state) : "";
    element.classList.toggle("active", filter.state === wantedState);
    element.setAttribute("aria-pressed", String(filter.state === wantedState));
  };
  return { element, update };
}

function alertOf(text) {
  const element = document.createElement("p");
  element.textContent = text;
  return { element, update() {} };
}

function showKeys() {
  const all = picture.keys;
  const states = statesOf(all);
  if (!states.some(([state]) => state === wantedState)) {
    wantedState = "";
  }
  const search = at("key-search");
  setHidden(search, all.length <= FULL_UP_TO && !search.value);
  const offered = states.map(([state, number]) => ({ state, number }));
  filters.show(states.length > 1 ? [{ state: "", number: all.length }, ...offered] : []);
  const meant = inOrder(all).filter(
    (key) => (!wantedState || key.state === wantedState) && isMeant(key, search.value.trim()),
  );
  const shown = showsAll ? meant : meant.slice(0, SHOWN_AT_FIRST);
  keys.show(shown.map((key) => ({ key, isShort: all.length > FULL_UP_TO })));
  setHidden(at("keys-table"), !shown.length);
  setOrHide(at("keys-empty"), shown.length ? "" : noKeys(all.length));
  setOrHide(at("keys-more"), meant.length > shown.length ? moreKeys(meant.length - shown.length) : "");
}

function showNumbers() {
  const sum = (name) => picture.keys.reduce((total, key) => total + key[name], 0);
  const ready = picture.keys.filter((key) => key.state === "ready").length;
  setText(at("metric-ready"), count(ready));
  setText(at("metric-keys"), picture.keys.length ? `of ${count(picture.keys.length)}` : "");
  setText(at("metric-requests"), amount(sum("requests_per_minute")));
  setText(at("metric-tokens"), amount(sum("tokens_per_minute")));
  setText(at("metric-waiting"), amount(picture.queues.reduce((total, queue) => total + queue.waiting, 0)));
  setText(at("metric-flying"), `${count(sum("in_flight"))} in flight`);
}

/** What must not be overlooked: models and keys that nobody serves. */
function troubles() {
  const stuck = picture.queues.filter((queue) => queue.waiting && !queue.keys);
  const lonely = picture.keys.filter((key) => key.state === "no_worker").map((key) => key.name);
  const named = lonely.slice(0, 5).join(", ") + (lonely.length > 5 ? ` and ${count(lonely.length - 5)} more keys` : "");
  return [
    ...stuck.map((queue) => `No worker serves ${queue.model}: ${count(queue.waiting)} requests wait`),
    ...(lonely.length ? [`No worker serves ${named}`] : []),
  ];
}

function show() {
  showNumbers();
  showKeys();
  alerts.show(troubles());
  queues.show(picture.queues);
  setHidden(at("queues-table"), !picture.queues.length);
  setHidden(at("queues-empty"), Boolean(picture.queues.length));
  jobs.show(picture.jobs);
  setHidden(at("jobs-table"), !picture.jobs.length);
  setHidden(at("jobs-empty"), Boolean(picture.jobs.length));
  const more = picture.jobs_left_out;
  setOrHide(at("jobs-more"), more ? `${count(more)} more; keyfleet jobs lists them all` : "");
}

/** Say whether the picture is of now; an old one is greyed. */
function showLive(trouble) {
  const time = new Date().toLocaleTimeString("en-GB");
  page.classList.toggle("is-old", Boolean(trouble));
  at("live-dot").className = `status-dot ${trouble ? "status-dot-error" : "status-dot-live"}`;
  if (!trouble) {
    page.dataset.seen = time;
    setText(at("live-words"), `Live, ${time}`);
    return;
  }
  const since = page.dataset.seen ? ` Shown is how it stood at ${page.dataset.seen}.` : "";
  setText(at("live-words"), "Not live");
  alerts.show([`${trouble}.${since}`]);
}

async function ask() {
  const answer = await fetch(`${page.dataset.api}/overview`, { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (answer.ok) {
    return answer.json();
  }
  const told = await answer.json().catch(() => ({}));
  throw new Refused(told.error || `Flower refuses to answer (${answer.status}); load the page again`);
}

class Refused extends Error {}

async function look() {
  clearTimeout(timer);
  const turn = ++asked;
  const [found, trouble] = await ask().then((told) => [told, ""], (error) => [null, troubleOf(error)]);
  if (turn !== asked) {
    return; // somebody has asked again meanwhile
  }
  if (!document.hidden) {
    timer = setTimeout(look, EVERY_MS);
  }
  if (found) {
    picture = found;
    show();
  }
  showLive(trouble);
}

function troubleOf(error) {
  const said = error instanceof Refused ? error.message : "Flower doesn't answer";
  return said.charAt(0).toUpperCase() + said.slice(1);
}

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
at("key-search").addEventListener("input", () => picture && showKeys());
at("keys-more").addEventListener("click", () => {
  showsAll = true;
  showKeys();
});
afterActions(look);
look();
