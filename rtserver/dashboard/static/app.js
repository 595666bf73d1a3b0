// The page: which session is shown, and who shows what of it.
import { Blend } from "/dashboard/blend.js";
import { Knob } from "/dashboard/knob.js";
import { Link } from "/dashboard/link.js";
import { Scope, noteOf, share } from "/dashboard/scope.js";
import { Shelf } from "/dashboard/shelf.js";
import { showTiming } from "/dashboard/timing.js";

const SEND_MS = 33;
const SETTLE_MS = 600;
const LABELS = {
  mix: "Mix", output_gain_db: "Output", input_gain_db: "Input", gate_db: "Gate", temperature: "Temperature",
  fallback: "While a block is missing", seed: "Seed (next start)",
};
const node = (id) => document.getElementById(id);
const label = (name) => LABELS[name] ?? name.replaceAll("_", " ");

const link = new Link();
const scopes = { in: new Scope("Input", 215), out: new Scope("Translation", 45) };
const knobs = new Map();
const fields = new Map();
const unsent = new Map();
const touched = new Map(); // when the user last set a parameter: what the server said before that is old
let sessions = [];
let shown = null;
let toastTimer;

function say(text, bad = false) {
  const toast = node("toast");
  toast.textContent = text;
  toast.className = bad ? "bad" : "";
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { toast.textContent = ""; }, bad ? 8000 : 4000);
}

const blend = new Blend(link, say, () => shown);
const shelf = new Shelf(link, say, () => shown);

// --- parameters ---

// The newest value of each parameter, at most 30 times a second.
function set(name, value) {
  if (shown === null) return;
  touched.set(name, performance.now());
  if (!unsent.size) setTimeout(flush, SEND_MS);
  unsent.set(name, [shown, value]);
}

const settled = (name) => performance.now() - (touched.get(name) ?? -Infinity) > SETTLE_MS;

function flush() {
  for (const [name, [session, value]] of unsent) {
    link.request("set", { session, name, value }).catch((error) => say(error.message, true));
  }
  unsent.clear();
}

function build(parameters) {
  knobs.clear();
  fields.clear();
  node("knobs").replaceChildren();
  node("fields").replaceChildren();
  for (const parameter of parameters) {
    const { name } = parameter;
    if (parameter.type === "f") {
      const knob = new Knob(parameter, label(name), (value) => set(name, value));
      knobs.set(name, knob);
      node("knobs").append(knob.element);
    } else if (parameter.choices.length || name === "seed") {
      const field = document.createElement(name === "seed" ? "input" : "select");
      if (name === "seed") Object.assign(field, { type: "number", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 });
      else field.append(...parameter.choices.map((choice) => new Option(choice)));
      field.dataset.parameter = name;
      field.addEventListener("change", () => set(name, name === "seed" ? Number(field.value) : field.value));
      const caption = document.createElement("label");
      caption.title = parameter.doc;
      caption.append(label(name), field);
      fields.set(name, field);
      node("fields").append(caption);
    }
  }
}

function showInstruments(session) {
  const place = node("instruments");
  const drawn = JSON.stringify([session.session, session.decoders]);
  if (place.dataset.drawn !== drawn) {
    place.dataset.drawn = drawn;
    place.hidden = !session.decoders.length;
    const legend = place.querySelector("legend");
    place.replaceChildren(legend, ...session.decoders.map((decoder) => {
      const [choice, radio, text] = ["label", "input", "span"].map((kind) => document.createElement(kind));
      Object.assign(radio, { type: "radio", name: "decoder", value: decoder });
      radio.addEventListener("change", () => set("decoder", decoder));
      text.textContent = decoder;
      choice.append(radio, text);
      return choice;
    }));
  }
  for (const radio of place.querySelectorAll("input")) {
    if (settled("decoder")) radio.checked = radio.value === session.parameters.decoder;
  }
}

function showBypass(dry) {
  node("wet").setAttribute("aria-pressed", String(!dry));
  node("dry").setAttribute("aria-pressed", String(dry));
}

function showSession(session) {
  const { parameters } = session;
  for (const [name, knob] of knobs) if (settled(name)) knob.show(parameters[name]);
  for (const [name, field] of fields) {
    if (document.activeElement !== field && settled(name)) field.value = parameters[name];
  }
  if (settled("bypass")) showBypass(Boolean(parameters.bypass));
  showInstruments(session);
  blend.show(session, sessions);
  showTiming(session);
}

// --- sessions ---

function choose(number) {
  if (number === shown) return;
  shown = number;
  for (const scope of Object.values(scopes)) scope.clear();
  touched.clear();
  if (number !== null) link.request("watch", { session: number }).catch(() => {});
  showTabs();
}

function showTabs() {
  const drawn = JSON.stringify(sessions.map(({ session, model }) => [session, model]));
  const place = node("sessions");
  if (place.dataset.drawn !== drawn) {
    place.dataset.drawn = drawn;
    place.replaceChildren(...sessions.map(({ session, model }) => {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.dataset.session = session;
      tab.innerHTML = `<span></span><span class="tiny"><i></i></span><span class="tiny out"><i></i></span>`;
      tab.firstChild.textContent = `${session} · ${model}`;
      tab.addEventListener("click", () => {
        choose(session);
        showSession(sessions.find((known) => known.session === session));
      });
      return tab;
    }));
  }
  for (const tab of place.children) tab.setAttribute("aria-current", String(Number(tab.dataset.session) === shown));
}

function showStatus(status) {
  sessions = status.sessions;
  const known = sessions.find(({ session }) => session === shown);
  if (!known) choose(sessions.length ? sessions[0].session : null);
  showTabs();
  node("main").hidden = !sessions.length;
  node("empty").hidden = Boolean(sessions.length);
  const session = known ?? sessions[0];
  if (session) showSession(session);
  const { worker } = status;
  const server = node("server");
  server.className = status.state === "ready" && worker.state === "running" ? "good" : "";
  server.title = `rtserver ${status.version}, up for ${Math.round(status.uptime_s / 60)} minutes`;
  server.textContent = [status.state, `worker ${worker.state}`, worker.isa, worker.precision,
    worker.restarts ? `${worker.restarts} restarts` : ""].filter(Boolean).join(" · ");
  shelf.showModels(status.models, status.default_model);
}

function showMeters(meters) {
  for (const tab of node("sessions").children) {
    const levels = meters[tab.dataset.session];
    const [input, output] = tab.querySelectorAll("i");
    input.style.transform = `scaleX(${levels ? share(levels.in[0]) : 0})`;
    output.style.transform = `scaleX(${levels ? share(levels.out[0]) : 0})`;
  }
  const mine = meters[shown];
  if (!mine) return;
  scopes.in.show(mine.in, mine.in_spectrum, mine.pitch_hz);
  scopes.out.show(mine.out, mine.out_spectrum, null);
  [node("note").textContent, node("pitch").textContent] = noteOf(mine.pitch_hz);
}

// --- the whole ---

const panic = (content) => link.request("panic", content).then(() => say("silenced")).catch((error) => say(error.message, true));
const bypass = (dry) => {
  showBypass(dry);
  set("bypass", dry ? 1 : 0);
};

node("scopes").append(scopes.in.element, scopes.out.element);
node("panic").addEventListener("click", () => panic({}));
node("panic-session").addEventListener("click", () => panic({ session: shown }));
node("wet").addEventListener("click", () => bypass(false));
node("dry").addEventListener("click", () => bypass(true));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || node("key-dialog").open) return;
  if (event.key === "Escape" && !event.target.matches("select")) panic({}); // which closes a list
  else if (event.key === "b" && !event.target.matches("input:not([type=radio]), select")) {
    bypass(node("dry").getAttribute("aria-pressed") !== "true");
  }
});

link.addEventListener("hello", ({ detail }) => {
  build(detail.parameters);
  shelf.showPresets(detail.presets);
  shelf.refreshFiles();
  const chosen = shown;
  shown = null;
  if (chosen !== null) choose(chosen);
});
link.addEventListener("status", ({ detail }) => showStatus(detail));
link.addEventListener("meters", ({ detail }) => showMeters(detail));
link.addEventListener("presets", ({ detail }) => shelf.showPresets(detail));
link.addEventListener("gone", ({ detail }) => {
  node("server").className = "";
  node("server").textContent = detail.wrongKey ? "wrong key" : "no server; trying again …";
  node("key-text").textContent = detail.wrongKey ? "That was not the key." : "This server was started with a key.";
});
link.addEventListener("key-wanted", () => node("key-dialog").open || node("key-dialog").showModal());
node("key-form").addEventListener("submit", () => {
  link.giveKey(node("key").value);
  node("key").value = "";
});
link.connect();
