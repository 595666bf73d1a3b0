// Latency, compute time, queues and misses of a session, from its status.
const COLOURS = ["#47d1ff", "#58e08a", "#c792ea", "#ffb52e", "#f47ca0", "#9fb3c8"];
const node = (id) => document.getElementById(id);

// The rows of a list by their names: made anew only when the names change, so that what is being read stays in place.
function rowsOf(place, names, make) {
  const drawn = JSON.stringify(names);
  if (place.dataset.drawn !== drawn) {
    place.dataset.drawn = drawn;
    place.replaceChildren(...names.map(make));
  }
  return [...place.children];
}

function bar(place, parts, whole, format) {
  const shown = parts.filter(([, value]) => value > 0);
  const names = shown.map(([name]) => name);
  const [track, legend] = place.children;
  const colour = (i) => COLOURS[i % COLOURS.length];
  rowsOf(track, names, (_, i) => {
    const piece = document.createElement("i");
    piece.style.background = colour(i);
    return piece;
  }).forEach((piece, i) => { piece.style.flex = `0 0 ${Math.min(100, (100 * shown[i][1]) / whole)}%`; });
  rowsOf(legend, names, (_, i) => {
    const line = document.createElement("li");
    line.style.setProperty("--c", colour(i));
    return line;
  }).forEach((line, i) => { line.textContent = `${names[i]} ${format(shown[i][1])}`; });
}

function list(place, rows, alarming) {
  rowsOf(place, rows.map(([name]) => name), (name) => {
    const row = document.createElement("div");
    const [term, figure] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    row.append(term, figure);
    return row;
  }).forEach((row, i) => {
    const value = rows[i][1];
    row.lastChild.textContent = value;
    row.lastChild.className = alarming && value > 0 ? "some" : "";
  });
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
    bar(node("compute"), [], 1, String);
  }
  const queues = session.queues_frames;
  list(node("queues"), queues ? Object.entries(queues).map(([name, frames]) => [name, ms(frames)]) : [["not running", ""]]);
  node("misses-sum").textContent = `${session.misses} of ${session.blocks} blocks`;
  list(node("misses"), Object.entries(session.misses_by_cause), true);
}
