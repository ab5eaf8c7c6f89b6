/* Changing the page in place, so that nothing moves under somebody's hand. Texts only, never markup. */

import { duration as durationOf } from "./format.js";

/** A copy of what the template `id` holds. */
export function fromTemplate(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

/** The parts of an element that its template names, by name. */
export function partsOf(element) {
  const parts = {};
  for (const part of element.querySelectorAll("[data-part]")) {
    parts[part.dataset.part] = part;
  }
  return parts;
}

/** Put a text into an element. */
export function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/** Put a text into an element, which is hidden where there is none. */
export function setOrHide(element, text) {
  setText(element, text);
  setHidden(element, !text);
}

/** Hide an element, or show it. */
export function setHidden(element, isHidden) {
  if (element.hidden !== isHidden) {
    element.hidden = isHidden;
  }
}

/** Give an element an attribute, or take it away (null). */
export function setAttribute(element, name, value) {
  if (value === null) {
    element.removeAttribute(name);
  } else if (element.getAttribute(name) !== value) {
    element.setAttribute(name, value);
  }
}

/** Fill a bar by a share of 1, and say in words what it shows. */
export function setBar(bar, fill, share, label) {
  fill.style.width = `${Math.round(Math.min(1, share) * 1000) / 10}%`;
  setAttribute(bar, "aria-label", label);
  setAttribute(bar, "title", label);
}

/** Elements of a list, each of which stays what it is as long as its item is there. */
export class Rows {
  /** `make` builds what shows an item: {element, update(item)}. */
  constructor(parent, nameOf, make) {
    this.parent = parent;
    this.nameOf = nameOf;
    this.make = make;
    this.views = new Map();
  }

  show(items) {
    const gone = new Map(this.views);
    items.forEach((item, number) => {
      const name = this.nameOf(item);
      let view = this.views.get(name);
      if (!view) {
        view = this.make(item);
        this.views.set(name, view);
      }
      gone.delete(name);
      view.update(item);
      if (this.parent.children[number] !== view.element) {
        this.parent.insertBefore(view.element, this.parent.children[number] || null);
      }
    });
    for (const [name, view] of gone) {
      view.element.remove();
      this.views.delete(name);
    }
  }
}

const ENDS = "endsMs";

/** Let an element count down to what is `seconds` away; null shows nothing. */
export function setEnd(element, seconds, prefix) {
  if (seconds === null) {
    delete element.dataset[ENDS];
    return;
  }
  element.dataset[ENDS] = String(performance.now() + seconds * 1000);
  element.dataset.prefix = prefix;
  countDown(element);
}

function countDown(element) {
  const left = (Number(element.dataset[ENDS]) - performance.now()) / 1000;
  setText(element, `${element.dataset.prefix} ${durationOf(Math.max(1, left))}`);
}

setInterval(() => {
  if (!document.hidden) {
    document.querySelectorAll("[data-ends-ms]").forEach(countDown);
  }
}, 1000);
