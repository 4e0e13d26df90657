// Words by depth and position: each cell its first word, all words of the ranking on demand.

function lens(root, { words: wordsId, numbers: numbersId, rows, columns, rank }) {
  const words = open(wordsId);
  const numbers = numbersId === undefined ? null : open(numbersId);
  const [down, across] = [words.axes[rows], words.axes[columns]];
  const ranks = rank === undefined ? 1 : words.shape[rank];
  const drawn = [rows, columns, ...(rank === undefined ? [] : [rank])];
  let unfolded = false;
  const extra = sliders(words, drawn, build);
  const at = (r, c, k) => {
    const index = extra.index.slice();
    [index[rows], index[columns]] = [r, c];
    if (rank !== undefined) index[rank] = k;
    return base(words, index);
  };
  const word = (offset) => words.words.list[words.at[offset]];
  const box = el("div", { class: "scroll lens", tabindex: "0", role: "region", "aria-label": `${words.name}: first word at each ${down.role} and ${across.role}; cursor keys move` });
  const bar = el("div", { class: "tools" }, foldButton([across], (on) => {
    unfolded = on;
    build();
  }), numbers ? legend(() => numbers).node : null);
  root.append(...[extra.node, box, bar].filter(Boolean));
  let cells = [];
  let places = [];

  // The words of a cell with their numbers; for a folded run, how often each comes first.
  function ranking(r, column) {
    if (!column.run) {
      const list = Array.from({ length: ranks }, (_, k) => at(r, column.from, k));
      return list.map((o) => ({ text: word(o), v: numbers ? numbers.numbers[o] : null }));
    }
    const counts = new Map();
    for (let i = column.from; i < column.to; i++) {
      const first = word(at(r, i, 0));
      counts.set(first, (counts.get(first) || 0) + 1);
    }
    const sorted = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 8);
    return sorted.map(([text, count]) => ({ text, count, share: count / (column.to - column.from) }));
  }
  function said(r, column) {
    const list = ranking(r, column);
    const where = column.run ? `${column.run.name}: first words of ${column.to - column.from} positions` : position(across, column.from);
    const table = el("table", {});
    for (const { text, v, count, share } of list) {
      const size = count !== undefined ? share : v === null || numbers.unit !== "probability" ? null : v;
      const meter = el("span", { class: "meter" });
      meter.style.width = `${Math.max(0, Math.min(1, size || 0)) * 4}rem`;
      const right = count !== undefined ? `${count}\u00d7` : v === null ? "" : number(v);
      table.append(el("tr", {}, el("td", { class: "word" }, ...spaced(text)), el("td", { class: "n" }, right), size === null ? null : el("td", {}, meter)));
    }
    return [strong(position(down, r)), line(where), table];
  }

  function heading({ run, from, to }) {
    if (run) return [`${run.name} \u00d7${to - from}`];
    const where = spot(across, from);
    if (where) return [where.short];
    return across.labels ? spaced(across.labels[from]) : [String(from)];
  }
  function build() {
    places = folded(across, unfolded);
    const head = el("tr", {}, el("th", { scope: "col", class: "corner" }, down.role));
    for (const column of places) head.append(el("th", { scope: "col", class: column.run ? "folded" : spot(across, column.from) || across.kinds[column.from] === "s" ? "special" : "" }, el("span", {}, ...heading(column))));
    const body = el("tbody", {});
    cells = [];
    for (let r = 0; r < down.len; r++) {
      const row = el("tr", {}, el("th", { scope: "row" }, label(down, r)));
      cells.push(places.map((column) => {
        const [first] = ranking(r, column);
        const cell = el("td", { class: column.run ? "folded" : "" }, el("span", { class: "word" }, ...spaced(first ? first.text : "")));
        if (column.run && first) cell.append(el("small", {}, ` ${Math.round(100 * first.share)}%`));
        row.append(cell);
        return { cell, v: first && first.v !== undefined ? first.v : null };
      }));
      body.append(row);
    }
    box.replaceChildren(el("table", {}, el("thead", {}, head), body));
    paint();
  }
  function paint() {
    if (!numbers) return;
    for (const row of cells) for (const { cell, v } of row) if (v !== null) tint(cell, numbers.scale, v);
  }
  painters.push(paint);
  const find = (target) => {
    const cell = target.closest && target.closest("td");
    const r = cells.findIndex((row) => cell && row.some((c) => c.cell === cell));
    return r < 0 ? null : [r, cells[r].findIndex((c) => c.cell === cell)];
  };
  hover(box, (event) => {
    const found = find(event.target);
    if (!found) return null;
    const [r, c] = found;
    return { rect: cells[r][c].cell.getBoundingClientRect(), content: said(r, places[c]) };
  });
  cursor(box, () => [down.len, places.length], (r, c) => {
    const { cell } = cells[r][c];
    box.querySelectorAll("td.here").forEach((other) => other.classList.remove("here"));
    cell.classList.add("here");
    cell.scrollIntoView({ block: "nearest", inline: "nearest" });
    requestAnimationFrame(() => requestAnimationFrame(() => tip.show(cell.getBoundingClientRect(), ...said(r, places[c]))));
  });
  build();
}
