// One side of the signal: level meter with a peak that holds, and a spectrogram that scrolls.
const FLOOR_DB = -90;
const COLUMNS = 400;
const BANDS = 96;
const [LOWEST_HZ, HIGHEST_HZ] = [50, 8000];
const HOLD_FRAMES = 30;

// 256 colours from black over the side's hue to white.
const palette = (hue) => Array.from({ length: 256 }, (_, level) => {
  const x = level / 255;
  return `hsl(${hue - 40 * (1 - x)} 90% ${Math.round(100 * x ** 1.7)}%)`;
});
const height = (hz) => Math.log(hz / LOWEST_HZ) / Math.log(HIGHEST_HZ / LOWEST_HZ);
export const share = (db) => Math.min(1, Math.max(0, 1 - db / FLOOR_DB));

export class Scope {
  constructor(title, hue) {
    this.colours = palette(hue);
    this.held = 0;
    this.age = 0;
    this.element = document.createElement("div");
    this.element.className = "scope";
    this.element.innerHTML = `<p>${title} <output></output></p>
      <div class="meter" role="meter" aria-label="${title} level, dB" aria-valuemin="${FLOOR_DB}" aria-valuemax="0"><i></i><b></b></div>
      <div class="spectrogram"><canvas width="${COLUMNS}" height="${BANDS}" role="img" aria-label="${title} spectrogram, 50 Hz to 8 kHz"></canvas></div>`;
    const part = (selector) => this.element.querySelector(selector);
    [this.text, this.meter, this.bar, this.peak, this.canvas] = ["output", ".meter", "i", "b", "canvas"].map(part);
    this.context = this.canvas.getContext("2d", { alpha: false });
    for (const [hz, text] of [[100, "100 Hz"], [1000, "1 kHz"], [4000, "4 kHz"]]) {
      const label = document.createElement("span");
      label.textContent = text;
      label.style.bottom = `${100 * height(hz)}%`;
      part(".spectrogram").append(label);
    }
  }

  clear() {
    this.context.fillRect(0, 0, COLUMNS, BANDS);
  }

  // levels: [peak, RMS] in dB. spectrum: base64 of a byte a band. pitch: Hz to be marked, or null.
  show(levels, spectrum, pitch) {
    const [peak, rms] = levels;
    this.bar.style.clipPath = `inset(0 ${100 * (1 - share(rms))}% 0 0)`;
    this.age += 1;
    if (share(peak) >= this.held || this.age > HOLD_FRAMES) [this.held, this.age] = [share(peak), 0];
    this.peak.style.left = `calc(${100 * this.held}% - 3px)`;
    this.text.textContent = peak > FLOOR_DB ? `${peak.toFixed(1)} dB` : "silent";
    this.meter.setAttribute("aria-valuenow", rms);
    if (spectrum) this.column(spectrum, pitch);
  }

  column(spectrum, pitch) {
    const { context, canvas } = this;
    context.drawImage(canvas, -1, 0);
    const bytes = atob(spectrum);
    for (let band = 0; band < BANDS; band += 1) {
      context.fillStyle = this.colours[bytes.charCodeAt(band)];
      context.fillRect(COLUMNS - 1, BANDS - 1 - band, 1, 1);
    }
    if (pitch) {
      context.fillStyle = "#fff";
      context.fillRect(COLUMNS - 1, BANDS - 1 - Math.floor(height(pitch) * BANDS), 1, 2);
    }
  }
}

const NOTES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];

// "A4 +3 cents" of a frequency: [note, rest].
export function noteOf(hz) {
  if (!hz) return ["–", ""];
  const exact = 69 + 12 * Math.log2(hz / 440);
  const midi = Math.round(exact);
  const cents = Math.round(100 * (exact - midi));
  return [`${NOTES[((midi % 12) + 12) % 12]}${Math.floor(midi / 12) - 1}`, `${cents < 0 ? "−" : "+"}${Math.abs(cents)} cents, ${hz.toFixed(0)} Hz`];
}
