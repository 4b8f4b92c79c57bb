/* SPDX-License-Identifier: Apache-2.0 */
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const at = (id) => document.getElementById(id);
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const words = (unit) => `${unit.label} (${unit.cluster})`.replace(/^(.*) \(\1\)$/, "$1");
  const ms = (us) => (us === null ? "-" : us >= 100000 ? (us / 1000).toFixed(0) : us >= 10000 ? (us / 1000).toFixed(1) : (us / 1000).toFixed(2));
  const percent = (share) => (share === null ? "-" : share === 0 ? "0" : `${(share * 100).toFixed(1)}%`);

  /* ---- theme: as the system says, or as chosen; the choice is not kept */
  const themes = ["auto", "light", "dark"];
  const theme = at("theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "auto") + 1) % themes.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    theme.textContent = `Theme: ${next}`;
    drawCharts();
  });

  /* ---- remedies: a button that copies the command */
  for (const code of document.querySelectorAll(".command code")) {
    if (!navigator.clipboard) break;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy: ${code.textContent}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    code.after(button);
  }

  /* ---- matrix: filters, metrics, keys, hints */
  const cells = [...document.querySelectorAll("td[data-cell]")];
  const marks = new Map(cells.map((cell) => [cell, cell.textContent]));
  const rows = [...document.querySelectorAll("tr[data-row]")];
  const heads = [...document.querySelectorAll("th[data-col]")];
  const [form, find, state, code, metric] = ["filters", "find", "state", "code", "metric"].map(at);
  const shows = {
    state: (_, cell) => marks.get(cell),
    rtt: (pair) => ms(pair.rtt),
    p99: (pair) => ms(pair.p99),
    loss: (pair) => percent(pair.loss),
    mtu: (pair) => (pair.mtu === null ? "-" : String(pair.mtu)),
  };
  const hay = data.units.map((unit) => `${unit.label} ${unit.cluster} ${unit.more}`.toLowerCase());

  const fits = (pair) => {
    const text = find.value.trim().toLowerCase();
    const states = !state.value || (state.value === "bad" ? pair.state !== "good" : pair.state === state.value);
    return states && (!code.value || pair.codes.includes(code.value)) && (!text || hay[pair.a].includes(text) || hay[pair.b].includes(text));
  };

  function filter() {
    const usedRows = new Set();
    const usedColumns = new Set();
    const fitting = [];
    for (const cell of cells) {
      const pair = data.cells[cell.dataset.cell];
      const fit = fits(pair);
      cell.classList.toggle("dim", !fit);
      cell.textContent = shows[metric.value](pair, cell);
      if (fit) {
        fitting.push(cell);
        usedRows.add(pair.a);
        usedColumns.add(pair.b);
      }
    }
    const all = fitting.length === cells.length;
    for (const row of rows) {
      row.hidden = !all && !usedRows.has(Number(row.dataset.row));
      for (const cell of row.querySelectorAll("td")) cell.hidden = !all && !usedColumns.has(Number(cell.dataset.b));
    }
    for (const head of heads) head.hidden = !all && !usedColumns.has(Number(head.dataset.col));
    at("count").textContent = `${fitting.length} of ${cells.length} pairs`;
    enter(fitting.includes(current) ? current : fitting[0], false);
  }

  /* One cell of the table can be reached by Tab, the others from there by arrows. */
  let current = null;
  const shown = () => rows.filter((row) => !row.hidden).map((row) => [...row.querySelectorAll("td")].filter((cell) => !cell.hidden));
  function enter(cell, focus = true) {
    if (current) current.tabIndex = -1;
    current = cell || null;
    if (!current) return;
    current.tabIndex = 0;
    if (focus) {
      current.focus({ preventScroll: true });
      current.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  }
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -1e6], End: [0, 1e6] };
  at("matrix-scroll").addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || !event.target.matches("td")) return;
    event.preventDefault();
    const grid = shown();
    const row = grid.findIndex((each) => each.includes(event.target));
    const next = grid[Math.min(grid.length - 1, Math.max(0, row + step[0]))];
    const column = grid[row].indexOf(event.target) + step[1];
    enter(next[Math.min(next.length - 1, Math.max(0, column))]);
  });

  const element = (name, ...content) => {
    const made = document.createElement(name);
    made.append(...content);
    return made;
  };
  function tell(cell) {
    const about = at("about");
    const pair = data.cells[cell.dataset.cell];
    if (!pair) {
      about.replaceChildren("This pair was not tried.");
      return;
    }
    const facts = [
      ["round trip", pair.rtt === null ? "" : `${ms(pair.rtt)} ms, 99th percentile ${ms(pair.p99)} ms`],
      ["lost", pair.loss === null ? "" : percent(pair.loss)],
      ["path MTU", pair.mtu === null ? "" : `${pair.mtu} bytes`],
      ["throughput", pair.rate === null ? "" : `${(pair.rate / 1e6).toFixed(0)} Mbit/s`],
      ["causes", pair.codes.join(", ")],
    ];
    const list = element("dl");
    for (const [name, value] of facts) if (value) list.append(element("dt", name), element("dd", value));
    const key = element("span", marks.get(cell));
    key.className = `key ${pair.state}`;
    about.replaceChildren(
      element("h3", `${words(data.units[pair.a])} → ${words(data.units[pair.b])}`),
      element("p", key, ` ${pair.state}${pair.why ? `: ${pair.why}` : ""}`),
      list,
    );
  }
  for (const kind of ["mouseover", "focusin"]) {
    at("matrix-scroll").addEventListener(kind, (event) => {
      const cell = event.target.closest("td");
      if (cell) tell(cell);
    });
  }
  at("matrix-scroll").addEventListener("click", (event) => {
    const cell = event.target.closest("td");
    if (cell) enter(cell);
  });
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  find.addEventListener("keydown", (event) => {
    if (event.key === "Escape") form.reset();
    if (event.key === "Enter" && current) enter(current);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea")) return;
    event.preventDefault();
    find.focus();
  });
  for (const button of document.querySelectorAll("button.show")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      form.reset();
      code.value = button.dataset.code;
      filter();
      at("matrix").scrollIntoView();
      enter(current);
    });
  }

  /* ---- charts */
  let charts = [];
  const axis = (label, more = {}) => ({
    label, labelSize: 22, labelFont: "12px system-ui, sans-serif", font: "12px system-ui, sans-serif",
    stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, ...more,
  });
  const line = (label, name, more = {}) => ({ label, stroke: colour(name), width: 2, points: { show: false }, ...more });

  function drawTimes() {
    const box = at("rtt-chart");
    const pairs = data.cells.filter((pair) => pair.rtt !== null).sort((x, y) => x.rtt - y.rtt || x.a - y.a || x.b - y.b);
    if (!pairs.length) {
      box.textContent = "Nothing was answered.";
      return;
    }
    const name = (index) => (index === null || !pairs[index] ? "-" : `${data.units[pairs[index].a].label} → ${data.units[pairs[index].b].label}`);
    const dots = (kind) => ({ points: { show: true, size: 6, fill: colour(kind) } });
    const options = {
      width: box.clientWidth - 18, height: 300, legend: { live: true },
      cursor: { drag: { x: true, y: false } },
      scales: { x: { time: false, range: (_, low, high) => [low - 0.5, high + 0.5] }, y: { distr: 3 } },
      axes: [axis("pairs, fastest first", { values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) && tick >= 0 ? tick + 1 : "")) }), axis("milliseconds", { size: 56 })],
      series: [
        { label: "pair", value: (_, index) => name(index) },
        line("median", "accent", { ...dots("accent"), value: (_, value) => (value === null ? "-" : `${ms(value * 1000)} ms`) }),
        line("99th percentile", "poor", { dash: [6, 5], ...dots("poor"), value: (_, value) => (value === null ? "-" : `${ms(value * 1000)} ms`) }),
      ],
    };
    const rows = [pairs.map((_, index) => index), pairs.map((pair) => pair.rtt / 1000), pairs.map((pair) => pair.p99 / 1000)];
    charts.push([new uPlot(options, rows, box), box]);
  }

  function drawMigration(migration, number) {
    const box = at(`migration-${number}`);
    if (!box) return;
    const amount = (_, value) => (value === null ? "-" : `${value.toFixed(1)} MiB`);
    const rate = (_, value) => (value === null ? "-" : `${value.toFixed(1)} MiB/s`);
    const pause = (plot) => {
      if (!migration.pause) return;
      const [left, right] = migration.pause.map((second) => plot.valToPos(second, "x", true));
      plot.ctx.save();
      plot.ctx.fillStyle = colour("cut");
      plot.ctx.globalAlpha = 0.35;
      plot.ctx.fillRect(left, plot.bbox.top, Math.max(3, right - left), plot.bbox.height);
      plot.ctx.globalAlpha = 1;
      plot.ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
      plot.ctx.textAlign = "right";
      plot.ctx.fillText("down", left - 6, plot.bbox.top + 14 * devicePixelRatio);
      plot.ctx.restore();
    };
    const options = {
      width: box.clientWidth - 2, height: 320,
      scales: { x: { time: false }, mib: { range: (_, __, high) => [0, high * 1.08 || 1] }, rate: { range: (_, __, high) => [0, high * 1.25 || 1] } },
      axes: [axis("seconds"), axis("MiB", { scale: "mib", size: 56 }), axis("MiB/s", { scale: "rate", side: 1, size: 56, grid: { show: false } })],
      series: [
        { label: "at", value: (_, value) => (value === null ? "-" : `${value.toFixed(2)} s`) },
        line("transferred", "accent", { scale: "mib", value: amount, fill: `${colour("accent")}22` }),
        line("remaining", "one-way", { scale: "mib", value: amount, fill: `${colour("one-way")}22` }),
        line("sent per second", "good", { scale: "rate", value: rate, dash: [8, 4] }),
        line("dirtied per second", "poor", { scale: "rate", value: rate, dash: [2, 4] }),
      ],
      hooks: { draw: [pause] },
    };
    const rows = [migration.at, migration.transferred, migration.remaining, migration.rate, migration.dirty];
    charts.push([new uPlot(options, rows, box), box]);
  }

  function drawCharts() {
    for (const [chart] of charts) chart.destroy();
    charts = [];
    drawTimes();
    data.migrations.forEach(drawMigration);
  }

  new ResizeObserver(() => {
    for (const [chart, box] of charts) {
      const width = box.clientWidth - 18;
      if (Math.abs(chart.width - width) > 1) chart.setSize({ width, height: chart.height });
    }
  }).observe(document.body);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
  addEventListener("beforeprint", () => {
    root.dataset.before = root.dataset.theme || "";
    root.dataset.theme = "light";
    drawCharts();
  });
  addEventListener("afterprint", () => {
    if (root.dataset.before) root.dataset.theme = root.dataset.before;
    else delete root.dataset.theme;
    drawCharts();
  });

  filter();
  drawCharts();
})();
