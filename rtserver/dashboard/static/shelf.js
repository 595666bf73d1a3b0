// Presets and models: lists with buttons. `say(text, bad)` tells the user, `link` asks the server.
const node = (id) => document.getElementById(id);

function item(name, detail, buttons) {
  const row = document.createElement("li");
  const title = document.createElement("span");
  title.className = "name";
  title.textContent = name;
  if (detail) {
    const small = document.createElement("small");
    small.textContent = ` ${detail}`;
    title.append(small);
  }
  row.append(title, ...buttons.map(([text, label, act]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.setAttribute("aria-label", label);
    button.addEventListener("click", act);
    return button;
  }));
  return row;
}

export class Shelf {
  constructor(link, say, session) {
    this.link = link;
    this.say = say;
    this.session = session; // () => number of the session shown
    this.models = "";
    node("preset-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = node("preset-name").value.trim();
      this.ask("preset_save", { session: this.session(), name }, `saved “${name}”`).then(() => event.target.reset());
    });
    node("preset-file").addEventListener("change", (event) => this.upload(event.target));
    node("load-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const [folder, file] = JSON.parse(node("load-file").value || "[null, null]");
      this.say(`loading ${file} …`);
      this.ask("load", { folder, file }, `${file} is loaded`);
    });
    node("load-file").addEventListener("focus", () => this.refreshFiles());
  }

  async ask(what, content, done) {
    try {
      const answer = await this.link.request(what, content);
      if (answer.presets) this.showPresets(answer.presets);
      if (done) this.say(answer.skipped?.length ? `${done}, but not ${answer.skipped.join(", ")}` : done);
      return answer;
    } catch (error) {
      this.say(error.message, true);
      return {};
    }
  }

  showPresets(names) {
    node("preset-list").replaceChildren(...names.map((name) => item(name, "", [
      ["Recall", `Recall ${name}`, () => this.ask("preset_recall", { session: this.session(), name }, `recalled “${name}”`)],
      ["Share", `Download ${name}`, () => this.download(name)],
      ["Delete", `Delete ${name}`, () => confirm(`Delete the preset “${name}”?`) && this.ask("preset_delete", { name })],
    ])));
  }

  async download(name) {
    const { document: content } = await this.ask("preset_export", { name });
    if (!content) return;
    const anchor = document.createElement("a");
    anchor.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 2)], { type: "application/json" }));
    anchor.download = `${name.replace(/[^\p{L}\p{N} _-]+/gu, "")}.rtpreset.json`;
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
  }

  async upload(field) {
    const [file] = field.files;
    if (!file) return;
    try {
      if (file.size > 16384) throw new Error("too large");
      const content = JSON.parse(await file.text());
      await this.ask("preset_import", { document: content }, `added “${content?.name}”`);
    } catch (error) {
      this.say(`${file.name} is no preset: ${error.message}`, true);
    }
    field.value = "";
  }

  showModels(models, chosen) {
    const drawn = JSON.stringify([models, chosen]);
    if (drawn === this.models) return; // a button that is replaced loses the focus
    this.models = drawn;
    node("models").replaceChildren(...models.map((model) => {
      const detail = model.decoders?.length ? model.decoders.join(", ") : "probe";
      if (model.name === chosen) return item(model.name, `${detail} · for new sessions`, []);
      const act = () => this.ask("default", { model: model.name }, `new sessions play ${model.name}`);
      return item(model.name, detail, [["Use for new sessions", `Use ${model.name} for new sessions`, act]]);
    }));
  }

  async refreshFiles() {
    const { files } = await this.ask("files", {});
    const drawn = JSON.stringify(files);
    if (!files || drawn === this.files) return;
    this.files = drawn;
    node("load-file").replaceChildren(...files.map(({ file, folder, mb }) => {
      const option = new Option(`${file} (${mb} MB, ${folder})`, JSON.stringify([folder, file]));
      return option;
    }));
  }
}
