// The pages are read-only without this script. It replaces changed parts, and sends actions to the JSON API.
// Untrusted text is never parsed here: it arrives as HTML that the worker has escaped, or goes into textContent.
"use strict";

const LEAST_MS = 2000; // the shortest time between two refreshes
const POLL_MS = 10000; // the interval of refreshes without server-sent events
const $ = (id) => document.getElementById(id);
// Absolute, because the address of the page may contain a password, and browsers refuse to fetch such addresses.
const at = (path) => location.origin + path;

function element(name, text, properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  made.textContent = text;
  return made;
}

// ---------------------------------------------------------------- live

let refreshing = false;
let refreshedAt = Date.now();
let timer = null;

function refreshSoon(most = LEAST_MS) {
  if (timer !== null || document.hidden) return;
  timer = setTimeout(refresh, Math.max(0, refreshedAt + most - Date.now()));
}

async function refresh() {
  timer = null;
  if (refreshing) return;
  refreshing = true;
  try {
    const response = await fetch(at(location.pathname + location.search), { headers: { Accept: "text/html" } });
    if (!response.ok) throw new Error(`the worker answers ${response.status}`);
    replaceParts(new DOMParser().parseFromString(await response.text(), "text/html"));
    tellLive(true);
  } catch (error) {
    tellLive(false, error.message);
  } finally {
    refreshing = false;
    refreshedAt = Date.now();
  }
}

// A part with a pressed button or selected text is not replaced: the click or the selection would be lost.
let isPressed = false;
document.addEventListener("pointerdown", () => (isPressed = true));
for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => setTimeout(() => (isPressed = false)));

function isInUse(part) {
  const selection = getSelection();
  return isPressed || (!selection.isCollapsed && part.contains(selection.anchorNode));
}

function replaceParts(fresh) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const part = fresh.getElementById(old.id);
    if (part === null || part.innerHTML === old.innerHTML || isInUse(old)) continue;
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    const open = [...old.querySelectorAll("details[open][id]")].map((each) => each.id);
    old.replaceChildren(...document.adoptNode(part).childNodes);
    open.forEach((id) => $(id)?.setAttribute("open", ""));
    if (focused) $(focused)?.focus();
  }
  const time = fresh.getElementById("live");
  if (time) $("live").replaceChildren(...document.adoptNode(time).childNodes);
}

function tellLive(is, why = "") {
  $("live").classList.toggle("on", is);
  $("live").classList.toggle("off", !is);
  $("live").title = is ? "live" : `not live: ${why}`;
}

let source = null;
let polling = null;

// A hidden page does not listen, because the tabs of a browser share its few connections to a worker.
function listen() {
  if (document.hidden || source !== null) return;
  source = new EventSource(at("/api/stream"));
  source.addEventListener("changed", () => refreshSoon());
  source.onopen = () => {
    clearInterval(polling);
    polling = null;
    tellLive(true);
  };
  source.onerror = () => {
    tellLive(false, "the stream of changes has ended");
    polling ??= setInterval(() => refreshSoon(0), POLL_MS);
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    source = null; // the worker has refused
    setTimeout(listen, 6 * POLL_MS);
  };
}

document.addEventListener("visibilitychange", () => {
  if (!document.querySelector("[data-live]")) return;
  if (!document.hidden) return listen(), refreshSoon(0);
  source?.close();
  source = null;
});

async function load(part) {
  const fresh = await page(part.dataset.load);
  part.replaceChildren(...fresh);
}

async function page(address) {
  const name = new URL(at(address)).pathname.slice(1);
  try {
    const response = await fetch(at(address));
    const found = new DOMParser().parseFromString(await response.text(), "text/html").getElementById(name);
    if (found) return [...document.adoptNode(found).childNodes];
    return [element("p", `The worker answered ${response.status}.`)];
  } catch (error) {
    return [element("p", `The worker did not answer: ${error.message}`)];
  }
}

// ---------------------------------------------------------------- actions

async function call(path, body) {
  const response = await fetch(at(path), {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Requested-With": "webhooks" },
    body: JSON.stringify(body ?? {}),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.detail ?? `the worker answered ${response.status}`);
  return answer;
}

function say(text, tone, details = []) {
  const note = element("div", "", { className: `note ${tone}` });
  const words = element("div", "");
  words.append(element("p", text));
  if (details.length) {
    const list = element("ul", "");
    list.append(...details.slice(0, 20).map((each) => element("li", each)));
    words.append(list);
  }
  const close = element("button", "Close", { type: "button" });
  close.onclick = () => note.remove();
  note.append(words, close);
  $("said").replaceChildren(note);
  note.scrollIntoView({ block: "nearest" });
}

// Whether the operator confirms. `content` are elements; the caller reads their inputs.
function ask(title, content, go) {
  $("ask-title").textContent = title;
  $("ask-body").replaceChildren(...content);
  $("ask-go").textContent = go;
  $("ask").returnValue = "cancel";
  $("ask").showModal();
  return new Promise((resolve) => {
    $("ask").onclose = () => resolve($("ask").returnValue === "go");
  });
}

const one = (id, action) => `/api/subscriptions/${encodeURIComponent(id)}/${action}`;
const effects = (answer) => [
  ...(answer.partitions ?? []).map((each) => `${each.topic} ${each.partition}: ${each.sentence}`),
  ...[answer.problem, answer.warning].filter(Boolean),
  ...(answer.problems ?? []).map((each) => (typeof each === "string" ? each : `${each.id}: ${each.problem ?? each.detail}`)),
];
const done = (answer, what) =>
  say(answer.result === "unchanged" ? "Nothing had to be changed." : what, "good", effects(answer));

function waits(answer) {
  const most = answer.waiting ?? answer.waitingAtMost;
  return most ? ` ${answer.waiting === null ? "Up to " : ""}${most.toLocaleString("en")} events wait.` : "";
}

const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

const ACTIONS = {
  async pause({ id }) {
    const answer = await call(one(id, "_pause"));
    done(answer, `Paused ${id}. Its events wait until it is resumed.`);
  },

  async resume({ id }) {
    const answer = await call(one(id, "_resume"));
    done(answer, `Resumed ${id}.${waits(answer)}`);
  },

  async start({ id }) {
    const answer = await call(one(id, "_start"));
    done(answer, `Started ${id}.${waits(answer)}`);
  },

  async skip({ id }, { topic, partition, offset }) {
    const event = await page(`/event?${new URLSearchParams({ id, topic, partition, offset })}`);
    const text = element("p", "This event will be dropped. It will be neither delivered nor written to the dead-letter topic:");
    if (!(await ask("Skip this event?", [text, ...event], "Skip it"))) return;
    const answer = await call(one(id, "_skip"), { topic, partition, offset });
    done(answer, `Skipped the event at offset ${offset} of ${topic} ${partition}.`);
  },

  async replay({ id }) {
    const label = element("label", "Deliver again all events written since (UTC) ");
    const input = element("input", "", { type: "datetime-local", step: 1, required: true });
    input.value = new Date(Date.now() - 3600e3).toISOString().slice(0, 19);
    label.append(input);
    if (!(await ask(`Replay ${id}`, [label], "Preview"))) return;
    const since = input.valueAsNumber;
    if (Number.isNaN(since)) throw new Error("enter the time to replay from");
    const timestamp = new Date(since).toISOString();
    const tried = await call(one(id, "_replay"), { timestamp, dryRun: true });
    const list = element("ul", "");
    list.append(...effects(tried).map((each) => element("li", each)));
    if (!(await ask(`Replay ${id} since ${timestamp}?`, [list], "Replay"))) return;
    const answer = await call(one(id, "_replay"), { timestamp });
    done(answer, `Replaying ${id} since ${timestamp}.`);
  },

  async test({ id }) {
    if (!(await ask(`Send a test event to ${id}?`, [], "Send"))) return;
    const answer = await call(one(id, "_test"));
    say(`The test event ${answer.webhookId} was written. It is delivered after all waiting events; see the attempts.`, "good");
  },

  async rotateSecret({ id }) {
    const text = element("p", "A new signing secret is generated and shown only once. Until the next rotation, the former secret also signs.");
    if (!(await ask(`Rotate the secret of ${id}?`, [text], "Rotate"))) return;
    const answer = await call(one(id, "_rotateSecret"));
    say("The secret was rotated.", "good", answer.secret ? [`the new secret: ${answer.secret}`] : effects(answer));
  },

  async resumeAll(_, filter) {
    const wanted = bulkFilter(filter);
    const tried = await call("/api/subscriptions/_bulk", { action: "resume", filter: wanted, dryRun: true });
    const matched = count(tried.matched, "subscription");
    const most = tried.waitingAtMost;
    const waiting = most === null ? "the number of waiting events is unknown" : `up to ${count(most, "event")} wait`;
    const text = element("p", `${matched} match now, and ${waiting}. Each subscription continues with the event that failed.`);
    if (!(await ask("Resume all?", [text], `Resume ${tried.matched.toLocaleString("en")}`))) return;
    const answer = await call("/api/subscriptions/_bulk", { action: "resume", filter: wanted });
    say(`Resumed ${answer.changed.toLocaleString("en")} of ${count(answer.matched, "subscription")}.`,
      answer.problems.length ? "slow" : "good", effects(answer));
  },

  async redriveAll(_, { subscription }) {
    const filter = subscription ? { subscription } : {};
    const tried = await call("/api/dead-letters/_redrive", { ...filter, dryRun: true });
    const text = element("p", `${count(tried.redriven, "dead letter")} would be written to the source topic again, each once.`);
    if (!(await ask("Redrive them?", [text], "Redrive"))) return;
    const answer = await call("/api/dead-letters/_redrive", filter);
    say(`Redrove ${count(answer.redriven, "dead letter")}; skipped ${answer.skipped}.`, "good", effects(answer));
  },
};

// The filter in the API's format; the list of subscriptions has metadata as `name=value`.
function bulkFilter({ metadata, state, cause, ...rest }) {
  const lists = { state: state ? [state] : null, cause: cause ? [cause] : null };
  const filter = Object.fromEntries(Object.entries({ ...rest, ...lists }).filter(([, value]) => value));
  const [name, ...value] = (metadata ?? "").split("=");
  return value.length ? { ...filter, metadata: { [name.trim()]: value.join("=").trim() } } : filter;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-act]");
  if (button === null) return;
  button.disabled = true;
  try {
    await ACTIONS[button.dataset.act](button.dataset, JSON.parse(button.dataset.body ?? "{}"));
  } catch (error) {
    say(`That did not work: ${error.message}`, "bad");
  } finally {
    button.disabled = false;
    refreshedAt = 0;
    refreshSoon();
    setTimeout(() => document.querySelectorAll("[data-load]").forEach(load), 3000);
  }
});

document.documentElement.classList.add("js");
document.querySelectorAll("[data-load]").forEach(load);
if (document.querySelector("[data-live]")) listen();
