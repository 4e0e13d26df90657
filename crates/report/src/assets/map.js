// Numbers by two axes as a map of colours.

function map(root, { table: id, rows, columns }) {
  const table = open(id);
  const [down, across] = [table.axes[rows], table.axes[columns]];
  let unfolded = false;
  let [rowPlaces, columnPlaces] = [[], []];
  let [wide, tall, top, left] = [0, 0, 0, 0];
  const extra = sliders(table, [rows, columns], draw);
  const side = el("canvas", { class: "side", "aria-hidden": "true" });
  const main = el("canvas", { class: "main", role: "img", tabindex: "0" });
  const box = el("div", { class: "scroll map" }, side, main);
  const scale = () => scaleOf(table, table.scale, table.by_token && table.by_token.scale);
  const key = legend(() => ({ scale: scale(), unit: table.unit }));
  const bar = el("div", { class: "tools" }, foldButton([down, across], (on) => {
    unfolded = on;
    draw();
  }), key.node);
  root.append(...[extra.node, box, bar].filter(Boolean));

  // The value of a place; of a folded run, the one of largest magnitude, and where it lies.
  function at(rowPlace, columnPlace) {
    const from = base(table, extra.index);
    const numbers = numbersOf(table);
    let found = { v: NaN, r: rowPlace.from, c: columnPlace.from };
    for (let r = rowPlace.from; r < rowPlace.to; r++) {
      for (let c = columnPlace.from; c < columnPlace.to; c++) {
        const v = numbers[from + r * table.strides[rows] + c * table.strides[columns]];
        if (Number.isNaN(found.v) || Math.abs(v) > Math.abs(found.v)) found = { v, r, c };
      }
    }
    return found;
  }
  function name(axis, { run, from, to }) {
    if (run) return `${run.name} \u00d7${to - from}`;
    const where = spot(axis, from);
    return where ? where.short : label(axis, from).trim();
  }
  const clip = (text, most) => (text.length > most ? text.slice(0, most - 1) + "\u2026" : text);

  // Places whose labels do not touch where each is so many pixels wide: folded ones first, then as many others as there is room for.
  function apart(places, size, least) {
    const gap = Math.max(1, Math.ceil(least / size));
    const kept = [];
    const free = (at) => kept.every((other) => Math.abs(other - at) >= gap);
    places.forEach((place, at) => place.run && free(at) && kept.push(at));
    places.forEach((_, at) => at % gap === 0 && free(at) && kept.push(at));
    return kept;
  }

  function canvas(node, width, height) {
    // browsers refuse canvases of more pixels than these
    const ratio = Math.min(window.devicePixelRatio || 1, Math.max(0.5, Math.sqrt(16e6 / (width * height))));
    [node.width, node.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    [node.style.width, node.style.height] = [`${width}px`, `${height}px`];
    const context = node.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(root);
    context.font = `11px ${style.getPropertyValue("--sans")}`;
    context.fillStyle = style.getPropertyValue("--muted");
    context.textBaseline = "middle";
    return context;
  }

  function draw() {
    rowPlaces = folded(down, unfolded);
    columnPlaces = folded(across, unfolded);
    const rowNames = rowPlaces.map((place) => clip(name(down, place), 16));
    const columnNames = columnPlaces.map((place) => clip(name(across, place), 16));
    const probe = side.getContext("2d");
    probe.font = `11px ${getComputedStyle(root).getPropertyValue("--sans")}`;
    const longest = (names) => names.reduce((most, text) => Math.max(most, probe.measureText(text).width), 0);
    left = Math.ceil(Math.max(longest(rowNames), probe.measureText(down.role).width)) + 14;
    const longName = longest(columnNames);
    const least = Math.max(1, Math.min(7, Math.floor(16000 / columnPlaces.length)));
    const fit = (room) => Math.max(least, Math.min(52, Math.floor(room / columnPlaces.length)));
    const room = root.clientWidth - left - 2;
    const flat = longName + 6 <= fit(room);
    // slanted names reach beyond the last column
    const spill = flat ? 0 : Math.ceil(longName * 0.64);
    wide = fit(room - spill);
    tall = Math.max(6, Math.min(24, wide * 1.2, Math.floor(560 / rowPlaces.length)));
    top = flat ? 20 : Math.ceil(longName * 0.77) + 16;
    const [width, height] = [wide * columnPlaces.length, tall * rowPlaces.length];

    const labels = canvas(side, left, top + height);
    labels.textAlign = "right";
    apart(rowPlaces, tall, 13).forEach((r) => labels.fillText(rowNames[r], left - 8, top + (r + 0.5) * tall));
    labels.fillText(down.role, left - 8, top - 9);

    const paint = canvas(main, Math.max(width + spill, width), top + height);
    // lines of 11 pixels that are slanted touch where they begin less than 15 apart
    apart(columnPlaces, wide, flat ? 0 : 16).forEach((c) => {
      const text = columnNames[c];
      paint.save();
      paint.translate((c + 0.5) * wide, top - 8);
      if (flat) paint.textAlign = "center";
      else paint.rotate(-0.88);
      paint.fillText(text, 0, 0);
      paint.restore();
    });
    const seam = wide > 9 && tall > 9 ? 1 : 0;
    const now = scale();
    const short = brief(now);
    const values = rowPlaces.map((rowPlace) => columnPlaces.map((columnPlace) => at(rowPlace, columnPlace)));
    const longestFigure = () => longest(values.flat().filter(({ v }) => !Number.isNaN(v)).map(({ v }) => short(v)));
    const figures = wide >= 22 && tall >= 15 && longestFigure() + 6 <= wide;
    paint.textAlign = "center";
    let peak = null;
    rowPlaces.forEach((_, r) => columnPlaces.forEach((_, c) => {
      const found = values[r][c];
      if (!peak || Math.abs(found.v) > Math.abs(peak.v) || Number.isNaN(peak.v)) peak = found;
      const paints = colour(now, found.v, paper());
      paint.fillStyle = css(paints);
      paint.fillRect(c * wide, top + r * tall, wide - seam, tall - seam);
      if (figures && !Number.isNaN(found.v)) {
        const over = ink(paints);
        paint.fillStyle = over === "inherit" ? getComputedStyle(root).color : over;
        paint.fillText(short(found.v), (c + 0.5) * wide, top + (r + 0.5) * tall);
      }
    }));
    const size = `${down.len} ${down.role} by ${across.len} ${across.role}`;
    const most = peak ? `; largest ${measure(peak.v, { scale: now, unit: table.unit })} at ${position(down, peak.r)}, ${position(across, peak.c)}` : "";
    main.setAttribute("aria-label", `${table.name}: ${size}${most}. Cursor keys move.`);
  }

  function said(r, c) {
    const [rowPlace, columnPlace] = [rowPlaces[r], columnPlaces[c]];
    const found = at(rowPlace, columnPlace);
    const count = (rowPlace.to - rowPlace.from) * (columnPlace.to - columnPlace.from);
    const note = count > 1 ? line(`largest of ${count} positions`) : null;
    return [strong(measure(found.v, { scale: scale(), unit: table.unit })), line(position(down, found.r)), line(position(across, found.c)), note];
  }
  const rect = (r, c) => {
    const frame = main.getBoundingClientRect();
    const [x, y] = [frame.left + c * wide, frame.top + top + r * tall];
    return { left: x, right: x + wide, top: y, bottom: y + tall };
  };
  hover(main, (event) => {
    const frame = main.getBoundingClientRect();
    const r = Math.floor((event.clientY - frame.top - top) / tall);
    const c = Math.floor((event.clientX - frame.left) / wide);
    if (r < 0 || c < 0 || r >= rowPlaces.length || c >= columnPlaces.length) return null;
    return { rect: rect(r, c), content: said(r, c) };
  });
  cursor(main, () => [rowPlaces.length, columnPlaces.length], (r, c) => {
    const x = c * wide;
    if (x < box.scrollLeft || x + wide + left > box.scrollLeft + box.clientWidth) box.scrollLeft = Math.max(0, x - left);
    requestAnimationFrame(() => requestAnimationFrame(() => tip.show(rect(r, c), ...said(r, c))));
  });
  painted(draw);
  if (table.by_token) {
    answered(() => {
      draw();
      key.draw();
    });
  }
  let width = root.clientWidth;
  addEventListener("resize", () => {
    if (root.clientWidth === width) return;
    width = root.clientWidth;
    draw();
  });
}
