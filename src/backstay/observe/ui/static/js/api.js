// Asks the process that is looked at, directly or by way of the one that serves the page.

let pid = null;

export function chosen() { return pid; }
export function choose(value) { pid = value; }

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function address(path) {
  return pid === null ? path : `/v1/processes/${pid}${path}`;
}

export function query(path, fields) {
  const kept = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return kept.length ? `${path}?${new URLSearchParams(kept)}` : path;
}

/** Return a document as it was parsed; `here` asks the process that serves the page. */
export async function get(path, fields = {}, { signal, here } = {}) {
  const asked = query(here ? path : address(path), fields);
  let reply;
  try {
    reply = await fetch(asked, { signal, credentials: "same-origin", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "No answer: the process has ended, or 'backstay ui' was stopped.");
  }
  const text = await reply.text();
  let document;
  try {
    document = JSON.parse(text);
  } catch {
    throw new Refused(reply.status, reply.status === 403 ? "The address no longer lets you in: run 'backstay ui' again." : text.slice(0, 300) || `status ${reply.status}`);
  }
  if (!reply.ok && reply.status !== 503 || document.error) throw new Refused(reply.status, document.error ?? `status ${reply.status}`);
  return document;
}
