/* ---- Samples */

const shown = new Set();

function applyLabels() {
  for (const [name] of LABELS) document.documentElement.toggleAttribute(`data-no-${name}`, !shown.has(name));
  for (const pill of document.querySelectorAll("[data-label]")) {
    pill.setAttribute("aria-pressed", String(shown.has(pill.dataset.label)));
  }
}

const known = new Set(); // the labels that some block has
for (const entry of Object.values(data.thumbnails)) {
  for (const block of entry.blocks || []) for (const key of Object.keys(block)) known.add(key);
}
shown.add(known.has("outline") ? "outlines" : "boxes");

function labelPills() {
  const needs = { boxes: ["visible", "whole"], outlines: ["outline"], axes: ["axes"], keypoints: ["keypoints"],
    names: ["name"] };
  return h("span", { class: "pills", role: "group", "aria-label": "Labels" }, LABELS.map(([name, text]) => {
    const there = needs[name].some((key) => known.has(key));
    const flip = () => { if (!shown.delete(name)) shown.add(name); applyLabels(); };
    return h("button", { class: "pill", "data-label": name, disabled: !there, onclick: flip,
      title: there ? `Show ${name}` : `The dataset stores no ${name}`, "aria-pressed": String(shown.has(name)) }, text);
  }));
}

/** The labels of a sample. Those of blocks that do not pass the filters are pale. */
function overlay(sample, only) {
  const entry = data.thumbnails[sample], [width, height] = entry.size;
  const ofBlocks = [...filters.keys()].some((column) => column.of === "block");
  const unit = width / 100;
  const parts = entry.blocks.map((block, k) => {
    if (only !== undefined && only !== k) return null;
    const color = COLORS[k % COLORS.length];
    const twice = (tag, attributes) => [s(tag, { ...attributes, class: "halo" }),
      s(tag, { ...attributes, class: `ink ${attributes.class || ""}`, stroke: color })];
    const rect = (box, kind) => twice("rect", { x: box[0] - 0.5, y: box[1] - 0.5, width: box[2], height: box[3],
      class: kind });
    const boxes = s("g", { class: "l-boxes" }, block.whole && String(block.whole) !== String(block.visible)
      ? rect(block.whole, "dashed") : null,
      block.visible ? rect(block.visible, "") : null);
    const outlines = s("g", { class: "l-outlines" }, (block.outline || []).map((points) => [
      s("polygon", { points: points.join(" "), class: "fill", fill: color }), twice("polygon",
        { points: points.join(" ") })]));
    const axes = s("g", { class: "l-axes" }, block.axes ? AXES.map((stroke, axis) => {
      const [u, v] = block.axes, [a, b] = block.axes.slice(2 * axis + 2);
      const ends = { x1: u, y1: v, x2: a, y2: b };
      return [s("line", { ...ends, class: "halo" }), s("line", { ...ends, class: "ink", stroke })];
    }) : null);
    const keypoints = s("g", { class: "l-keypoints" }, (block.keypoints || []).map(([u, v, seen]) =>
      s("circle", { cx: u, cy: v, r: 0.7 * unit, class: "point", stroke: seen === 2 ? "rgb(0 0 0 / .8)" : color,
        fill: seen === 2 ? color : "rgb(0 0 0 / .5)" })));
    const box = block.visible || block.whole;
    const names = s("g", { class: "l-names" }, box ? s("text", { class: "tag", x: Math.max(0, box[0]),
      y: Math.max(5 * unit, box[1] - unit),
      "font-size": 4.4 * unit, "stroke-width": 0.9 * unit, fill: color }, block.name) : null);
    const pale = ofBlocks && only === undefined && !selected.blocks[first[sample] + k];
    return s("g", { opacity: pale ? 0.3 : null }, boxes, outlines, axes, keypoints, names);
  });
  return s("svg", { viewBox: `-0.5 -0.5 ${width} ${height}`, "aria-hidden": "true" }, parts);
}

function shot(sample, only) {
  const entry = data.thumbnails[sample];
  const [width, height] = (entry && entry.size) || [4, 3];
  const style = { "aspect-ratio": `${width} / ${height}` };
  if (!entry) return h("span", { class: "shot", style }, h("span", { class: "none" }, "no thumbnail"));
  if (entry.error) return h("span", { class: "shot", style }, h("span", { class: "none" }, entry.error));
  return h("span", { class: "shot", style }, h("img", { src: entry.image, alt: data.samples[sample],
    loading: "lazy" }), overlay(sample, only));
}

const findings = find("check.findings", "picture");
// The folder that all samples are in is left out of their captions.
const folder = (data.samples[0] || "").replace(/[^/]*$/, "");
const prefix = data.samples.every((name) => name.startsWith(folder)) ? folder.length : 0;

function card(sample, order, value, only) {
  const faults = findings ? findings.value(sample) : 0;
  return h("button", { class: "card", "data-sample": sample, title: data.samples[sample],
    onclick: () => showSample(sample, order) },
    shot(sample, only),
    h("span", { class: "caption" }, h("span", { class: "id" }, data.samples[sample].slice(prefix)),
      faults ? h("span", { class: "badge error", title: plural(faults, "finding") }, `! ${faults}`) : null,
      value ? h("span", { class: "value", title: value }, value) : null));
}

/** The numbers of the selected samples in the chosen order. A picture has the greatest or least value of its selected
    blocks. */
function sorted() {
  const numbers = [];
  for (let k = 0; k < count; k++) if (selected.samples[k]) numbers.push(k);
  const column = state.sort;
  if (!column) return state.descending ? numbers : numbers.reverse();
  const keys = new Map(numbers.map((k) => [k, codeOf(column, k)]));
  const sign = state.descending ? -1 : 1;
  return numbers.sort((a, b) => {
    const x = keys.get(a), y = keys.get(b);
    return x === null || y === null ? (x === null) - (y === null) || a - b : sign * (x - y) || a - b;
  });
}

function rowOf(column, sample) {
  if (column.of !== "block") return column.codes[sample] === column.none ? null : sample;
  let best = null;
  for (let row = first[sample]; row < first[sample + 1]; row++) {
    if (!selected.blocks[row] || column.codes[row] === column.none) continue;
    if (best === null || (column.codes[row] > column.codes[best]) === state.descending) best = row;
  }
  return best;
}

function codeOf(column, sample) {
  const row = rowOf(column, sample);
  return row === null ? null : column.codes[row];
}

function pager(number, pages, go) {
  if (pages < 2) return null;
  return h("div", { class: "pager" },
    h("button", { class: "button", disabled: number === 0, onclick: () => go(number - 1) }, "Previous"),
    h("span", { class: "number" }, `Page ${number + 1} of ${pages}`),
    h("button", { class: "button", disabled: number === pages - 1, onclick: () => go(number + 1) }, "Next"));
}

function filterRow() {
  const chips = [...filters].map(([column, bins]) =>
    h("button", { class: "chip", title: "Remove this filter", onclick: () => setFilter(column, null) },
      `${column.label}: ${describe(column, bins)}`));
  if (state.search) chips.push(h("button", { class: "chip",
    onclick: () => { state.search = ""; searchField.value = ""; changed(); } }, `name: ${state.search}`));
  return h("div", { class: "filters", id: "filters" },
    h("span", { id: "count" }, h("b", { class: "number" }, selected.count.toLocaleString("en-US")),
      ` of ${plural(count, "sample")}, `,
      h("b", { class: "number" }, selected.total.toLocaleString("en-US")), ` of ${plural(total, "block")}`),
    chips, chips.length > 1 ? h("button", { class: "link",
      onclick: () => { filters.clear(); state.search = ""; searchField.value = ""; changed(); } }, "clear all") : null,
    h("span", { class: "spread" }), searchField);
}

function sortField() {
  const choose = () => {
    state.sort = select.value === "" ? null : columns[Number(select.value)];
    state.descending = true;
    changed();
  };
  const select = h("select", { id: "sort", onchange: choose },
    h("option", { value: "" }, "Order in the dataset"),
    [...grouped(varying)].map(([name, members]) => h("optgroup", { label: name }, members.map((column) =>
      h("option", { value: columns.indexOf(column), selected: column === state.sort }, column.label)))));
  const direction = h("button", { class: "button", id: "direction", title: "Reverse the order",
    onclick: () => { state.descending = !state.descending; changed(); } },
    state.sort ? (state.descending ? "greatest first" : "least first") : state.descending ? "forward" : "backward");
  return h("label", {}, "Sort by", select, direction);
}

const searchField = h("input", { type: "search", placeholder: "Name", "aria-label": "Search samples by name",
  oninput: (event) => { state.search = event.target.value; changed(); searchField.focus(); } });
const SIZES = [["S", "150px"], ["M", "220px"], ["L", "340px"]];

function sizes() {
  const now = document.documentElement.style.getPropertyValue("--card");
  return h("span", { class: "segmented", role: "group", "aria-label": "Size of the thumbnails" },
    SIZES.map(([name, width]) =>
    h("button", { "aria-pressed": String(now === width),
      onclick: () => { document.documentElement.style.setProperty("--card", width); update(); } }, name)));
}

function samplesView() {
  const numbers = sorted();
  const pages = Math.max(1, Math.ceil(numbers.length / PAGE));
  state.page = Math.min(state.page, pages - 1);
  const made = Object.keys(data.thumbnails).length;
  const flip = () => { state.pictured = !state.pictured; changed(); };
  const some = made < count
    ? h("p", { class: "notice", id: "some" },
      `Thumbnails and labels of ${made.toLocaleString("en-US")} of ${plural(count, "sample")}, to keep the file small: ` +
        "those with the greatest errors, those with findings, and others at random. Factors are those of all samples. ",
      h("button", { class: "link", onclick: flip }, state.pictured ? "Show all" : "Show only those"))
    : null;
  const visible = numbers.slice(PAGE * state.page, PAGE * (state.page + 1));
  const value = (k) => {
    const row = state.sort && rowOf(state.sort, k);
    return state.sort ? (row === null ? "none" : state.sort.text(row)) : "";
  };
  return [some,
    h("div", { class: "toolbar" }, sideButton(), labelPills(), sortField(), h("span", { class: "spread" }),
      sizes()),
    filterRow(),
    visible.length ? h("div", { class: "cards", id: "cards" }, visible.map((k) => card(k, numbers, value(k))))
      : h("p", { class: "empty" }, count ? "No sample passes all filters" : "No samples"),
    pager(state.page, pages, (page) => { state.page = page; update(); window.scrollTo(0, 0); })];
}

const sideButton = () => h("button", { class: "button toggle-side", onclick: () => frame.classList.toggle("open") },
  "Factors");

/* ---- One sample */

const dialog = h("dialog", { "aria-label": "One sample",
  onclick: (event) => { if (event.target === dialog) dialog.close(); } });

function showSample(sample, order) {
  const place = order.indexOf(sample);
  const step = (by) => h("button", { class: "button", disabled: order[place + by] === undefined,
    onclick: () => showSample(order[place + by], order) }, by < 0 ? "Previous" : "Next");
  const rows = findingRows.filter((row) => row.sample === sample);
  const { fault } = data.thumbnails[sample] || {};
  const ofBlock = columns.filter((column) => column.of === "block" && ["kind", "visible_fraction", "distance",
    "texture", "prediction.result", "prediction.adds_cm", "prediction.rotation_deg"].includes(column.key));
  const blocks = [];
  for (let row = first[sample]; row < first[sample + 1]; row++) {
    blocks.push(h("tr", {}, h("td", {}, swatch(row - first[sample])), ofBlock.map((column) => h("td",
      { class: column.kind === "number" ? "number" : "" }, column.text(row)))));
  }
  const [, scene, image] = data.samples[sample].match(/(\d+)\/(\d+)$/) || [];
  const command = data.provenance.one && image !== undefined
    ? `${data.provenance.one} start=${1000 * Number(scene) + Number(image)}` : null;
  const groups = grouped(columns.filter((column) => column.of === "picture"));
  dialog.replaceChildren(
    h("div", { class: "dialog-head" }, h("h2", {}, data.samples[sample]), h("span", { class: "spread" }), step(-1),
      step(1), h("button", { class: "button", onclick: () => dialog.close() }, "Close")),
    h("div", { class: "dialog-body" },
      h("div", {}, shot(sample), h("p", { class: "gap" }), labelPills(), fault ? h("p", { class: "notice error" },
        fault) : null,
        h("h3", {}, plural(blocks.length, "block")),
        blocks.length ? h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th"),
          ofBlock.map((column) => h("th", { class: column.kind === "number" ? "number" : "" },
          column.key.replace("prediction.", "").replaceAll("_", " "))))), h("tbody", {}, blocks))) : null,
        rows.length ? [h("h3", {}, "Findings"), rows.map((row) => h("p", {},
          h("span", { class: `severity ${row.severity}` }, row.name), ` ${row.where}: ${row.what}`))] : null,
        command ? [h("h3", {}, "Render it again"), copyable(command)] : null),
      h("div", {}, [...groups].map(([name, members]) => [h("h3", {}, name), h("table", { class: "values" },
        h("tbody", {}, members.map((column) =>
        h("tr", {}, h("td", { class: "muted break", title: column.help }, column.label), h("td", { class: "number" },
          column.text(sample))))))]))));
  applyLabels();
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

const swatch = (k) => s("svg", { width: 10, height: 10, "aria-hidden": "true" }, s("rect", { width: 10, height: 10,
  rx: 2, fill: COLORS[k % COLORS.length] }));

function copyable(text) {
  const code = h("pre", { class: "code" }, text);
  const button = h("button", { class: "button", onclick: () => {
    const range = document.createRange();
    range.selectNodeContents(code);
    window.getSelection().removeAllRanges();
    window.getSelection().addRange(range);
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  } }, "Copy");
  return h("div", { class: "copy-row" }, code, button);
}
