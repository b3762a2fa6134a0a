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
