// A knob: drag up and down, arrow keys, Page Up and Down, Home and End, wheel while focused; a double click resets it.
const SWEEP = 270;
const DRAG_PX = 180; // from end to end
const svg = (kind, attributes, parent) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return parent.appendChild(node);
};
const point = (degrees, radius) => {
  const angle = ((degrees + 135) * Math.PI) / 180;
  return [50 + radius * Math.cos(angle), 50 + radius * Math.sin(angle)];
};
const arc = (from, to) => `M${point(from, 40)}A40 40 0 ${to - from > 180 ? 1 : 0} 1 ${point(to, 40)}`;

export class Knob {
  // parameter: as the server tells it. changed(value): the user turned it.
  constructor(parameter, label, changed) {
    this.parameter = parameter;
    this.changed = changed;
    const span = parameter.high - parameter.low;
    this.step = span <= 2 ? 0.01 : 0.5;
    this.element = document.createElement("div");
    this.element.className = "knob";
    this.element.title = parameter.doc;
    this.dial = document.createElement("div");
    for (const [name, value] of Object.entries({
      role: "slider", tabindex: 0, "aria-label": label, "aria-valuemin": parameter.low, "aria-valuemax": parameter.high,
      "data-parameter": parameter.name,
    })) this.dial.setAttribute(name, value);
    const drawing = svg("svg", { viewBox: "0 0 100 100", "aria-hidden": "true" }, this.dial);
    svg("path", { d: arc(0, SWEEP) }, drawing);
    this.arc = svg("path", { class: "value" }, drawing);
    this.hand = svg("line", {}, drawing);
    this.text = document.createElement("output");
    const name = document.createElement("small");
    name.textContent = label;
    this.element.append(this.dial, this.text, name);
    this.show(parameter.default ?? parameter.low);
    this.dial.addEventListener("keydown", (event) => this.key(event));
    this.dial.addEventListener("pointerdown", (event) => this.grab(event));
    this.dial.addEventListener("dblclick", () => this.turn(parameter.default ?? parameter.low));
    this.dial.addEventListener("wheel", (event) => {
      if (document.activeElement !== this.dial) return;
      event.preventDefault();
      this.turn(this.value - Math.sign(event.deltaY) * this.step * 2);
    }, { passive: false });
  }

  turn(value) {
    const { low, high } = this.parameter;
    this.show(Math.min(high, Math.max(low, Math.round(value / this.step) * this.step)));
    this.changed(this.value);
  }

  show(value) {
    if (value === this.value || typeof value !== "number") return;
    this.value = value;
    const { low, high, unit } = this.parameter;
    const at = (SWEEP * (value - low)) / (high - low);
    this.arc.setAttribute("d", arc(0, Math.max(at, 0.01)));
    const [[x1, y1], [x2, y2]] = [point(at, 14), point(at, 30)];
    for (const [name, place] of Object.entries({ x1, y1, x2, y2 })) this.hand.setAttribute(name, place);
    this.text.textContent = `${value.toFixed(this.step < 0.1 ? 2 : 1)}${unit ? ` ${unit}` : ""}`;
    this.dial.setAttribute("aria-valuenow", value);
    this.dial.setAttribute("aria-valuetext", this.text.textContent);
  }

  key(event) {
    const by = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (by) this.turn(this.value + by * this.step);
    else if (event.key === "Home") this.turn(this.parameter.low);
    else if (event.key === "End") this.turn(this.parameter.high);
    else return;
    event.preventDefault();
  }

  grab(event) {
    const { low, high } = this.parameter;
    const [from, start] = [event.clientY, this.value];
    this.dial.setPointerCapture(event.pointerId);
    const move = (moved) => this.turn(start + ((from - moved.clientY) / DRAG_PX) * (high - low));
    this.dial.addEventListener("pointermove", move);
    for (const end of ["pointerup", "pointercancel"]) {
      this.dial.addEventListener(end, () => this.dial.removeEventListener("pointermove", move), { once: true });
    }
  }
}
