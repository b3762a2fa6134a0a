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
