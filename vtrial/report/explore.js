"use strict";
// The explorer: draws the specification with Vega-Lite, and writes the numbers of what is chosen beneath it.
(() => {
  const told = JSON.parse(document.getElementById("explore-data").textContent);
  const { arms, strata, outcomes, numbers } = told;
  const rows = told.rows.map(unpacked);
  const table = document.getElementById("explore-table");
  const said = document.getElementById("explore-said");
  const choices = [...document.querySelectorAll("#explore > .choices select")];
  const options = { ast: true, actions: false, renderer: "svg" };
  const views = [];
  let order = { by: "", down: false };

  // a row: places of arm, stratum and outcome, then its numbers and how they are written
  function unpacked([a, s, o, values, texts]) {
    const row = { arm: arms[a], stratum: strata[s].name, row: strata[s].row, column: strata[s].column };
    const text = Object.fromEntries(numbers.map((name, i) => [name, texts[i]]));
    let said = `${strata[s].label}, ${arms[a]}: ${outcomes[o].label} in ${text.mean} (MCSE ${text.mcse}), `;
    said += `${told.interval} interval ${text.lo} to ${text.hi}, median ${text.median}`;
    const apart = `${text.difference} (${text.difference_lo} to ${text.difference_hi}) to ${told.reference}`;
    said += arms[a] === told.reference ? "." : `; ${apart}.`;
    numbers.forEach((name, i) => { row[name] = values[i]; });
    return Object.assign(row, { outcome: outcomes[o].name, text, said });
  }

  function cell(tag, text, value) {
    const made = document.createElement(tag);
    made.textContent = text; // never markup: names come from files
    if (tag === "th") made.scope = "row";
    else made.className = "n";
    if (value !== undefined) made.dataset.value = value;
    return made;
  }

  function line(row) {
    const made = document.createElement("tr");
    made.append(cell("th", row.arm), ...numbers.map((name) => cell("td", row.text[name], row[name])));
    return made;
  }

  function chosen() {
    return Object.fromEntries(choices.map((one) => [one.name, one.value]));
  }

  function show() {
    const { stratum, outcome, arm } = chosen();
    const mine = rows.filter((row) => row.stratum === stratum && row.outcome === outcome);
    const sign = order.down ? -1 : 1;
    const key = (row) => row[order.by];
    if (order.by) mine.sort((a, b) => sign * (key(a) > key(b) ? 1 : key(a) < key(b) ? -1 : 0));
    table.tBodies[0].replaceChildren(...mine.map(line));
    said.textContent = mine.find((row) => row.arm === arm).said;
    for (const view of views) {
      for (const [name, value] of Object.entries(chosen())) view.signal(name, value);
      view.runAsync();
    }
  }

  function sortBy(button) {
    order = { by: button.dataset.by, down: order.by === button.dataset.by && !order.down };
    for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
    button.closest("th").setAttribute("aria-sort", order.down ? "descending" : "ascending");
    show();
  }

  for (const one of choices) one.addEventListener("change", show);
  for (const button of table.querySelectorAll("button")) button.addEventListener("click", () => sortBy(button));
  document.getElementById("explore").hidden = false; // before the views are made: they are as wide as it is
  told.views.forEach((spec, i) => {
    spec.datasets = { risk: rows };
    for (const param of spec.params) param.value = chosen()[param.name];
    vegaEmbed(`#explore-view-${i}`, spec, options).then(({ view }) => views.push(view));
  });
  show();
  if (told.fans) compare(told.fans, options);

  for (const one of document.querySelectorAll("main table")) if (one !== table && one.tHead) sortable(one);

  // every other table is sorted by a click on a heading: numbers by their size, before words
  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        for (const one of heads) one.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
        const keyed = [...table.tBodies[0].rows].map((row) => [key(row.cells[column].textContent), row]);
        keyed.sort(([a], [b]) => sign * (a.size - b.size || a.text.localeCompare(b.text, "en", { numeric: true })));
        table.tBodies[0].append(...keyed.map(([, row]) => row));
      });
    });
  }

  function key(written) {
    const text = written.trim().replace("\u2212", "-"); // a minus sign
    const found = text.match(/^([<>]?)\s*([+-]?\d[\d,]*\.?\d*(?:e[+-]?\d+)?)\s*(%|pp)?/i);
    if (!found) return { size: Number.MAX_VALUE, text };
    const number = Number(found[2].replaceAll(",", "")) * (found[3] ? 0.01 : 1);
    return { size: found[1] === "<" ? 0.999 * number : number, text };
  }

  // trajectories of two arms over each other
  function compare({ curves, time, bands, names, view: spec }, options) {
    const choices = [...document.querySelectorAll("#explore-fans select")];
    const said = document.getElementById("explore-fan-said");
    const picked = () => Object.fromEntries(choices.map((one) => [one.name, one.value]));

    function points(which) {
      const fan = bands[picked()[which]][picked().curve];
      return time.map((t, i) => Object.fromEntries([["which", which], ["time", t], ...names.map((n, q) => [n, fan[q][i]])]));
    }

    function peak(which) {
      const top = points(which).reduce((best, one) => (one.q50 > best.q50 ? one : best));
      return `${picked()[which]}: the median peaks at ${top.q50} after ${top.time} h, 90% of copies then ${top.q5} to ${top.q95}`;
    }

    function told() {
      said.textContent = `${curves[picked().curve]}. ${peak("first")}; ${peak("second")}.`;
      return [...points("first"), ...points("second")];
    }

    spec.datasets = { fan: told() };
    spec.params[0].value = curves[picked().curve];
    vegaEmbed("#explore-fan", spec, options).then(({ view }) => {
      const again = () => view.signal("label", curves[picked().curve]).data("fan", told()).runAsync();
      for (const one of choices) one.addEventListener("change", again);
    });
  }
})();
