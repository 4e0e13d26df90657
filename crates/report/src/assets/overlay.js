// Heat maps over the pictures.

function overlays(root) {
  const figures = [...document.querySelectorAll("figure.picture")].map((node) => ({
    stage: node.querySelector(".stage"),
    canvas: node.querySelector("canvas"),
    mark: node.querySelector(".mark"),
  }));
  let chosen = null;
  let opacity = 0.65;
  let grey = true;

  const cellsOf = (picture) => {
    const layer = chosen && chosen.layers.find(([where]) => where === picture);
    return layer ? data.cells[layer[1]] : null;
  };
  // Calls `each` with value and box of every cell.
  function visit(cells, each) {
    const { table, axes, index } = chosen;
    const from = base(table, index);
    if (cells.boxes) {
      const stride = table.strides[axes[0]];
      for (const [at, box] of cells.boxes) each(table.numbers[from + at * stride], box, [at]);
      return;
    }
    const [down, across] = axes.map((axis) => table.strides[axis]);
    cells.grid.rows.forEach(([y0, y1], r) =>
      cells.grid.columns.forEach(([x0, x1], c) => each(table.numbers[from + r * down + c * across], [x0, y0, x1, y1], [r, c])),
    );
  }

  function draw() {
    figures.forEach(({ stage, canvas, mark }, picture) => {
      const cells = cellsOf(picture);
      mark.hidden = true;
      canvas.hidden = !cells;
      stage.classList.toggle("grey", Boolean(cells) && grey);
      if (!cells) return;
      // small pictures get more canvas pixels than picture pixels, so that edges of cells fall where they are
      const [width, height] = [Number(canvas.dataset.width), Number(canvas.dataset.height)];
      // and very large ones as many as a browser allows
      const zoom = Math.min(Math.max(1, Math.min(8, Math.floor(640 / width))), Math.sqrt(16e6 / (width * height)));
      [canvas.width, canvas.height] = [Math.max(1, Math.floor(width * zoom)), Math.max(1, Math.floor(height * zoom))];
      const context = canvas.getContext("2d");
      const image = context.createImageData(canvas.width, canvas.height);
      const pixels = new Uint32Array(image.data.buffer);
      const edge = (v, most) => Math.min(most, Math.max(0, Math.ceil(v * zoom - 0.5)));
      visit(cells, (v, [x0, y0, x1, y1]) => {
        const [r, g, b, a] = colour(chosen.scale, v, "picture");
        const paint = ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
        const [left, right] = [edge(x0, canvas.width), edge(x1, canvas.width)];
        const bottom = edge(y1, canvas.height);
        for (let y = edge(y0, canvas.height); y < bottom; y++) pixels.fill(paint, y * canvas.width + left, y * canvas.width + right);
      });
      context.putImageData(image, 0, 0);
      canvas.style.opacity = opacity;
    });
  }

  figures.forEach(({ stage, canvas, mark }, picture) => {
    const locate = (event) => {
      const cells = cellsOf(picture);
      if (!cells) return null;
      const frame = stage.getBoundingClientRect();
      const [width, height] = [Number(canvas.dataset.width), Number(canvas.dataset.height)];
      const x = ((event.clientX - frame.left) / frame.width) * width;
      const y = ((event.clientY - frame.top) / frame.height) * height;
      let found = null;
      visit(cells, (v, box, at) => {
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
      const where = found.at.length > 1 ? `row ${found.at[0]}, column ${found.at[1]}` : position(chosen.table.axes[chosen.axes[0]], found.at[0]);
      const box = `x ${number(x0)}\u2013${number(x1)}, y ${number(y0)}\u2013${number(y1)} px`;
      return { rect: around(event), content: [strong(measure(found.v, { scale: chosen.scale, unit: chosen.table.unit })), line(where), line(box)] };
    };
    hover(stage, locate, () => (mark.hidden = true));
  });

  // the controls
  const detail = el("div", { class: "detail" });
  function choose(overlay) {
    detail.replaceChildren();
    chosen = null;
    if (overlay) {
      const table = open(overlay.table);
      chosen = { ...overlay, table };
      const extra = sliders(table, overlay.axes, draw);
      chosen.index = extra.index;
      detail.append(...[extra.node, legend({ scale: overlay.scale, unit: table.unit }, "picture")].filter(Boolean));
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
  data.overlays.forEach((overlay, i) => {
    const { method, name: table } = data.tables[overlay.table];
    const sub = [table.replace(/[_-]/g, " "), overlay.group].filter(Boolean).join(", ");
    option(method, sub, overlay, i === 0);
  });
  option("Picture alone", "", null, false);
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
  root.append(list, detail, el("div", { class: "look" }, strength, el("label", { class: "check" }, box, "picture in grey")));
  choose(data.overlays[0]);
}
