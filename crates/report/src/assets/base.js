// What every part needs: the data, elements, numbers, colours, axes.

const data = JSON.parse(document.getElementById("data").textContent);

for (const axis of data.axes) {
  axis.kinds = axis.kinds || "";
  axis.ids = axis.ids || [];
}

function decoded(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

let ids = 0;
const fresh = (name) => `${name}-${++ids}`;

// Three significant digits, as the tables of the page have them.
function number(v) {
  if (Number.isNaN(v)) return "no value";
  const sign = v < 0 ? "\u2212" : "";
  const size = Math.abs(v);
  if (size === Infinity) return sign + "\u221e";
  if (size === 0) return "0";
  if (Number.isInteger(size) && size < 1e6) return sign + size;
  if (size < 1e-3 || size >= 1e5) return sign + size.toExponential(2).replace("e-", "e\u2212").replace("e+", "e");
  const places = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : size >= 0.01 ? 4 : 5;
  return sign + size.toFixed(places);
}
const signed = (v, scale) => (scale.signed && v > 0 ? "+" : "") + number(v);
const measure = (v, { scale, unit }) => signed(v, scale) + (unit && unit !== "count" && !Number.isNaN(v) ? " " + unit : "");
// Few digits, for a cell: two that count in the largest value of the scale, two decimals of shares up to 1.
const brief = (scale) => {
  const most = Math.max(Math.abs(scale.lo), Math.abs(scale.hi)) || 1;
  const places = Math.min(4, Math.max(0, 2 - Math.ceil(Math.log10(most))));
  return (v) => (most >= 1e4 ? number(v) : v.toFixed(places).replace("-", "\u2212").replace(/^\u2212(0\.?0*)$/, "$1"));
};

// Light and dark: whatever is painted by hand is painted again when the scheme changes.
const scheme = matchMedia("(prefers-color-scheme: dark)");
const painters = [];
function painted(paint) {
  painters.push(paint);
  paint();
}
scheme.addEventListener("change", () => painters.forEach((paint) => paint()));

const colours = {};
for (const [ground, maps] of Object.entries(data.colours)) {
  colours[ground] = { signed: decoded(maps.signed), plain: decoded(maps.plain) };
}
const paper = () => (scheme.matches ? "dark" : "light");

// Place of a value between the ends of a scale, 0 to 1; null for what is no number.
function place(scale, v) {
  if (Number.isNaN(v)) return null;
  if (scale.hi > scale.lo) return Math.min(1, Math.max(0, (v - scale.lo) / (scale.hi - scale.lo)));
  return scale.signed ? 0.5 : 0;
}
// Red, green, blue and opacity of a value.
function colour(scale, v, ground) {
  const at = place(scale, v);
  if (at === null) return [128, 128, 128, ground === "picture" ? 160 : 70];
  const table = colours[ground][scale.signed ? "signed" : "plain"];
  const i = 4 * Math.round(at * 256);
  return [table[i], table[i + 1], table[i + 2], table[i + 3]];
}
const css = ([r, g, b, a]) => `rgba(${r},${g},${b},${a / 255})`;
// Black or white, whichever is read more easily on a colour.
function ink([r, g, b, a]) {
  if (a < 255) return "inherit";
  const linear = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) > 0.18 ? "#141413" : "#fff";
}
function tint(node, scale, v) {
  const c = colour(scale, v, paper());
  node.style.backgroundColor = css(c);
  node.style.color = ink(c);
}

// What a scale means, drawn; `of` gives the scale, or nothing, each time it is drawn again.
function legend(of, ground) {
  const node = el("div", {});
  const draw = () => {
    const now = of();
    node.replaceChildren(...(now ? [scaled(now, ground)] : []));
  };
  painted(draw);
  return { node, draw };
}
function scaled({ scale, unit }, ground) {
  const bar = el("span", { class: "ramp" });
  const ends = el("span", { class: "ends" });
  const node = el("div", { class: "legend" }, bar, ends);
  const stops = Array.from({ length: 33 }, (_, i) => scale.lo + ((scale.hi - scale.lo) * i) / 32);
  // a picture in grey is nearly white
  if (ground) bar.style.backgroundColor = "#fff";
  const list = stops.map((v) => css(colour(scale, v, ground || paper())));
  bar.style.backgroundImage = `linear-gradient(to right, ${list.join(",")})`;
  const beyond = scale.max > scale.hi || scale.min < scale.lo;
  ends.append(el("span", {}, (beyond && scale.signed ? "\u2264 " : "") + signed(scale.lo, scale)));
  if (scale.signed) ends.append(el("span", {}, "0"));
  ends.append(el("span", {}, (beyond ? "\u2265 " : "") + signed(scale.hi, scale)));
  const notes = [unit];
  if (beyond) notes.push(`range ${number(scale.min)} to ${number(scale.max)}`);
  if (scale.constant) notes.push(`every value is ${number(scale.max)}`);
  if (scale.missing) notes.push(`${scale.missing} without a value, in grey`);
  node.append(el("span", { class: "note" }, notes.filter(Boolean).join(" \u00b7 ")));
  return node;
}

// A table, decoded when it is first needed.
const opened = new Map();
function open(id) {
  if (opened.has(id)) return opened.get(id);
  const raw = data.tables[id];
  const strides = raw.shape.map((_, i) => raw.shape.slice(i + 1).reduce((a, b) => a * b, 1));
  const table = { ...raw, strides, axes: raw.axes.map((axis) => data.axes[axis]) };
  if (raw.numbers !== undefined) table.numbers = new Float32Array(decoded(raw.numbers).buffer);
  if (raw.words !== undefined) table.at = new Uint32Array(decoded(raw.words.at).buffer);
  opened.set(id, table);
  return table;
}
const base = (table, index) => index.reduce((sum, i, axis) => sum + i * table.strides[axis], 0);

// The text at a position as it should be seen.
function label(axis, i) {
  const text = axis.labels ? axis.labels[i] : String(i);
  return visible(text);
}
function visible(text) {
  if (text === "") return "\u2205";
  const marked = text.replace(/\n/g, "\u23ce").replace(/\t/g, "\u21e5").replace(/\r/g, "\u240d");
  return /^ +$/.test(marked) ? "\u2423".repeat(marked.length) : marked;
}
// A word without the space before it, which becomes a mark that can be seen.
function spaced(text) {
  const word = visible(text);
  const start = /^ +(?=.)/.exec(word);
  if (!start) return [word];
  return [el("span", { class: "space", "aria-hidden": "true" }, "\u00b7".repeat(start[0].length)), word.slice(start[0].length)];
}
// Where a position lies in its picture, if it carries a part of one.
function spot(axis, i) {
  if (!axis.spots) {
    axis.spots = new Map();
    for (const run of axis.runs) {
      for (const grid of run.grids) {
        const tile = (grid.tile ? `tile ${grid.tile}, ` : "") + (grid.frame ? `frame ${grid.frame}, ` : "");
        for (const [at, row, column] of grid.cells) {
          // A part of a recording is called by its time.
          const time = axis.times[at];
          axis.spots.set(at, time
            ? { long: `${run.name}, ${time}`, short: time }
            : { long: `${run.name}, ${tile}row ${row}, column ${column}`, short: `${row},${column}` });
        }
      }
    }
  }
  return axis.spots.get(i);
}
// What stands at a position, with the plain name of a place in the model.
function plain(axis, i) {
  const text = axis.labels ? axis.labels[i] : "";
  return Object.hasOwn(data.names, text) ? `${data.names[text]} (${text})` : label(axis, i);
}
// A position in words.
function position(axis, i) {
  const where = spot(axis, i);
  if (where) return `${axis.role} ${i}: ${where.long}`;
  return axis.labels ? `${axis.role} ${i}: ${plain(axis, i)}` : `${axis.role} ${i}`;
}

// Positions of an axis with long runs of tokens of a picture or recording folded into one place each.
const LONG = 8;
const long = (axis) => axis.runs.filter((run) => run.to - run.from > LONG);
function folded(axis, unfolded) {
  const places = [];
  let i = 0;
  for (const run of unfolded ? [] : long(axis)) {
    for (; i < run.from; i++) places.push({ from: i, to: i + 1 });
    places.push({ from: run.from, to: run.to, run });
    i = run.to;
  }
  for (; i < axis.len; i++) places.push({ from: i, to: i + 1 });
  return places;
}
function foldButton(axes, change) {
  const count = Math.max(...axes.map((axis) => long(axis).reduce((sum, run) => sum + run.to - run.from, 0)));
  if (!count) return null;
  const kinds = new Set(axes.flatMap((axis) => long(axis).map((run) => (axis.kinds[run.from] === "a" ? "recording" : "picture"))));
  const what = ["picture", "recording"].filter((kind) => kinds.has(kind)).join(" and ");
  const show = `Show all ${count} ${what} positions`;
  const button = el("button", { type: "button", "aria-pressed": "false" }, show);
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on ? `Fold ${what} positions` : show;
    change(on);
  });
  return button;
}
