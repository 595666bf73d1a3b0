// Latency, compute time, queues and misses of a session, from its status.
const COLOURS = ["#47d1ff", "#58e08a", "#c792ea", "#ffb52e", "#f47ca0", "#9fb3c8"];
const node = (id) => document.getElementById(id);

function bar(place, parts, whole, format) {
  const shown = parts.filter(([, value]) => value > 0);
  place.innerHTML = `<div class="bar"></div><ul></ul>`;
  const [track, legend] = place.children;
  shown.forEach(([name, value], i) => {
    const piece = document.createElement("i");
    piece.style.cssText = `flex: 0 0 ${Math.min(100, (100 * value) / whole)}%; background: ${COLOURS[i % COLOURS.length]}`;
    const line = document.createElement("li");
    line.style.setProperty("--c", COLOURS[i % COLOURS.length]);
    line.textContent = `${name} ${format(value)}`;
    track.append(piece);
    legend.append(line);
  });
}

function list(place, rows, alarming) {
  place.replaceChildren(...rows.map(([name, value]) => {
    const row = document.createElement("div");
    const [term, figure] = [document.createElement("dt"), document.createElement("dd")];
    [term.textContent, figure.textContent] = [name, value];
    if (alarming && value > 0) figure.className = "some";
    row.append(term, figure);
    return row;
  }));
}

export function showTiming(session) {
  const ms = (frames) => `${((1000 * frames) / session.sample_rate_hz).toFixed(1)} ms`;
  const { reported, fade, ...parts } = session.latency_frames;
  node("latency-sum").textContent = `${session.latency_ms.toFixed(1)} ms, ${reported} frames`;
  bar(node("latency"), Object.entries(parts), reported || 1, ms);

  const compute = session.compute_us;
  if (compute && session.hop_us) {
    const sum = compute.encoder + compute.decoder;
    node("compute-sum").textContent = `${(sum / 1000).toFixed(2)} of ${(session.hop_us / 1000).toFixed(0)} ms`;
    bar(node("compute"), Object.entries(compute), session.hop_us, (us) => `${(us / 1000).toFixed(2)} ms`);
  } else {
    node("compute-sum").textContent = session.hop_us ? "no hop yet" : "no network";
    node("compute").replaceChildren();
  }
  const queues = session.queues_frames;
  list(node("queues"), queues ? Object.entries(queues).map(([name, frames]) => [name, ms(frames)]) : [["not running", ""]]);
  node("misses-sum").textContent = `${session.misses} of ${session.blocks} blocks`;
  list(node("misses"), Object.entries(session.misses_by_cause), true);
}
