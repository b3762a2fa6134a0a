"use strict";
/* The page of `python -m simgen report`. The sections: elements, columns, selection, factors, samples, one sample, coverage,
   errors, findings, provenance, start. All text enters the page as text nodes: nothing in the data becomes markup. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const PAGE = 48; // cards
  const ROWS = 200; // of a table
  const COLORS = ["#e69f00", "#56b4e9", "#00b383", "#f0e442", "#4d9de0", "#ff7033", "#e58fc0"];
  const AXES = ["#ff4d4d", "#35d04f", "#4d8dff"];
  const LABELS = [
    ["boxes", "Boxes"], ["outlines", "Outlines"], ["axes", "Axes"], ["keypoints", "Keypoints"], ["names", "Names"],
  ];

  /* ---- Elements */

  function build(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
    return element;
  }
  const h = (tag, attributes, ...children) => build(document.createElement(tag), attributes, children);
  const s = (tag, attributes, ...children) => build(document.createElementNS(SVG, tag), attributes, children);

  function number(value) {
    if (Number.isInteger(value)) return Math.abs(value) < 1e15 ? value.toLocaleString("en-US") : value.toPrecision(4);
    return String(Number(value.toPrecision(4)));
  }
  const plural = (count, word) => `${count.toLocaleString("en-US")} ${word}${count === 1 ? "" : "s"}`;
  const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)}%`;

  /* ---- Columns: the packed factors of columns.py. A row is a picture or a block. */

  class Column {
    constructor(raw) {
      Object.assign(this, raw);
      this.label = (this.of === "block" && !this.key.includes("prediction.") ? "block." : "") + this.key;
      if (this.kind === "constant") return;
      const bytes = Uint8Array.from(atob(this.codes), (one) => one.charCodeAt(0));
      const view = new DataView(bytes.buffer);
      const read = {
        1: (k) => view.getUint8(k), 2: (k) => view.getUint16(2 * k, true), 4: (k) => view.getUint32(4 * k, true),
      };
      this.none = 2 ** (8 * this.bytes) - 1;
      this.codes = Array.from({ length: bytes.length / this.bytes }, (_, k) => read[this.bytes](k));
      this.bin = Int32Array.from(this.codes, (code) => (code === this.none ? -1 : Math.floor(code / this.levels)));
      this.whole = this.kind === "number" && this.shift !== 0;
    }
    edge(k) {
      return ((this.first + k) * this.over) / this.under + this.shift;
    }
    /** The value of a row: a number, a word, or null. */
    value(row) {
      if (this.kind === "constant") return this.value_;
      const code = this.codes[row];
      if (code === this.none) return null;
      if (this.kind === "word") return this.words[code];
      if (this.whole && this.levels === this.over) return this.first * this.over + code;
      const bin = Math.floor(code / this.levels);
      const low = this.edge(bin);
      return low + ((this.edge(bin + 1) - low) * ((code % this.levels) + 0.5)) / this.levels;
    }
    text(row) {
      const value = this.value(row);
      return value === null ? "none" : typeof value === "number" ? number(value) : value;
    }
    /** The values in the bins from `a` to `b`, both included. */
    range(a, b = a) {
      if (a < 0) return "none";
      if (this.kind === "word") return this.words[a];
      if (!this.whole) return `${number(this.edge(a))} to ${number(this.edge(b + 1))}`;
      const low = this.edge(a) + 0.5, high = this.edge(b + 1) - 0.5;
      return low === high ? number(low) : `${number(low)} to ${number(high)}`;
    }
  }

  const columns = data.columns.map((raw) => {
    const { value, ...rest } = raw;
    return new Column(value === undefined ? rest : { ...rest, value_: value });
  });
  const varying = columns.filter((column) => column.kind !== "constant");
  const find = (key, of) => columns.find((column) => column.key === key && column.of === of);
  const count = data.samples.length;
  const first = new Int32Array(count + 1);
  data.blocks.forEach((blocks, k) => (first[k + 1] = first[k] + blocks));
  const total = first[count];
  const owner = new Int32Array(total);
  for (let k = 0; k < count; k++) owner.fill(k, first[k], first[k + 1]);
  const rowsIn = (column) => (column.of === "block" ? total : count);
  const result = find("prediction.result", "block");
  const adds = find("prediction.adds_cm", "block");
  const xy = find("prediction.xy_error_cm", "picture");

  /** The columns by their group, in order. */
  function grouped(list) {
    const groups = new Map();
    for (const column of list) {
      if (!groups.has(column.group)) groups.set(column.group, []);
      groups.get(column.group).push(column);
    }
    return groups;
  }

  /* ---- Selection: a filter is a set of bins of a column. A picture is selected if it passes all filters of pictures,
     and one of its blocks passes all filters of blocks. */

  const filters = new Map();
  const state = { tab: "samples", page: 0, sort: null, descending: true, search: "", pictured: false, factors: "",
    measure: 0, effects: 6, kind: null, rows: 0 };
  let selected = null;

  function passing(except) {
    const ofPictures = [], ofBlocks = [];
    for (const [column, bins] of filters) {
      if (column !== except) (column.of === "block" ? ofBlocks : ofPictures).push([column, bins]);
    }
    const samples = new Uint8Array(count), blocks = new Uint8Array(total);
    const text = state.search.toLowerCase();
    for (let k = 0; k < count; k++) {
      if (text && !data.samples[k].toLowerCase().includes(text)) continue;
      if (state.pictured && !(k in data.thumbnails)) continue;
      if (!ofPictures.every(([column, bins]) => bins.has(column.bin[k]))) continue;
      samples[k] = ofBlocks.length ? 0 : 1;
      for (let row = first[k]; row < first[k + 1]; row++) {
        if (!ofBlocks.every(([column, bins]) => bins.has(column.bin[row]))) continue;
        blocks[row] = 1;
        samples[k] = 1;
      }
    }
    const sum = (mask) => mask.reduce((a, b) => a + b, 0);
    const mask = (column) => (column.of === "block" ? blocks : samples);
    return { samples, blocks, count: sum(samples), total: sum(blocks), mask };
  }

  /** How many rows are in each bin; the last number counts those without a value. */
  function histogram(column, mask) {
    const counts = new Int32Array(column.bins + 1);
    for (let row = 0; row < column.bin.length; row++) {
      if (!mask || mask[row]) counts[column.bin[row] < 0 ? column.bins : column.bin[row]]++;
    }
    return counts;
  }

  function setFilter(column, bins) {
    if (bins && bins.size) filters.set(column, bins);
    else filters.delete(column);
    changed();
  }

  function pick(column, bin, event) {
    const bins = filters.get(column);
    if (event.ctrlKey || event.metaKey) {
      const more = new Set(bins);
      if (!more.delete(bin)) more.add(bin);
      setFilter(column, more);
    } else if (event.shiftKey && bins && bin >= 0) {
      const from = Math.min(...[...bins].filter((one) => one >= 0), bin), to = Math.max(...bins, bin);
      setFilter(column, span(from, to));
    } else setFilter(column, bins && bins.size === 1 && bins.has(bin) ? null : new Set([bin]));
  }

  function span(from, to) {
    return new Set(Array.from({ length: to - from + 1 }, (_, k) => from + k));
  }

  /** The bins of a filter as text: neighbors together. */
  function describe(column, bins) {
    const sorted = [...bins].sort((a, b) => a - b), parts = [];
    for (let k = 0; k < sorted.length; k++) {
      let last = k;
      while (column.kind === "number" && sorted[k] >= 0 && sorted[last + 1] === sorted[last] + 1) last++;
      parts.push(column.range(sorted[k], sorted[last]));
      k = last;
    }
    return parts.length > 4 ? `${parts.slice(0, 4).join(", ")} and ${parts.length - 4} more` : parts.join(", ");
  }

  function changed() {
    state.page = 0;
    update();
  }

  /* ---- Factors: the histograms at the side */

  const widgets = new Map();

  function factorOf(column) {
    if (!widgets.has(column)) widgets.set(column, column.kind === "word" ? wordsOf(column) : barsOf(column));
    return widgets.get(column);
  }

  function headOf(column) {
    const clear = h("button", { class: "link clear", hidden: true, onclick: () => setFilter(column, null) }, "clear");
    const unit = column.unit ? h("span", { class: "unit", title: column.unit }, column.unit) : null;
    const name = h("span", { class: "name", title: column.help || column.label }, column.label);
    return [h("div", { class: "factor-head" }, name, unit, clear), clear];
  }

  function barsOf(column) {
    const all = histogram(column, null);
    const most = Math.max(1, ...all.subarray(0, column.bins));
    const [head, clear] = headOf(column);
    let from = null;
    const bars = Array.from({ length: column.bins }, (_, bin) => {
      const height = all[bin] ? `${Math.max(3, (100 * all[bin]) / most)}%` : "0";
      const bar = h("button", {
        class: "bar", "data-low": column.edge(bin), "data-high": column.edge(bin + 1), "aria-pressed": "false",
        onclick: (event) => { if (from === null || event.detail === 0) pick(column, bin, event); from = null; },
        onpointerenter: (event) => {
          if (event.buttons !== 1 || event.pointerType !== "mouse" || dragged === null || dragged.column !== column) return;
          from = dragged.bin;
          setFilter(column, span(Math.min(from, bin), Math.max(from, bin)));
        },
        onpointerdown: () => { dragged = { column, bin }; bars.forEach((one) => one.reset()); },
      }, h("i", { style: { height } }), h("i"));
      bar.reset = () => (from = null);
      return bar;
    });
    const none = all[column.bins] ? wordRow(column, -1, "none", all[column.bins], all[column.bins]) : null;
    const low = column.whole ? column.edge(0) + 0.5 : column.edge(0);
    const high = column.whole ? column.edge(column.bins) - 0.5 : column.edge(column.bins);
    const scale = h("div", { class: "scale" }, h("span", {}, number(low)), h("span", {}, number(high)));
    const element = h("div", { class: "factor", "data-key": column.label }, head, h("div", { class: "bars" }, bars),
      scale, none && none.element);
    const update = (counts, bins) => {
      element.classList.toggle("filtered", Boolean(bins));
      clear.hidden = !bins;
      bars.forEach((bar, bin) => {
        const height = counts[bin] ? Math.max(3, (100 * counts[bin]) / most) : 0;
        bar.lastChild.style.height = `${height}%`;
        bar.setAttribute("aria-pressed", String(Boolean(bins && bins.has(bin))));
        bar.title = `${column.label} ${column.range(bin)}: ${counts[bin]} of ${all[bin]}`;
        bar.setAttribute("aria-label", bar.title);
      });
      if (none) none.update(counts[column.bins], bins);
    };
    return { element, update };
  }

  function wordRow(column, bin, text, all, most) {
    const amount = h("span");
    const choose = (event) => pick(column, bin, event);
    const element = h("button", { class: "word", "aria-pressed": "false", title: text, onclick: choose },
      h("i", { style: { width: `${(100 * all) / most}%` } }), h("i"), h("span", {}, text), amount);
    const update = (counted, bins) => {
      element.children[1].style.width = `${(100 * counted) / most}%`;
      element.setAttribute("aria-pressed", String(Boolean(bins && bins.has(bin))));
      amount.textContent = number(counted);
    };
    return { element, update };
  }

  function wordsOf(column) {
    const all = histogram(column, null);
    const most = Math.max(1, ...all);
    const [head, clear] = headOf(column);
    const rows = [...column.words.keys()].map((bin) => wordRow(column, bin, column.words[bin], all[bin], most));
    if (all[column.bins]) rows.push(wordRow(column, -1, "none", all[column.bins], most));
    const shown = 16;
    const rest = rows.slice(shown).map((row) => row.element);
    rest.forEach((element) => (element.hidden = true));
    const more = rest.length
      ? h("button", { class: "link",
        onclick: () => { rest.forEach((element) => (element.hidden = false)); more.hidden = true; } },
        `${rest.length} more`)
      : null;
    const element = h("div", { class: "factor", "data-key": column.label }, head, h("div", { class: "words" },
      rows.map((row) => row.element), more));
    const update = (counts, bins) => {
      element.classList.toggle("filtered", Boolean(bins));
      clear.hidden = !bins;
      rows.forEach((row, k) => row.update(counts[k], bins));
    };
    return { element, update };
  }

  let dragged = null;
  window.addEventListener("pointerup", () => setTimeout(() => (dragged = null)));

  const side = h("aside", { class: "side", "aria-label": "Factors" });
  const open = new Set();

  function drawSide() {
    const text = state.factors.trim().toLowerCase();
    const blocksFirst = [...columns].sort((a, b) => (b.of === "block") - (a.of === "block"));
    const groups = grouped(blocksFirst.filter((column) => column.label.toLowerCase().includes(text)));
    if (!open.size && groups.size) open.add(groups.keys().next().value);
    const list = [...groups].map(([name, members]) => {
      const body = h("div");
      const show = () => {
        if (body.childElementCount) return;
        const constant = members.filter((column) => column.kind === "constant");
        for (const column of members) if (column.kind !== "constant") body.append(factorOf(column).element);
        if (constant.length) {
          body.append(h("div", { class: "constants" }, h("div", {}, h("b", {}, "Does not vary")), constant.map((column) =>
            h("div", { title: column.help || column.label }, h("span", {}, column.label),
              h("span", {}, column.text(0))))));
        }
        updateSide();
      };
      const element = h("details", { class: "group", ontoggle: () => {
        if (!text) element.open ? open.add(name) : open.delete(name);
        if (element.open) show();
      } }, h("summary", {}, name, h("span", { class: "count" }, String(members.length))), body);
      element.open = Boolean(text) || open.has(name);
      if (element.open) show();
      return element;
    });
    const nothing = h("p", { class: "empty" }, text ? "No such factor" : "No factors");
    sideList.replaceChildren(...(list.length ? list : [nothing]));
  }

  function updateSide() {
    for (const [column, widget] of widgets) {
      if (!widget.element.isConnected) continue;
      const bins = filters.get(column);
      widget.update(histogram(column, (bins ? passing(column) : selected).mask(column)), bins);
    }
  }

  const sideList = h("div");
  side.append(h("input", { class: "field", type: "search", placeholder: "Search factors", "aria-label": "Search factors",
    oninput: (event) => { state.factors = event.target.value; drawSide(); updateSide(); } }), sideList);

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

  /* ---- Errors */

  /** What can be plotted by factor: its value for each row, null where there is none. */
  function measures() {
    const list = [];
    if (result && result.kind === "word") {
      list.push({ name: "share of right poses", of: "block", share: true,
        value: (row) => (result.value(row) === "not evaluated" ? null : Number(result.value(row) === "right")) });
    }
    for (const key of ["adds_cm", "translation_cm", "rotation_deg", "mspd_px", "xy_cm", "xy_error_cm"]) {
      const column = find(`prediction.${key}`, key === "xy_error_cm" ? "picture" : "block");
      if (column && column.kind === "number") list.push({ name: `median ${key.replaceAll("_", " ")}`, of: column.of,
        share: false, value: (row) => column.value(row) });
    }
    return list;
  }

  function median(values) {
    const ordered = values.slice().sort((a, b) => a - b), middle = ordered.length >> 1;
    return ordered.length % 2 ? ordered[middle] : (ordered[middle - 1] + ordered[middle]) / 2;
  }

  /** Wilson's 95% interval of a share. */
  function wilson(share, number) {
    const z = 1.96 ** 2, middle = (share + z / (2 * number)) / (1 + z / number);
    const half = (1.96 / (1 + z / number)) * Math.sqrt((share * (1 - share)) / number + z / (4 * number ** 2));
    return [Math.max(0, middle - half), Math.min(1, middle + half)];
  }

  /** Bins of a column in at most five groups of about equally many rows. */
  function quantiles(column, rows) {
    const counts = new Int32Array(column.bins);
    for (const row of rows) if (column.bin[row] >= 0) counts[column.bin[row]]++;
    if (column.kind === "word") return [...counts.keys()].filter((bin) => counts[bin]).map((bin) => [bin, bin]);
    const aim = counts.reduce((a, b) => a + b, 0) / 5, groups = [];
    let start = 0, held = 0;
    for (let bin = 0; bin < column.bins; bin++) {
      held += counts[bin];
      if (held && (held >= aim || bin === column.bins - 1)) { groups.push([start, bin]); start = bin + 1; held = 0; }
    }
    if (start < column.bins && groups.length) groups[groups.length - 1][1] = column.bins - 1;
    return groups;
  }

  /** The groups of a factor with their errors, and the share of the errors' variance between them: epsilon squared
      (Kelley 1935). */
  function effect(column, measure, rows) {
    const row = (k) => (column.of === measure.of ? k : owner[k]);
    const groups = quantiles(column, rows.map(row));
    if (groups.length < 2) return null;
    const of = new Int32Array(column.bins).fill(-1);
    groups.forEach(([a, b], g) => of.fill(g, a, b + 1));
    const values = groups.map(() => []);
    for (const k of rows) {
      const bin = column.bin[row(k)];
      if (bin >= 0 && of[bin] >= 0) values[of[bin]].push(measure.value(k));
    }
    const all = values.flat(), mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
    const squares = (list) => { const middle = mean(list); return list.reduce((sum, one) => sum + (one - middle) ** 2,
      0); };
    const filled = values.filter((list) => list.length), freedom = all.length - filled.length, whole = squares(all);
    const within = filled.reduce((sum, list) => sum + squares(list), 0);
    const explained = whole > 0 && freedom > 0 ? Math.max(0, 1 - within / freedom / (whole / (all.length - 1))) : 0;
    const lines = groups.map((group, g) => ({ group, count: values[g].length, amount: values[g].length ? (measure.share
      ? mean(values[g]) : median(values[g])) : null }));
    return { column, explained, lines: lines.filter((line) => line.count) };
  }

  function errorsView() {
    const list = measures();
    const evaluation = data.evaluation;
    const stats = Object.entries(evaluation.numbers).map(([name, value]) => {
      const share = ["right", "adds_auc", "within_5_cm_5_deg", "average_precision"].includes(name);
      const [words, unit] = { adds_auc: ["ADD-S area to 10 cm", ""], right: ["right (ADD-S < 10%)", ""],
        within_5_cm_5_deg: ["within 5 cm and 5\u00b0", ""], translation_cm_median: ["translation, median", " cm"],
        rotation_deg_median: ["rotation, median", "\u00b0"], mspd_px_median: ["MSPD, median", " px"],
          xy_error_cm_mean: ["XY error, mean", " cm"], not_found: ["missed", ""] }[name] || [name.replaceAll("_", " "),
          ""];
      return h("div", { class: "stat" }, h("b", {}, share ? percent(value) : number(value) + unit), h("span", {}, words));
    });
    const head = [sideButton(), filterRow(),
      h("p", { class: "notice" },
        `Evaluation ${evaluation.path} of the checkpoint ${evaluation.checkpoint}. The numbers in boxes are those of all ` +
        "blocks, as evaluated; the rest follows the filters."),
      h("div", { class: "stats" }, stats)];
    if (!list.length) return [...head, h("p", { class: "empty" }, "All evaluated blocks have the same result")];
    const measure = list[Math.min(state.measure, list.length - 1)];
    const mask = measure.of === "block" ? selected.blocks : selected.samples, rows = [];
    for (let k = 0; k < mask.length; k++) if (mask[k] && measure.value(k) !== null) rows.push(k);
    const compared = varying.filter((column) =>
      !column.key.startsWith("prediction.") && (measure.of === "block" || column.of === "picture"));
    const effects = compared
      .map((column) => effect(column, measure, rows)).filter(Boolean).sort((a, b) => b.explained - a.explained);
    const select = h("select", { id: "measure", onchange: () => { state.measure = Number(select.value); update(); } },
      list.map((one, k) => h("option", { value: k, selected: one === measure }, one.name)));
    return [...head,
      h("section", { class: "panel" }, h("h2", {}, "Error by factor"),
        h("p", { class: "note" },
          "The factors that explain most of the error's variance come first; what each explains is epsilon squared. " +
          "Groups hold about equally many blocks. Lines are 95% intervals. A click selects a group." +
          (rows.length < 1000 ? " With so few blocks, chance alone explains some of it." : "")),
        h("div", { class: "toolbar" }, h("label", {}, "Measure", select), h("span", { class: "muted" },
          plural(rows.length, measure.of === "block" ? "block" : "picture"))),
        effects.length ? h("div", { class: "effect", id: "effects" }, effects.slice(0,
          state.effects).map((one) => effectOf(one, measure))) : h("p", { class: "empty" }, "Too few blocks to compare"),
        effects.length > state.effects ? h("div", { class: "pager" }, h("button", { class: "button",
          onclick: () => { state.effects += 24; update(); } }, `${effects.length - state.effects} more factors`)) : null),
      worstPanel()];
  }

  function effectOf({ column, explained, lines }, measure) {
    const most = measure.share ? 1 : Math.max(...lines.map((line) => line.amount)) || 1;
    return h("div", {}, h("div", { class: "effect-head" }, h("h3", {}, column.label),
      h("span", { class: "muted number" }, `explains ${percent(explained)}`)),
      lines.map(({ group, count: members, amount }) => {
        const ends = measure.share ? wilson(amount, members) : null;
        return h("button", { class: "effect-row",
          title: `${column.label} ${column.range(...group)}: ${plural(members, measure.of)}`,
          onclick: () => setFilter(column, span(...group)) },
          h("span", { class: "label" }, column.range(...group)),
          h("span", { class: "track" }, h("i", { style: { width: `${(100 * amount) / most}%` } }), ends
            ? h("u", { style: { left: `${100 * ends[0]}%`, width: `${100 * (ends[1] - ends[0])}%` } }) : null),
          h("span", { class: "amount" }, measure.share ? percent(amount) : number(amount)));
      }));
  }

  function worstPanel() {
    const list = [];
    if (result) {
      const seen = find("visible_fraction", "block");
      for (let row = 0; row < total; row++) {
        const what = result.value(row);
        if (!selected.blocks[row] || what === "not evaluated") continue;
        const error = adds ? adds.value(row) : null, fraction = seen ? seen.value(row) : 1;
        list.push({ sample: owner[row], block: row - first[owner[row]], rank: error === null ? 1e6 * (1 + fraction)
          : error, text: error === null ? `missed, ${percent(fraction)} visible` : `${number(error)} cm, ${what}` });
      }
    } else if (xy) {
      for (let k = 0; k < count; k++) if (selected.samples[k] && xy.value(k) !== null) list.push({ sample: k,
        rank: xy.value(k), text: `${xy.text(k)} cm` });
    }
    const worst = list.sort((a, b) => b.rank - a.rank).slice(0, 24), order = [...new Set(worst.map((one) => one.sample))];
    return h("section", { class: "panel" }, h("h2", {}, "Worst cases"),
      h("p", { class: "note" }, result
        ? "Blocks that were missed, the most visible first, then those with the greatest ADD-S. Only the label of the " +
          "block in question is drawn." : "Pictures with the greatest error."),
      h("div", { class: "toolbar" }, labelPills()),
      worst.length ? h("div", { class: "cards", id: "worst" }, worst.map((one) => card(one.sample, order, one.text,
        one.block))) : h("p", { class: "empty" }, "No evaluated block is selected"));
  }

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

  /* ---- Start */

  const TABS = [["samples", "Samples", samplesView], ["coverage", "Coverage", coverageView], ["errors", "Errors",
    errorsView], ["findings", "Findings", findingsView], ["provenance", "Provenance", provenanceView]]
    .filter(([name]) => name !== "errors" || (data.evaluation && (result || xy)));
  const main = h("main", { class: "main" });
  const frame = h("div", { class: "frame" }, side, main);
  const tabs = h("nav", { class: "tabs", role: "tablist" });

  function badge() {
    if (!data.findings) return null;
    const { errors, warnings } = data.findings;
    return h("span", { class: `badge ${errors ? "error" : warnings ? "warning" : "good"}` }, number(errors + warnings));
  }

  function update() {
    selected = passing(null);
    const [, , view] = TABS.find(([name]) => name === state.tab);
    const notices = data.errors.map((text) => h("p", { class: "notice error" }, text));
    frame.classList.toggle("wide", ["findings", "provenance"].includes(state.tab));
    tabs.replaceChildren(...TABS.map(([name, text]) => h("button", { role: "tab", "data-tab": name,
      "aria-selected": String(name === state.tab),
      onclick: () => { state.tab = name; update(); window.scrollTo(0, 0); } }, text, name === "findings" ? badge()
        : null)));
    main.replaceChildren(...notices, ...view().filter(Boolean));
    applyLabels();
    updateSide();
  }

  function theme() {
    const set = (name) => {
      if (name === "auto") document.documentElement.removeAttribute("data-theme");
      else document.documentElement.dataset.theme = name;
      for (const button of group.children) button.setAttribute("aria-pressed", String(button.dataset.set === name));
      try { localStorage.setItem("simgen-report-theme", name); } catch { /* a browser may forbid it for files */ }
    };
    const group = h("span", { class: "segmented", role: "group", "aria-label": "Colors" }, ["auto", "light",
      "dark"].map((name) =>
      h("button", { "data-set": name, onclick: () => set(name) }, name[0].toUpperCase() + name.slice(1))));
    let kept = null;
    try { kept = localStorage.getItem("simgen-report-theme"); } catch { /* likewise */ }
    set(["light", "dark"].includes(kept) ? kept : "auto");
    return group;
  }

  const recipe = data.provenance.recipe;
  const fact = (name, value) => (value === undefined || value === null ? null : h("span", {}, h("b", {}, value),
    ` ${name}`));
  document.getElementById("app").append(
    h("header", { class: "header" }, h("div", {}, h("h1", {}, data.dataset.name), h("div", { class: "path mono" },
      data.dataset.path)),
      h("div", { class: "facts" }, fact(count === 1 ? "sample" : "samples", number(count)), fact(total === 1 ? "block"
        : "blocks", number(total)),
        recipe.width ? fact("px", `${recipe.width} x ${recipe.height}`) : null, recipe.seed === undefined ? null
          : h("span", {}, "seed ", h("b", {}, String(recipe.seed))),
        recipe.data_version === undefined ? null : h("span", {}, "data version ",
          h("b", {}, String(recipe.data_version)))),
      theme()),
    tabs, frame, dialog);
  document.documentElement.style.setProperty("--card", window.innerWidth <= 480 ? "150px" : "220px");
  document.addEventListener("keydown", (event) => {
    if (!dialog.open || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const [before, after] = dialog.querySelectorAll(".dialog-head .button");
    (event.key === "ArrowLeft" ? before : after).click();
  });
  selected = passing(null);
  drawSide();
  update();
})();
