/* The tables of queues and jobs. */

import { act, confirmFirst, mayAct } from "./actions.js";
import { fromTemplate, partsOf, setBar, setEnd, setHidden, setOrHide, setText } from "./dom.js";
import { count, duration, percent, perSecond, things } from "./format.js";

const JOB_TONES = { running: "good", paused: "rest", interrupted: "bad", cancelled: "off", done: "off" };
const NONE = "–";

/** One queue. */
export function queueRow() {
  const element = fromTemplate("queue-row");
  const parts = partsOf(element);
  const update = (queue) => {
    const isStuck = queue.waiting > 0 && queue.keys === 0;
    setText(parts.model, queue.model);
    setText(parts.keys, queue.keys ? `${things(queue.keys, "key")} ${queue.keys === 1 ? "serves" : "serve"} it` : "no key serves it");
    setText(parts.ready, count(queue.ready_urgent + queue.ready_bulk));
    setOrHide(parts.urgent, queue.ready_urgent ? `${count(queue.ready_urgent)} urgent` : "");
    setText(parts.running, count(queue.running));
    setText(parts.delayed, count(queue.delayed));
    setOrHide(parts.paused, queue.paused ? `${count(queue.paused)} paused` : "");
    setText(parts.oldest, queue.oldest_s === null ? NONE : duration(queue.oldest_s));
    setText(parts.why, queue.why.replaceAll("`", "") || (queue.running ? "it is being sent" : "nothing waits"));
    parts.why.title = parts.why.textContent;
    showWait(parts.wait, queue);
    element.classList.toggle("is-stuck", isStuck);
    element.classList.toggle("is-idle", !queue.waiting);
  };
  return { element, update };
}

function showWait(element, queue) {
  const isWaited = queue.why && queue.waiting > queue.paused;
  setHidden(element, !isWaited);
  setEnd(element, isWaited && queue.wait_s > 0 ? queue.wait_s : null, "goes on in about");
  if (isWaited && !queue.wait_s) {
    setText(element, queue.wait_s === null ? "nobody knows for how long" : "goes on now");
  }
}

/** One job. */
export function jobRow({ id }) {
  const element = fromTemplate("job-row");
  const parts = partsOf(element);
  let latest;
  if (mayAct) {
    const switched = () => (latest.state === "paused" ? "resume" : "pause");
    parts.switch.addEventListener("click", () => act(parts.switch, `jobs/${id}/${switched()}`));
    parts.cancel.addEventListener("click", () => cancelJob(parts.cancel, latest));
  }
  const update = (job) => {
    latest = job;
    showJob(parts, job);
    if (mayAct) {
      const isOver = job.state === "done" || job.state === "cancelled";
      setText(parts.switch, job.state === "paused" ? "Resume" : "Pause");
      setHidden(parts.switch, isOver);
      setHidden(parts.cancel, isOver);
    }
    element.classList.toggle("is-over", job.state === "done" || job.state === "cancelled");
  };
  return { element, update };
}

function showJob(parts, job) {
  const ended = job.succeeded + job.failed;
  setText(parts.name, job.name || job.short_id);
  parts.name.title = job.name;
  setText(parts.about, [job.name ? job.short_id : "", job.host].filter(Boolean).join(" · "));
  setText(parts.state, job.state);
  parts.state.dataset.tone = JOB_TONES[job.state] || "off";
  setBar(parts.bar, parts.fill, job.share, `${count(ended)} of ${count(job.total)} requests are done`);
  const total = job.total_is_known ? count(job.total) : `${count(job.total)} so far`;
  setText(parts.done, `${count(ended)} of ${total}`);
  setText(parts.share, job.total_is_known ? percent(job.share) : "");
  setText(parts.failed, count(job.failed));
  parts.failed.classList.toggle("is-bad", job.failed > 0);
  setText(parts.rate, job.requests_per_s === null ? NONE : perSecond(job.requests_per_s));
  setText(parts.left, job.left_s === null ? NONE : duration(job.left_s));
}

function cancelJob(button, job) {
  const question = {
    title: `Cancel ${job.name || `job ${job.short_id}`}?`,
    text: "What waits is not sent any more, and this can't be undone. Calls under way finish, and answers are kept.",
    verb: "Cancel the job",
    asksReason: false,
  };
  confirmFirst(question, () => act(button, `jobs/${job.id}/cancel`));
}
