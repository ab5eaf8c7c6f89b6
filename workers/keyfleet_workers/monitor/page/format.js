/* Numbers, times and names as people read them. */

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const PER_SECOND = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

const SHORTENED_FROM = 10000;

/** A count in full, e.g. 12,345. */
export function count(number) {
  return WHOLE.format(number);
}

/** A count that may be large, e.g. 1.2M. */
export function amount(number) {
  return Math.abs(number) < SHORTENED_FROM ? WHOLE.format(number) : SHORT.format(number);
}

/** Requests per second, e.g. 12.3/s. */
export function perSecond(number) {
  return `${PER_SECOND.format(number)}/s`;
}

/** A share of 1 in percent. It says 100 % of the whole alone. */
export function percent(share) {
  return `${share >= 1 ? 100 : Math.min(99, Math.round(share * 100))} %`;
}

/** A duration in seconds with at most two units, e.g. 2 h 5 min. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) {
    return `${whole} s`;
  }
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => whole >= size);
  const [name, size] = units[first];
  const rest = Math.floor((whole % size) / units[first + 1][1]);
  return `${Math.floor(whole / size)} ${name}${rest ? ` ${rest} ${units[first + 1][0]}` : ""}`;
}

/** A window of a limit, e.g. min for 60. */
export function windowName(seconds) {
  return { 1: "s", 60: "min", 3600: "h", 86400: "day" }[seconds] || duration(seconds);
}

/** A name of ours as words, e.g. out of credit. */
export function words(name) {
  return name.replaceAll("_", " ");
}

/** A number of things, e.g. 1 key. */
export function things(number, name) {
  return `${count(number)} ${name}${number === 1 ? "" : "s"}`;
}
