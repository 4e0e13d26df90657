// Heat maps over the pictures and spectrograms.

function overlays(root) {
  const figures = [...document.querySelectorAll("figure.picture")].map((node) => ({
    stage: node.querySelector(".stage"),
    canvas: node.querySelector("canvas"),
    mark: node.querySelector(".mark"),
    heard: heardIn(node),
  }));
  let chosen = null;
  let tiles = "both";
  let opacity = 0.65;
  let grey = true;

  const layerOf = (picture) => (chosen ? chosen.layers.find((layer) => layer.picture === picture) : undefined);
  const cellsOf = (id) => data.cells[id].grid || data.cells[id].boxes;
  // Where the numbers of a piece begin, for positions of the axes that lie on no picture.
  const begins = ({ table, others }, index) => others.reduce((sum, axis, k) => sum + index[k] * table.strides[axis], 0);
  // Calls `each` with offset, box and position of every cell of a piece.
  function places({ cells, table, axes }, each) {
    const all = cellsOf(cells);
    if (Array.isArray(all)) {
      const stride = table.strides[axes[0]];
      for (const [at, box] of all) each(at * stride, box, [at]);
      return;
    }
    const [down, across] = axes.map((axis) => table.strides[axis]);
    all.rows.forEach(([y0, y1], r) => all.columns.forEach(([x0, x1], c) => each(r * down + c * across, [x0, y0, x1, y1], [r, c])));
  }
  const drawnOf = (layer) => layer.pieces.filter(({ overview }) => layer.grid === undefined || tiles === "both" || overview === (tiles === "overview"));

  // Calls `each` with value and box of every cell: of one piece its own, of several those of the grid on which they are put together.
  function visit(layer, index, each) {
    if (layer.grid === undefined) {
      const [piece] = layer.pieces;
      const [numbers, from] = [numbersOf(piece.table), begins(piece, index)];
      places(piece, (offset, box, at) => each(numbers[from + offset], box, at));
      return;
    }
    const { rows, columns } = cellsOf(layer.grid);
    const values = together(layer, index, rows, columns);
    rows.forEach(([y0, y1], r) => columns.forEach(([x0, x1], c) => {
      const v = values[r * columns.length + c];
      if (v !== null) each(v, [x0, y0, x1, y1], [r, c]);
    }));
  }
  // Amounts lie evenly on their boxes and add up; of other numbers a cell has the mean of what lies on it.
  function together(layer, index, rows, columns) {
    const [sums, shares] = [0, 0].map(() => new Float64Array(rows.length * columns.length));
    const first = (spans, from) => Math.max(0, spans.findIndex(([, end]) => end > from));
    for (const piece of drawnOf(layer)) {
      const [numbers, from] = [numbersOf(piece.table), begins(piece, index)];
      places(piece, (offset, [x0, y0, x1, y1]) => {
        const area = (x1 - x0) * (y1 - y0);
        if (area <= 0) return;
        for (let r = first(rows, y0); r < rows.length && rows[r][0] < y1; r++) {
          const down = Math.min(y1, rows[r][1]) - Math.max(y0, rows[r][0]);
          for (let c = first(columns, x0); c < columns.length && columns[c][0] < x1; c++) {
            const pixels = down * (Math.min(x1, columns[c][1]) - Math.max(x0, columns[c][0]));
            if (!(pixels > 0)) continue;
            const share = chosen.adds ? pixels / area : pixels;
            shares[r * columns.length + c] += share;
            sums[r * columns.length + c] += share * numbers[from + offset];
          }
        }
      });
    }
    return Array.from(sums, (sum, i) => (shares[i] > 0 ? (chosen.adds ? sum : sum / shares[i]) : null));
  }

  // Every pixel has the mean of the cells on it, each counted by how much of the pixel it covers.
  function paint(layer, canvas, zoom, index, scale) {
    const [width, height] = [canvas.width, canvas.height];
    const [sum, covered, missing] = [0, 1, 2].map(() => new Float32Array(width * height));
    const shared = (from, to, at) => Math.min(to, at + 1) - Math.max(from, at);
    visit(layer, index, (v, box) => {
      const [x0, y0, x1, y1] = box.map((edge) => edge * zoom);
      for (let y = Math.max(0, Math.floor(y0)); y < Math.min(height, y1); y++) {
        const down = shared(y0, y1, y);
        for (let x = Math.max(0, Math.floor(x0)); x < Math.min(width, x1); x++) {
          const share = down * shared(x0, x1, x);
          if (Number.isNaN(v)) missing[y * width + x] += share;
          else {
            covered[y * width + x] += share;
            sum[y * width + x] += share * v;
          }
        }
      }
    });
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const seam = 1e-3;
    for (let i = 0; i < pixels.length; i++) {
      if (covered[i] <= seam && missing[i] <= seam) continue;
      const [r, g, b, a] = colour(scale, covered[i] > seam ? sum[i] / covered[i] : NaN, "picture");
      pixels[i] = ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
    }
    context.putImageData(image, 0, 0);
  }

  const first = () => chosen.layers[0].pieces[0];
  const scale = () => scaleOf(first().table, chosen.scale, chosen.by_token);
  const sizeOf = (canvas) => [Number(canvas.dataset.width), Number(canvas.dataset.height)];
  const shown = el("p", { class: "of" });
  const key = legend(() => chosen && { scale: scale(), unit: chosen.unit }, "picture");

  function draw() {
    figures.forEach(({ stage, canvas, mark }, picture) => {
      const layer = layerOf(picture);
      mark.hidden = true;
      canvas.hidden = !layer;
      stage.classList.toggle("grey", Boolean(layer) && grey);
      if (!layer) return;
      // small pictures get more canvas pixels than picture pixels, so that edges of cells fall where they are
      const [width, height] = sizeOf(canvas);
      // and very large ones as many as a browser allows
      const zoom = Math.min(Math.max(1, Math.min(8, Math.floor(640 / width))), Math.sqrt(16e6 / (width * height)));
      [canvas.width, canvas.height] = [Math.max(1, Math.floor(width * zoom)), Math.max(1, Math.floor(height * zoom))];
      paint(layer, canvas, zoom, chosen.index, scale());
      canvas.style.opacity = opacity;
    });
    shown.textContent = chosen ? ofAnswer(first().table) : "";
    key.draw();
    small.forEach((each) => each());
  }

  figures.forEach(({ stage, canvas, mark, heard }, picture) => {
    const locate = (event) => {
      const layer = layerOf(picture);
      if (!layer) return null;
      const frame = stage.getBoundingClientRect();
      const [width, height] = sizeOf(canvas);
      const x = ((event.clientX - frame.left) / frame.width) * width;
      const y = ((event.clientY - frame.top) / frame.height) * height;
      let found = null;
      visit(layer, chosen.index, (v, box, at) => {
        if (x >= box[0] && x < box[2] && y >= box[1] && y < box[3]) found = { v, box, at };
      });
      if (!found) {
        mark.hidden = true;
        return null;
      }
      const [x0, y0, x1, y1] = found.box;
      mark.hidden = false;
      mark.style.left = `${(100 * Math.max(0, x0)) / width}%`;
      mark.style.top = `${(100 * Math.max(0, y0)) / height}%`;
      mark.style.width = `${(100 * (Math.min(width, x1) - Math.max(0, x0))) / width}%`;
      mark.style.height = `${(100 * (Math.min(height, y1) - Math.max(0, y0))) / height}%`;
      const [{ table, axes }] = layer.pieces;
      const where = found.at.length > 1 ? `row ${found.at[0]}, column ${found.at[1]}` : position(table.axes[axes[0]], found.at[0]);
      const box = heard ? heard.told(found.box) : `x ${number(x0)}\u2013${number(x1)}, y ${number(y0)}\u2013${number(y1)} px`;
      return { rect: around(event), content: [strong(measure(found.v, { scale: scale(), unit: chosen.unit })), ...(heard ? [] : [line(where)]), line(box)] };
    };
    hover(stage, locate, () => (mark.hidden = true));
  });

  // All heads side by side, each a small map of the first picture; a press chooses one.
  let small = [];
  function heads(extra) {
    small = [];
    const { table, others } = first();
    const axis = others.find((axis) => table.axes[axis].role === "head");
    if (axis === undefined || table.shape[axis] < 2 || table.shape[axis] > 64) return null;
    const [layer] = chosen.layers;
    const [width, height] = sizeOf(figures[layer.picture].canvas);
    const zoom = 64 / Math.max(width, height);
    const node = el("div", { class: "heads", role: "group", "aria-label": "Every head" });
    for (let head = 0; head < table.shape[axis]; head++) {
      const canvas = el("canvas", { width: Math.max(1, Math.round(width * zoom)), height: Math.max(1, Math.round(height * zoom)) });
      const button = el("button", { type: "button" }, canvas, el("small", {}, label(table.axes[axis], head)));
      button.addEventListener("click", () => extra.move(axis, head));
      small.push(() => {
        const index = chosen.index.slice();
        index[others.indexOf(axis)] = head;
        button.setAttribute("aria-pressed", String(extra.index[axis] === head));
        paint(layer, canvas, zoom, index, scale());
      });
      node.append(button);
    }
    return el("div", {}, el("p", { class: "of" }, "Every head of what is chosen above"), node);
  }
  // Tiles of a picture and the whole beside them: which of them are drawn.
  function tileChoice() {
    const pieces = chosen.layers.filter((layer) => layer.grid !== undefined).flatMap((layer) => layer.pieces);
    if (new Set(pieces.map(({ overview }) => overview)).size < 2) return null;
    const id = fresh("tiles");
    const select = el("select", { id });
    const both = chosen.adds ? "both, added up" : "both, mean where both are";
    for (const [value, text] of [["both", both], ["overview", "overview: the whole picture"], ["details", "details: the tiles"]]) select.append(el("option", { value }, text));
    select.value = tiles;
    select.addEventListener("change", () => {
      tiles = select.value;
      draw();
    });
    return el("div", { class: "choice" }, el("label", { for: id }, "tiles"), select);
  }

  // the controls
  const detail = el("div", { class: "detail" });
  function choose(overlay) {
    detail.replaceChildren();
    [chosen, small] = [null, []];
    if (overlay) {
      const layers = overlay.layers.map((layer) => ({
        ...layer,
        pieces: layer.pieces.map((piece) => {
          const table = open(piece.table);
          return { ...piece, table, others: table.axes.map((_, axis) => axis).filter((axis) => !piece.axes.includes(axis)) };
        }),
      }));
      chosen = { ...overlay, layers, index: [] };
      const { table, axes, others } = first();
      const moved = () => {
        chosen.index = others.map((axis) => extra.index[axis]);
        draw();
      };
      const offsets = [];
      for (const piece of layers.flatMap((layer) => layer.pieces).filter((piece) => piece.table === table)) places(piece, (offset) => offsets.push(offset));
      const extra = sliders(table, axes, moved, offsets);
      chosen.index = others.map((axis) => extra.index[axis]);
      detail.append(...[shown, extra.node, tileChoice(), key.node, heads(extra)].filter(Boolean));
    }
    draw();
  }
  const name = fresh("overlay");
  const list = el("div", { class: "choices", role: "radiogroup", "aria-label": "Method" });
  const option = (text, sub, overlay, checked) => {
    const input = el("input", { type: "radio", name });
    input.checked = checked;
    input.addEventListener("change", () => choose(overlay));
    list.append(el("label", {}, input, el("span", {}, text, sub ? el("small", {}, sub) : null)));
  };
  data.overlays.forEach((overlay, i) => option(overlay.method, overlay.name, overlay, i === 0));
  const listens = figures.every(({ heard }) => heard);
  option(listens ? "Recording alone" : "Picture alone", "", null, false);
  const id = fresh("opacity");
  const slider = el("input", { type: "range", id, min: 0, max: 100, value: 100 * opacity });
  const output = el("output", { for: id }, `${100 * opacity}%`);
  slider.addEventListener("input", () => {
    opacity = Number(slider.value) / 100;
    output.textContent = `${slider.value}%`;
    figures.forEach(({ canvas }) => (canvas.style.opacity = opacity));
  });
  const box = el("input", { type: "checkbox" });
  box.checked = grey;
  box.addEventListener("change", () => {
    grey = box.checked;
    draw();
  });
  const strength = el("div", { class: "slider" }, el("label", { for: id }, "opacity"), slider, output);
  root.append(list, detail, el("div", { class: "look" }, strength, el("label", { class: "check" }, box, listens ? "spectrogram in grey" : "picture in grey")));
  choose(data.overlays[0]);
  answered(draw);
}
