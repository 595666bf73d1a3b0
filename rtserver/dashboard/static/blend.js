// Two sessions of one model mixed before the decoder: which other one, and how much of it.
import { Knob } from "/dashboard/knob.js";

const SEND_MS = 50;
const SETTLE_MS = 600;
const node = (id) => document.getElementById(id);
const KNOB = { name: "blend", low: 0, high: 1, unit: "", default: 0, doc: "how much of the other session's latents is heard" };

export class Blend {
  constructor(link, say, session) {
    this.link = link;
    this.say = say;
    this.session = session; // () => number of the session shown
    this.touched = -Infinity;
    this.knob = new Knob(KNOB, "Blend", () => this.change());
    this.source = node("blend-source");
    this.source.addEventListener("change", () => this.change());
    node("blend").append(this.knob.element);
  }

  change() {
    this.touched = performance.now();
    this.timer ??= setTimeout(() => {
      this.timer = null;
      const content = { session: this.session(), amount: this.knob.value, source: Number(this.source.value) };
      this.link.request("blend", content).catch((error) => this.say(error.message, true));
    }, SEND_MS);
  }

  show(session, sessions) {
    const others = sessions.filter((other) => other.model === session.model && other.session !== session.session);
    node("blend").hidden = !others.length || !session.hop_us;
    const drawn = JSON.stringify([session.session, ...others.map((other) => other.session)]);
    if (drawn !== this.drawn) {
      this.drawn = drawn;
      this.touched = -Infinity;
      this.source.replaceChildren(...others.map((other) => new Option(`session ${other.session}`, other.session)));
    }
    if (performance.now() - this.touched < SETTLE_MS) return;
    this.knob.show(session.blend.amount);
    if (session.blend.source && document.activeElement !== this.source) this.source.value = session.blend.source;
  }
}
