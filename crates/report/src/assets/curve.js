// A curve that is known by token of the answer: as the page draws those that are not, on one scale for all tokens.

function liveCurve(root) {
  const table = open(Number(root.dataset.curve));
  const [axis] = table.axes;
  const [width, height, left, right, top, bottom] = [340, 178, 46, 14, 12, 38];
  root.innerHTML = `<svg class="curve" viewBox="0 0 ${width} ${height}" role="img"></svg>`;
  const svg = root.firstChild;
  const x = (i) => (axis.len < 2 ? (left + width - right) / 2 : left + ((width - left - right) * i) / (axis.len - 1));
  const text = (at, y, anchor, said) => `<text x="${at.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${said}</text>`;
  function draw() {
    const numbers = numbersOf(table);
    const scale = scaleOf(table, table.scale, table.by_token.scale);
    const [lo, hi] = scale.max > scale.min ? [Math.min(0, scale.min), Math.max(0, scale.max)] : [scale.min - 1, scale.max + 1];
    const y = (v) => height - bottom - ((height - top - bottom) * (v - lo)) / (hi - lo);
    let drawn = "";
    for (const v of lo < 0 && hi > 0 ? [lo, hi, 0] : [lo, hi]) {
      drawn += `<line class="rule${v === 0 ? " zero" : ""}" x1="${left}" x2="${width - right}" y1="${y(v)}" y2="${y(v)}"/>`;
      if (v === 0 || !(lo < 0 && hi > 0) || Math.abs(y(v) - y(0)) >= 14) drawn += text(left - 6, y(v) + 3.5, "end", number(v));
    }
    let path = "";
    numbers.forEach((v, i) => (path += Number.isFinite(v) ? `${i && Number.isFinite(numbers[i - 1]) ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}` : ""));
    drawn += `<g class="line line-0"><path d="${path}"/></g>`;
    drawn += text((left + width - right) / 2, height - 2, "middle", axis.role);
    // the first and the last place have their names, which are texts and never markup
    drawn += text(x(0), height - 18, "start", "") + (axis.len > 1 ? text(x(axis.len - 1), height - 18, "end", "") : "");
    svg.innerHTML = drawn;
    const names = [...svg.querySelectorAll("text")].slice(axis.len > 1 ? -2 : -1);
    names.forEach((node, i) => (node.textContent = label(axis, i === 0 ? 0 : axis.len - 1).slice(0, 20)));
    svg.setAttribute("aria-label", `${table.name} along ${axis.len} positions of ${axis.role}: ${ofAnswer(table)}`);
  }
  hover(svg, (event) => {
    const frame = svg.getBoundingClientRect();
    const at = ((event.clientX - frame.left) / frame.width) * width;
    const i = Math.max(0, Math.min(axis.len - 1, Math.round(((at - left) / (width - left - right)) * (axis.len - 1))));
    const scale = scaleOf(table, table.scale, table.by_token.scale);
    return axis.len ? { rect: around(event), content: [strong(measure(numbersOf(table)[i], { scale, unit: table.unit })), line(position(axis, i))] } : null;
  });
  answered(draw);
  draw();
}
