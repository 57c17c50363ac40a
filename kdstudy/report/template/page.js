// Draws the figures when they come into view, in the colours of the page's theme; tabs, theme, sorting, filters.
"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const drawn = new Set();
  const touch = window.matchMedia("(pointer: coarse)").matches;
  const systemDark = window.matchMedia("(prefers-color-scheme: dark)");

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);

  // Replaces every "var(--name)" by what the style sheet says now.
  function coloured(value, styles) {
    if (typeof value === "string") {
      const found = /^var\((--[\w-]+)\)$/.exec(value);
      return found ? styles.getPropertyValue(found[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((each) => coloured(each, styles));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, coloured(each, styles)]));
    }
    return value;
  }

  function layoutOf(layout, styles) {
    const colour = (name) => styles.getPropertyValue(name).trim();
    const axis = {
      gridcolor: colour("--rule"), linecolor: colour("--faint"), tickcolor: colour("--faint"), zeroline: false,
      color: colour("--muted"), automargin: true,
    };
    const themed = {
      ...layout,
      autosize: true,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: styles.fontFamily, size: 12, color: colour("--muted") },
      margin: { l: 44, r: 12, t: 12, b: 40, ...layout.margin },
      dragmode: touch ? false : "zoom",
      hoverlabel: { bgcolor: colour("--soft"), bordercolor: colour("--rule"), font: { color: colour("--ink") } },
    };
    for (const name of Object.keys(themed)) {
      if (/^[xy]axis\d*$/.test(name)) themed[name] = { ...axis, ...themed[name] };
    }
    themed.xaxis = { ...axis, ...themed.xaxis };
    themed.yaxis = { ...axis, ...themed.yaxis };
    return themed;
  }

  function draw(canvas) {
    const figure = figures[canvas.id];
    const styles = getComputedStyle(document.body);
    const themed = coloured(figure, styles);
    drawn.add(canvas);
    return Plotly.react(canvas, themed.data, layoutOf(themed.layout, styles), {
      displayModeBar: false, responsive: true, showTips: false,
    });
  }

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        watcher.unobserve(entry.target);
        draw(entry.target);
      }
    }
  }, { rootMargin: "200px" });
  document.querySelectorAll(".canvas").forEach((canvas) => watcher.observe(canvas));

  const button = document.getElementById("theme");
  const repaint = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    drawn.forEach(draw);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    repaint();
  });
  systemDark.addEventListener("change", repaint);
  repaint();

  // A sheet of paper shows all there is, in light colours: every arm's search, every trial, what is folded away. Its
  // figures are drawn at its width before it is laid out, since a browser prints the drawings that it finds.
  let undo = null;
  function toPaper() {
    if (undo) return;
    const folded = [...document.querySelectorAll("details:not([open])")];
    const { theme } = root.dataset;
    root.classList.add("paper");
    root.dataset.theme = "light";
    folded.forEach((each) => { each.open = true; });
    document.querySelectorAll(".canvas").forEach(draw);
    undo = () => {
      root.classList.remove("paper");
      if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
      folded.forEach((each) => { each.open = false; });
      document.querySelectorAll(".canvas").forEach((canvas) => {
        if (canvas.offsetParent) return draw(canvas);
        Plotly.purge(canvas); // drawn anew, at its own width, when its tab is chosen
        drawn.delete(canvas);
        return watcher.observe(canvas);
      });
      undo = null;
    };
  }
  const toScreen = () => undo?.();
  window.addEventListener("beforeprint", toPaper);
  window.addEventListener("afterprint", toScreen);
  window.matchMedia("print").addEventListener("change", (print) => (print.matches ? toPaper() : toScreen()));

  document.querySelectorAll("[role=tablist]").forEach((list) => {
    const tabs = [...list.children];
    const choose = (chosen) => {
      for (const tab of tabs) {
        const selected = tab === chosen;
        tab.setAttribute("aria-selected", String(selected));
        tab.tabIndex = selected ? 0 : -1;
        document.getElementById(tab.getAttribute("aria-controls")).hidden = !selected;
      }
    };
    list.addEventListener("click", (event) => {
      const tab = event.target.closest("[role=tab]");
      if (tab) choose(tab);
    });
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
      choose(next);
      next.focus();
    });
  });

  document.querySelectorAll("table.sortable").forEach((table) => {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const sorter = head.querySelector("button");
      if (!sorter) return;
      sorter.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const numeric = head.classList.contains("n");
        const key = (row) => (numeric ? Number(row.cells[column].dataset.sort) : row.cells[column].dataset.sort);
        const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
        const rows = [...body.rows].sort((a, b) => (down ? -1 : 1) * order(key(a), key(b)));
        body.append(...rows);
      });
    });
  });

  document.querySelectorAll("form.filters").forEach((form) => {
    const rows = [...document.getElementById(form.dataset.table).tBodies[0].rows];
    const told = form.querySelector("output");
    const total = told.textContent;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => {
      const wanted = [...new FormData(form)].filter(([, value]) => value);
      let shown = 0;
      for (const row of rows) {
        row.hidden = !wanted.every(([name, value]) => row.dataset[name] === value);
        shown += row.hidden ? 0 : 1;
      }
      told.textContent = shown === rows.length ? total : `${shown} of ${total}`;
    });
  });
})();
