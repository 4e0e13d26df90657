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

  const layerOf = (picture) => (chosen ? chosen.layers.find((layer) => layer.picture === picture) : undefined);
  // Calls `each` with value and box of every cell.
  function visit({ cells: id, table, axes, others }, each) {
    const cells = data.cells[id];
    const from = others.reduce((sum, axis, k) => sum + chosen.index[k] * table.strides[axis], 0);
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

  // Every pixel has the mean of the cells on it, each counted by how much of the pixel it covers.
  function paint(layer, canvas, zoom) {
    const [width, height] = [canvas.width, canvas.height];
    const [sum, covered, missing] = [0, 1, 2].map(() => new Float32Array(width * height));
    const shared = (from, to, at) => Math.min(to, at + 1) - Math.max(from, at);
    visit(layer, (v, box) => {
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
      const [r, g, b, a] = colour(chosen.scale, covered[i] > seam ? sum[i] / covered[i] : NaN, "picture");
      pixels[i] = ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
    }
    context.putImageData(image, 0, 0);
  }

  function draw() {
    figures.forEach(({ stage, canvas, mark }, picture) => {
      const layer = layerOf(picture);
      mark.hidden = true;
      canvas.hidden = !layer;
      stage.classList.toggle("grey", Boolean(layer) && grey);
      if (!layer) return;
      // small pictures get more canvas pixels than picture pixels, so that edges of cells fall where they are
      const [width, height] = [Number(canvas.dataset.width), Number(canvas.dataset.height)];
      // and very large ones as many as a browser allows
      const zoom = Math.min(Math.max(1, Math.min(8, Math.floor(640 / width))), Math.sqrt(16e6 / (width * height)));
      [canvas.width, canvas.height] = [Math.max(1, Math.floor(width * zoom)), Math.max(1, Math.floor(height * zoom))];
      paint(layer, canvas, zoom);
      canvas.style.opacity = opacity;
    });
  }

  figures.forEach(({ stage, canvas, mark }, picture) => {
    const locate = (event) => {
      const layer = layerOf(picture);
      if (!layer) return null;
      const frame = stage.getBoundingClientRect();
      const [width, height] = [Number(canvas.dataset.width), Number(canvas.dataset.height)];
      const x = ((event.clientX - frame.left) / frame.width) * width;
      const y = ((event.clientY - frame.top) / frame.height) * height;
      let found = null;
      visit(layer, (v, box, at) => {
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
      const where = found.at.length > 1 ? `row ${found.at[0]}, column ${found.at[1]}` : position(layer.table.axes[layer.axes[0]], found.at[0]);
      const box = `x ${number(x0)}\u2013${number(x1)}, y ${number(y0)}\u2013${number(y1)} px`;
      return { rect: around(event), content: [strong(measure(found.v, { scale: chosen.scale, unit: chosen.unit })), line(where), line(box)] };
    };
    hover(stage, locate, () => (mark.hidden = true));
  });

  // the controls
  const detail = el("div", { class: "detail" });
  function choose(overlay) {
    detail.replaceChildren();
    chosen = null;
    if (overlay) {
      const layers = overlay.layers.map((layer) => {
        const table = open(layer.table);
        return { ...layer, table, others: table.axes.map((_, axis) => axis).filter((axis) => !layer.axes.includes(axis)) };
      });
      chosen = { ...overlay, layers, index: [] };
      const [{ table, axes, others }] = layers;
      const moved = () => {
        chosen.index = others.map((axis) => extra.index[axis]);
        draw();
      };
      const extra = sliders(table, axes, moved);
      chosen.index = others.map((axis) => extra.index[axis]);
      detail.append(...[extra.node, legend({ scale: overlay.scale, unit: overlay.unit }, "picture")].filter(Boolean));
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
    option(overlay.method, overlay.name.replace(/[_-]/g, " "), overlay, i === 0);
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
