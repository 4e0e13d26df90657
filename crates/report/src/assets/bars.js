// A list of numbers with bars, for tables that are known by token of the answer.

function bars(root) {
  const MOST = 60;
  const table = open(Number(root.dataset.bars));
  const box = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": table.name });
  const more = el("p", { class: "note" });
  root.append(box, more);
  const bar = (share, sign) => {
    const cell = el("td", { class: `bar ${sign}` });
    cell.innerHTML = `<svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect width="${(100 * share).toFixed(1)}" height="8"/></svg>`;
    return cell;
  };
  function draw() {
    const numbers = numbersOf(table);
    const scale = scaleOf(table, table.scale, table.by_token && table.by_token.scale);
    const most = Math.max(Math.abs(scale.min), Math.abs(scale.max));
    const order = Array.from(numbers.keys());
    const size = (i) => (Number.isNaN(numbers[i]) ? -1 : Math.abs(numbers[i]));
    if (order.length > MOST) order.sort((a, b) => size(b) - size(a) || a - b);
    const head = el("tr", {}, ...table.axes.map((axis) => el("th", { scope: "col" }, axis.role)));
    head.append(el("th", { scope: "col", class: "n" }, table.unit), el("td", {}));
    const body = el("tbody", {});
    for (const at of order.slice(0, MOST)) {
      const row = el("tr", {});
      table.axes.forEach((axis, i) => row.append(el("th", { scope: "row", title: plain(axis, Math.floor(at / table.strides[i]) % axis.len) }, label(axis, Math.floor(at / table.strides[i]) % axis.len))));
      const share = most > 0 && !Number.isNaN(numbers[at]) ? Math.min(1, Math.abs(numbers[at]) / most) : 0;
      const sign = !scale.signed ? "" : numbers[at] < 0 ? "negative" : "positive";
      row.append(el("td", { class: "n" }, number(numbers[at])), bar(share, sign));
      body.append(row);
    }
    box.replaceChildren(el("table", { class: "plain" }, el("thead", {}, head), body));
    more.textContent = order.length > MOST ? `${order.length - MOST} more in the file of the finding.` : "";
  }
  answered(draw);
  draw();
}
