/* ---- Findings */

const findingRows = data.findings ? data.findings.rows : [];

function findingsView() {
  if (!data.findings) return [h("p", { class: "notice" }, "The dataset was not checked (check=false).")];
  const { errors, warnings, kinds } = data.findings;
  if (!kinds.length) return [h("p", { class: "empty" }, h("span", { class: "badge good" }, "0"),
    " python -m simgen check finds nothing wrong.")];
  const rows = findingRows.filter((row) => state.kind === null || row.name === state.kind);
  const pages = Math.max(1, Math.ceil(rows.length / ROWS));
  state.rows = Math.min(state.rows, pages - 1);
  const order = [...new Set(rows.map((row) => row.sample).filter((one) => one !== null))];
  return [
    h("section", { class: "panel" }, h("h2", {}, `${plural(errors, "error")}, ${plural(warnings, "warning")}`),
      h("p", { class: "note" }, "What python -m simgen check found. A click on a kind lists only its findings."),
      h("div", { class: "scroll" }, h("table", { id: "kinds-of-findings" }, h("thead", {},
        h("tr", {}, ["Finding", "Severity", "Number", "What to do"].map((name, k) => h("th", { class: k === 2
        ? "number" : "" }, name)))),
        h("tbody", {}, kinds.map((one) => h("tr", {},
          h("td", {}, h("button", { class: "pill", "aria-pressed": String(state.kind === one.name),
          onclick: () => { state.kind = state.kind === one.name ? null : one.name; state.rows = 0; update(); } },
          one.name)),
          h("td", {}, h("span", { class: `severity ${one.severity}` }, one.severity)), h("td", { class: "number" },
            number(one.count)), h("td", { class: "break" }, one.remedy))))))),
    h("section", { class: "panel" }, h("h2", {}, state.kind === null ? "All findings" : state.kind),
      errors + warnings > findingRows.length ? h("p", { class: "note" },
        `The first ${findingRows.length.toLocaleString("en-US")} are listed; check out=findings.json writes all.`)
        : null,
      h("div", { class: "scroll" }, h("table", { id: "findings" }, h("thead", {}, h("tr", {}, ["Finding", "Where",
        "What"].map((name) => h("th", {}, name)))),
        h("tbody", {}, rows.slice(ROWS * state.rows, ROWS * (state.rows + 1)).map((row) => h("tr", {},
          h("td", {}, h("span", { class: `severity ${row.severity}` }, row.name)),
          h("td", { class: "break" }, row.sample === null ? row.where : h("button", { class: "link",
            onclick: () => showSample(row.sample, order) }, row.where)), h("td", { class: "break" }, row.what)))))),
      pager(state.rows, pages, (page) => { state.rows = page; update(); }))];
}

/* ---- Provenance */

function tree(name, value) {
  if (value === null || typeof value !== "object") return h("div", { class: "leaf" }, h("span", {}, `${name}: `),
    JSON.stringify(value));
  const flat = JSON.stringify(value);
  if (Array.isArray(value) && flat.length < 120) return h("div", { class: "leaf" }, h("span", {}, `${name}: `), flat);
  const body = h("div");
  return h("details", { ontoggle: () => { if (!body.childElementCount) body.append(...Object.entries(value).map(([key,
    one]) => tree(key, one))); } },
    h("summary", {}, name, h("span", { class: "muted" }, ` ${Object.keys(value).length}`)), body);
}

function provenanceView() {
  const { command, manifest, recipe, files, written } = data.provenance;
  const listed = (values) => Object.entries(values).map(([name, one]) => `${name} ${one}`).join(", ");
  const pairs = [
    ["Folder", data.dataset.path],
    ["Samples", number(count)],
    ["Labeled blocks", number(total)],
    ["Left out", Object.entries(data.leftOut).map(([what, many]) => `${many} ${what}`).join("; ")],
    ["Seed", recipe.seed],
    ["Data version", recipe.data_version],
    ["Scene", recipe.scene],
    ["Renderer", recipe.renderer],
    ["Physics", recipe.physics],
    ["Picture", recipe.width ? `${recipe.width} x ${recipe.height} px` : ""],
    ["Files in the manifest", files === null ? "no manifest" : number(files)],
    ["Rendered with", listed(recipe.versions || {})],
    ["Evaluation", data.evaluation ? data.evaluation.path : ""],
    ["Checkpoint", data.evaluation ? `${data.evaluation.checkpoint}, SHA-256 ${data.evaluation.sha256}` : ""],
    ["This page by", listed({ simgen: written.simgen, python: written.python })],
  ];
  return [
    h("section", { class: "panel" }, h("h2", {}, "Make the dataset again"),
      command && recipe.data_version !== written.data_version
        ? h("p", { class: "notice error" },
          `The dataset has data version ${recipe.data_version}, and this simgen writes ${written.data_version}: ` +
          "the command gives other bytes. Use the version of simgen that rendered it.") : null,
      command ? [h("p", { class: "note" },
        "Gives the same bytes with the same data version of simgen, on any x86-64 processor and with any number of " +
          "workers."), copyable(command)]
        : h("p", { class: "note" }, files === null
          ? "The dataset has no manifest of simgen's, so how it was made is unknown."
          : "Its manifest does not describe a command that this version of simgen knows.")),
    h("section", { class: "panel" }, h("h2", {}, "About"), h("table", {}, h("tbody", {},
      pairs.filter(([, value]) => value !== undefined && value !== "").map(([name, value]) =>
      h("tr", {}, h("th", {}, name), h("td", { class: "break" }, String(value))))))),
    Object.keys(manifest).length ? h("section", { class: "panel" }, h("h2", {}, "Manifest"),
      h("div", { class: "tree" }, Object.entries({ ...manifest, recipe }).map(([name, value]) => tree(name, value))))
      : null];
}
