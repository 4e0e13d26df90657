// The tokens of prompt and answer, coloured by a table; a picture is one small map among them.

function tokens(root) {
  const flow = el("div", { class: "flow", tabindex: "0", role: "group", "aria-label": "Tokens" });
  const detail = el("div", { class: "detail" });
  if (data.tokens.length > 1) {
    const id = fresh("tokens");
    const select = el("select", { id });
    data.tokens.forEach((entry, i) => {
      const { method, name } = data.tables[entry.table];
      select.append(el("option", { value: i }, `${method}: ${name}`));
    });
    select.addEventListener("change", () => choose(data.tokens[Number(select.value)]));
    root.append(el("div", { class: "choice" }, el("label", { for: id }, "coloured by"), select));
  } else if (data.tokens[0].table !== undefined) {
    const { method, name } = data.tables[data.tokens[0].table];
    root.append(el("p", { class: "objective" }, `${method}: ${name}`));
  }
  root.append(flow, detail);
  let repaint = () => {};
  let scaleNow = null;
  const key = legend(() => scaleNow && scaleNow());
  painters.push(() => repaint());
  answered(() => repaint());

  function choose(entry) {
    const axis = data.axes[entry.axis];
    const table = entry.table === undefined ? null : open(entry.table);
    const stride = table ? table.strides[entry.along] : 0;
    const extra = table ? sliders(table, [entry.along], () => repaint()) : { node: null, index: [] };
    const value = (i) => numbersOf(table)[base(table, extra.index) + i * stride];
    const scale = () => scaleOf(table, entry.scale, entry.by_token);
    scaleNow = table && (() => ({ scale: scale(), unit: table.unit }));
    const shown = el("p", { class: "of" });
    const nodes = [];
    flow.replaceChildren();
    const runs = axis.runs.filter((run) => run.to - run.from > 1);
    for (let i = 0; i < axis.len; i++) {
      if (i === entry.answer) flow.append(el("span", { class: "divide" }, "answer"));
      const run = runs.find((r) => r.from === i);
      if (run) {
        nodes.push(strip(run));
        i = run.to - 1;
      } else {
        nodes.push(word(i));
      }
    }

    function word(i) {
      const kind = axis.kinds[i] || "t";
      const node = el("span", { class: `token ${kind}` }, label(axis, i));
      flow.append(node);
      if (axis.labels && /\n$/.test(axis.labels[i])) flow.append(el("br"));
      if (table) hover(node, () => ({ rect: node.getBoundingClientRect(), content: said(i) }));
      return () => table && tint(node, scale(), value(i));
    }
    function said(i) {
      const id = axis.ids[i] !== null && axis.ids[i] !== undefined ? line(`id ${axis.ids[i]}`) : null;
      return [strong(measure(value(i), scaleNow())), line(position(axis, i)), id];
    }

    // All positions of one picture, where they lie in it, on a scale of their own: each is small beside a word.
    function strip(run) {
      let own = null;
      const grids = run.grids.length ? run.grids : [{ rows: 1, columns: run.to - run.from, cells: Array.from({ length: run.to - run.from }, (_, k) => [run.from + k, 0, k]) }];
      const maps = el("span", { class: "maps" });
      const total = el("small", {});
      const node = el("span", { class: "run" }, maps, el("span", { class: "run-name" }, `${run.name}, ${run.to - run.from} tokens`, total));
      flow.append(node);
      const paints = grids.map((grid) => {
        const large = grids.length > 1 ? 48 : 84;
        const side = Math.max(1, Math.min(16, Math.floor(large / grid.rows), Math.floor((grids.length > 1 ? 96 : 252) / grid.columns)));
        const tall = grid.rows === 1 ? 22 : side;
        const canvas = el("canvas", { width: grid.columns, height: grid.rows, role: "img", "aria-label": `${run.name}, ${grid.cells.length} positions` });
        canvas.style.width = `${Math.max(side * grid.columns, 4)}px`;
        canvas.style.height = `${tall * grid.rows}px`;
        maps.append(canvas);
        if (table) {
          hover(canvas, (event) => {
            const frame = canvas.getBoundingClientRect();
            const row = Math.floor(((event.clientY - frame.top) / frame.height) * grid.rows);
            const column = Math.floor(((event.clientX - frame.left) / frame.width) * grid.columns);
            const cell = grid.cells.find(([, r, c]) => r === row && c === column);
            return cell ? { rect: around(event), content: said(cell[0]) } : null;
          });
        }
        return () => {
          const context = canvas.getContext("2d");
          context.clearRect(0, 0, grid.columns, grid.rows);
          for (const [at, r, c] of grid.cells) {
            context.fillStyle = table ? css(colour(own, value(at), paper())) : scheme.matches ? "#3a3935" : "#dddad2";
            context.fillRect(c, r, 1, 1);
          }
        };
      });
      return () => {
        if (table) {
          let [sum, most] = [0, 0];
          for (let i = run.from; i < run.to; i++) {
            const v = value(i);
            if (Number.isFinite(v)) [sum, most] = [sum + v, Math.max(most, Math.abs(v))];
          }
          const whole = scaleOf(table, table.scale, table.by_token && table.by_token.scale);
          own = whole.lo < 0 && !whole.signed ? whole : { signed: whole.signed, lo: whole.signed ? -most : 0, hi: most };
          total.textContent = `sum ${signed(sum, whole)}; colours to ${own.signed ? "\u00b1" : ""}${number(Math.abs(own.hi))}`;
        }
        paints.forEach((paint) => paint());
      };
    }

    repaint = () => {
      nodes.forEach((paint) => paint());
      shown.textContent = table ? ofAnswer(table) : "";
      key.draw();
    };
    repaint();
    detail.replaceChildren(...[shown, extra.node, key.node].filter(Boolean));
  }
  choose(data.tokens[0]);
}
