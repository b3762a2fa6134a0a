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
