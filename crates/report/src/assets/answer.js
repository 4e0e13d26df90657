// The tokens of the answer: pressing one shows everything that is known of it alone; "all" the whole answer.

const answer = { at: null, listeners: [] };
const answered = (listen) => answer.listeners.push(listen);

// The numbers of a table for the token that is pressed, or for the whole answer where the table knows no tokens.
function numbersOf(table) {
  const own = table.by_token;
  if (!own || answer.at === null || answer.at < own.from || answer.at >= own.from + own.len) return table.numbers;
  const size = table.numbers.length;
  own.values = own.values || new Float32Array(decoded(own.numbers).buffer);
  return own.values.subarray((answer.at - own.from) * size, (answer.at - own.from + 1) * size);
}
// One of two scales: that of single tokens, while one is shown.
const scaleOf = (table, whole, single) => (single && numbersOf(table) !== table.numbers ? single : whole);
// What a table is shown of, in words; nothing where it knows no tokens.
function ofAnswer(table) {
  if (!table.by_token) return data.answer.length ? "not told by answer token: the tokens above do not change it" : "";
  if (answer.at === null) return "whole answer";
  return numbersOf(table) === table.numbers ? "whole answer: this token is not told apart here" : ofToken();
}
const ofToken = () => `answer token ${answer.at + 1} of ${data.answer.length}: \u201c${visible(data.answer[answer.at]).trim()}\u201d`;

// A bar that stays in sight while the page is read, with the buttons at the top.
function answers(root) {
  const buttons = [...document.querySelectorAll("[data-answer]")];
  const said = el("span", { class: "said", role: "status" });
  const step = (by, name, text) => {
    const button = el("button", { type: "button", "aria-label": name }, text);
    button.addEventListener("click", () => choose(answer.at === null ? (by > 0 ? 0 : data.answer.length - 1) : answer.at + by));
    return button;
  };
  const back = step(-1, "Token before", "\u2039");
  const on = step(1, "Token after", "\u203a");
  const all = el("button", { type: "button" }, "all");
  all.addEventListener("click", () => choose(null));
  root.append(el("span", { class: "name" }, "Shown:"), said, el("span", { class: "steps" }, back, on, all));
  const notes = [...document.querySelectorAll("[data-of]")];

  function choose(at) {
    answer.at = at === null || at < 0 || at >= data.answer.length ? null : at;
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.answer === String(answer.at ?? "all"))));
    said.textContent = answer.at === null ? "whole answer" : ofToken();
    all.hidden = answer.at === null;
    notes.forEach((note) => (note.textContent = answer.at === null ? "Of the whole answer." : `Of ${ofToken()}.`));
    tip.hide();
    answer.listeners.forEach((listen) => listen());
  }
  for (const button of buttons) button.addEventListener("click", () => choose(button.dataset.answer === "all" ? null : Number(button.dataset.answer)));
  const group = document.querySelector(".answer-tokens");
  group.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const next = by && buttons[buttons.indexOf(document.activeElement) + by];
    if (!next) return;
    event.preventDefault();
    next.focus();
    next.click();
  });
  choose(null);
}

// Single numbers that are known by token.
function scalarOf(node) {
  const table = open(Number(node.dataset.scalar));
  const value = el("span", {});
  const unit = node.querySelector("small");
  node.replaceChildren(...[value, unit].filter(Boolean));
  answered(() => (value.textContent = `${number(numbersOf(table)[0])} `));
}
