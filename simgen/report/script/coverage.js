/* ---- Coverage */

const shade = (share) => (share > 0
  ? `color-mix(in oklab, var(--accent) ${Math.round(12 + 88 * share)}%, var(--surface))` : null);

/** Counts of the selected blocks in the cells of two columns, [x][y]. */
function cells(x, y, mask) {
  const counts = Array.from({ length: x.bins }, () => new Int32Array(y.bins));
  for (let row = 0; row < total; row++) {
    if (mask[row] && x.bin[row] >= 0 && y.bin[row] >= 0) counts[x.bin[row]][y.bin[row]]++;
  }
  return counts;
}

/** A grid of cells; a click selects the blocks in one. `across` and `down` map values to px, `area` weighs a cell. */
function grid(id, x, y, size, across, down, area, marks) {
  const counts = cells(x, y, selected.blocks);
  let most = 0;
  const density = (i, j) => counts[i][j] / area(i, j);
  for (let i = 0; i < x.bins; i++) for (let j = 0; j < y.bins; j++) most = Math.max(most, density(i, j));
  const picked = (i, j) => filters.has(x) && filters.has(y) && filters.get(x).has(i) && filters.get(y).has(j);
  const list = [];
  for (let i = 0; i < x.bins; i++) {
    for (let j = 0; j < y.bins; j++) {
      const [left, right] = [across(x.edge(i)), across(x.edge(i + 1))].sort((a, b) => a - b);
      const [top, bottom] = [down(y.edge(j)), down(y.edge(j + 1))].sort((a, b) => a - b);
      const name = `${x.label} ${x.range(i)}, ${y.label} ${y.range(j)}: ${plural(counts[i][j], "block")}`;
      const choose = () => {
        const was = picked(i, j) && filters.get(x).size === 1 && filters.get(y).size === 1;
        if (was) { filters.delete(x); filters.delete(y); } else { filters.set(x, new Set([i])); filters.set(y,
          new Set([j])); }
        changed();
      };
      list.push(s("rect", { x: left + 0.5, y: top + 0.5, width: Math.max(0.5, right - left - 1), height: Math.max(0.5,
        bottom - top - 1), rx: 1.5,
        class: `cell ${counts[i][j] ? "" : "empty-cell"} ${picked(i, j) ? "picked" : ""}`,
          style: { fill: shade(density(i, j) / (most || 1)) || "var(--raised)" }, onclick: choose },
        s("title", {}, name)));
    }
  }
  return [s("svg", { class: "chart", id, viewBox: `0 0 ${size[0]} ${size[1]}`, role: "img" }, list, marks), counts];
}

function ticks(values, across, y, unit) {
  return values.map((value) => s("text", { x: across(value), y, "text-anchor": "middle" }, number(value) + unit));
}

function rounded(low, high) {
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500,
    1000].find((one) => (high - low) / one <= 7) || (high - low) / 5;
  const values = [];
  const last = Math.floor(high / step + 1e-9);
  for (let k = Math.ceil(low / step - 1e-9); k <= last; k++) values.push(Number((k * step).toPrecision(12)));
  return values;
}

/** A map of two lengths with the same scale: `flip` is true where y points up. */
function mapOf(id, x, y, frameBox, flip, unit) {
  const low = [x.edge(0), y.edge(0)], high = [x.edge(x.bins), y.edge(y.bins)];
  if (frameBox) for (const k of [0, 1]) { low[k] = Math.min(low[k], frameBox[0][k]); high[k] = Math.max(high[k],
    frameBox[1][k]); }
  const width = 520, left = 46, scale = Math.min((width - left - 12) / (high[0] - low[0]), 420 / (high[1] - low[1]));
  const tall = (high[1] - low[1]) * scale, right = left + (high[0] - low[0]) * scale;
  const across = (value) => left + (value - low[0]) * scale;
  const down = (value) => 8 + (flip ? high[1] - value : value - low[1]) * scale;
  const marks = [ticks(rounded(low[0], high[0]), across, tall + 26, ""),
    rounded(low[1], high[1]).map((value) => s("text", { x: left - 8, y: down(value) + 4, "text-anchor": "end" },
      number(value))),
    s("text", { x: (left + right) / 2, y: tall + 42, "text-anchor": "middle" }, `${x.key} (${unit})`),
    s("text", { x: 4, y: down((low[1] + high[1]) / 2) + 4 }, y.key),
    frameBox ? s("rect", { x: across(frameBox[0][0]), y: down(flip ? frameBox[1][1] : frameBox[0][1]),
      width: (frameBox[1][0] - frameBox[0][0]) * scale, height: (frameBox[1][1] - frameBox[0][1]) * scale,
      class: "frame-line", "pointer-events": "none" }) : null];
  return grid(id, x, y, [width, tall + 48], across, down, () => 1, marks);
}

const legend = (least, most) => h("div", { class: "legend" }, least, h("span", { class: "ramp" }), most);

function tablePanel() {
  const x = find("x", "block"), y = find("y", "block"), box = data.dataset.table;
  const title = h("h2", {}, "Positions on the table");
  if (!x || !y || x.kind === "constant" || y.kind === "constant") {
    return h("section", { class: "panel" }, title, h("p", { class: "note" }, x
      ? "All blocks lie on one line: there is nothing to map."
      : "The dataset states no table. If the world's plane z = 0 is one, add table=true."));
  }
  const [chart, counts] = mapOf("table-map", x, y, box, true, "m");
  let inside = 0, used = 0;
  for (let i = 0; i < x.bins; i++) for (let j = 0; j < y.bins; j++) {
    const middle = [(x.edge(i) + x.edge(i + 1)) / 2, (y.edge(j) + y.edge(j + 1)) / 2];
    if (box && !middle.every((value, k) => value >= box[0][k] && value <= box[1][k])) continue;
    inside++;
    if (counts[i][j]) used++;
  }
  return h("section", { class: "panel" }, title,
    h("p", { class: "note" },
      "Middles of the selected blocks, seen from above. " +
      (inside ? `${percent(used / inside)} of the cells${box ? " on the table" : ""} are used. ` : "") +
      `${box ? "The frame is the table. " : ""}A click selects a cell.`),
    chart, legend("no block", "most blocks"));
}

function spherePanel() {
  const x = find("seen_from_azimuth_deg", "block"), y = find("seen_from_elevation_deg", "block");
  const title = h("h2", {}, "Directions of view");
  if (!x || !y || x.kind === "constant" || y.kind === "constant") return h("section", { class: "panel" }, title,
    h("p", { class: "note" }, "All blocks are seen from one direction, or there are none."));
  const sine = (degrees) => Math.sin((Math.PI * degrees) / 180);
  const width = 520, left = 46, wide = width - left - 12, tall = 250;
  const across = (value) => left + ((value + 180) / 360) * wide;
  const down = (value) => 8 + ((1 - sine(value)) / 2) * tall;
  const area = (i, j) => ((x.edge(i + 1) - x.edge(i)) / 360) * ((sine(y.edge(j + 1)) - sine(y.edge(j))) / 2);
  const marks = [ticks([-180, -90, 0, 90, 180], across, tall + 26, "\u00b0"),
    [-90, -45, -20, 0, 20, 45, 90].map((value) => s("text", { x: left - 8, y: down(value) + 4, "text-anchor": "end" },
      `${value}\u00b0`)),
    s("text", { x: left + wide / 2, y: tall + 42, "text-anchor": "middle" }, "azimuth")];
  const [chart, counts] = grid("sphere-map", x, y, [width, tall + 48], across, down, area, marks);
  let used = 0;
  for (let i = 0; i < x.bins; i++) for (let j = 0; j < y.bins; j++) if (counts[i][j]) used += area(i, j);
  return h("section", { class: "panel" }, title,
    h("p", { class: "note" },
      "Where the camera is as seen from the block, in the block's own axes. The map keeps areas: uniform directions " +
      `have one color. The selected blocks are seen from ${percent(used)} of the sphere. Filter by kind first: each has ` +
      "its own axes."),
    chart, legend("never", "most often"));
}

function picturePanel() {
  const u = find("u", "block"), v = find("v", "block");
  const title = h("h2", {}, "Positions in the picture");
  if (!u || !v || u.kind === "constant" || v.kind === "constant") return h("section", { class: "panel" }, title,
    h("p", { class: "note" }, "There is nothing to map."));
  const entry = Object.values(data.thumbnails).find((one) => one.size);
  const box = entry ? [[-0.5, -0.5], [entry.size[0] - 0.5, entry.size[1] - 0.5]] : null;
  return h("section", { class: "panel" }, title, h("p", { class: "note" },
    "Pixels of the middles of the selected blocks. The frame is the picture."), mapOf("picture-map", u, v, box, false,
    "px")[0], legend("no block", "most blocks"));
}

/** Neighboring bins in at most `most` groups. */
function merged(column, most) {
  const size = column.kind === "word" ? 1 : Math.ceil(column.bins / most);
  const groups = [];
  for (let bin = 0; bin < column.bins; bin += size) groups.push([bin, Math.min(bin + size, column.bins) - 1]);
  return groups;
}

function kindsPanel() {
  const kind = find("kind", "block"), seen = find("visible_fraction", "block");
  const title = h("h2", {}, "Blocks by kind and visible fraction");
  if (!kind) return h("section", { class: "panel" }, title, h("p", { class: "note" }, "There are no blocks."));
  const kinds = kind.kind === "constant" ? [kind.value_] : kind.words;
  const groups = seen && seen.kind === "number" ? merged(seen, 10) : [null];
  const counts = kinds.map(() => new Int32Array(groups.length));
  for (let row = 0; row < total; row++) {
    if (!selected.blocks[row]) continue;
    const i = kind.kind === "constant" ? 0 : kind.bin[row];
    const j = groups[0] === null ? 0 : groups.findIndex(([a, b]) => seen.bin[row] >= a && seen.bin[row] <= b);
    if (i >= 0 && j >= 0) counts[i][j]++;
  }
  const most = Math.max(1, ...counts.map((row) => Math.max(...row)));
  const choose = (i, j) => {
    if (kind.kind !== "constant") filters.set(kind, new Set([i]));
    if (groups[j] !== null) filters.set(seen, span(...groups[j]));
    changed();
  };
  const head = groups.map((group) => h("th", {}, group === null ? (seen ? `all ${seen.text(0)}` : "all")
    : seen.range(...group)));
  return h("section", { class: "panel" }, title, h("p", { class: "note" },
    "Numbers of selected blocks. A click selects them."),
    h("div", { class: "scroll" }, h("table", { class: "heat", id: "kinds" }, h("thead", {}, h("tr", {}, h("th"), head,
      h("th", {}, "all"))),
      h("tbody", {}, kinds.map((name, i) => h("tr", {}, h("th", {}, name), [...counts[i]].map((value, j) =>
        h("td", {}, h("button", { style: { background: shade((0.6 * value) / most) || "" }, onclick: () => choose(i,
          j) }, number(value)))),
        h("td", { class: "number" }, number(counts[i].reduce((a, b) => a + b, 0)))))))));
}

function coverageView() {
  return [sideButton(), filterRow(), kindsPanel(), h("div", { class: "columns" }, tablePanel(), spherePanel(),
    picturePanel())];
}
