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
