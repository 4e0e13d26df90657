// A slider for every axis that is not drawn. They open where the numbers that are drawn differ most.

// The standard deviation of some of the numbers of a table; those that are none do not count.
function spread(numbers, offsets, from) {
  let [count, sum, squares] = [0, 0, 0];
  for (const offset of offsets) {
    const v = numbers[from + offset];
    if (Number.isFinite(v)) [count, sum] = [count + 1, sum + v];
  }
  const mean = sum / (count || 1);
  for (const offset of offsets) {
    const v = numbers[from + offset];
    if (Number.isFinite(v)) squares += (v - mean) ** 2;
  }
  return Math.sqrt(squares / (count || 1));
}
// Where along the axes that are not drawn the spread is widest, the first of several; `offsets` are those of what is drawn. Of
// positions that attend it is the last, which the answer is read at: the first see so little that their weights lie far apart.
function widest(table, drawn, offsets) {
  const attends = (axis) => table.axes[axis].role === "query";
  const index = table.shape.map((len, axis) => (attends(axis) && !drawn.includes(axis) ? Math.max(0, len - 1) : 0));
  if (!table.numbers || table.numbers.length === 0) return index;
  const free = table.shape.map((_, axis) => axis).filter((axis) => !drawn.includes(axis) && !attends(axis));
  const count = free.reduce((product, axis) => product * table.shape[axis], 1);
  let [best, most] = [index, -1];
  for (let n = 0; n < count; n++) {
    let rest = n;
    const here = index.slice();
    for (const axis of free.slice().reverse()) {
      here[axis] = rest % table.shape[axis];
      rest = Math.floor(rest / table.shape[axis]);
    }
    const wide = spread(table.numbers, offsets, base(table, here));
    if (wide > most * (1 + 1e-9)) [best, most] = [here, wide];
  }
  return best;
}
// Offsets of all positions of the axes that are drawn.
function everywhere(table, drawn) {
  return drawn.reduce(
    (offsets, axis) => offsets.flatMap((offset) => Array.from({ length: table.shape[axis] }, (_, i) => offset + i * table.strides[axis])),
    [0],
  );
}

function sliders(table, drawn, change, offsets = everywhere(table, drawn)) {
  const index = widest(table, drawn, offsets);
  const node = el("div", { class: "sliders" });
  const moves = [];
  table.axes.forEach((axis, i) => {
    if (drawn.includes(i) || axis.len < 2) return;
    const id = fresh("slider");
    const input = el("input", { type: "range", id, min: 0, max: axis.len - 1, step: 1, value: index[i] });
    const output = el("output", { for: id });
    const say = () => {
      output.textContent = label(axis, index[i]);
      output.title = plain(axis, index[i]);
      input.setAttribute("aria-valuetext", `${axis.role} ${plain(axis, index[i])}`);
    };
    const move = (to) => {
      index[i] = to;
      input.value = to;
      say();
      change();
    };
    input.addEventListener("input", () => move(Number(input.value)));
    say();
    moves[i] = move;
    node.append(el("div", { class: "slider" }, el("label", { for: id }, axis.role), input, output));
  });
  if (node.children.length && table.numbers) {
    const help = "Opens where the values shown spread widest: their standard deviation is the largest.";
    node.append(el("small", { class: "help", title: help }, "opens where values spread widest (standard deviation)"));
  }
  return { node: node.children.length ? node : null, index, move: (axis, to) => moves[axis] && moves[axis](to) };
}
