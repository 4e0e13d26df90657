// One small window that says what lies under the pointer, the finger or the cursor keys.

const tip = {
  node: document.getElementById("tip"),
  show(rect, ...children) {
    this.node.replaceChildren(...children.filter((child) => child !== null));
    this.node.hidden = false;
    const { width, height } = this.node.getBoundingClientRect();
    const room = document.documentElement.clientWidth;
    const left = Math.min(Math.max(8, (rect.left + rect.right) / 2 - width / 2), room - width - 8);
    const above = rect.top - height - 10;
    this.node.style.left = `${Math.max(4, left)}px`;
    this.node.style.top = `${above >= 4 ? above : Math.min(rect.bottom + 12, innerHeight - height - 4)}px`;
  },
  hide() {
    this.node.hidden = true;
  },
};
addEventListener("scroll", () => tip.hide(), { passive: true, capture: true });
addEventListener("keydown", (event) => event.key === "Escape" && tip.hide());

// `locate` gives { rect, content } for an event, or null where there is nothing to say.
function hover(node, locate, leave) {
  const speak = (event) => {
    const found = locate(event);
    if (found) tip.show(found.rect, ...found.content);
    else gone();
  };
  const gone = () => {
    tip.hide();
    if (leave) leave();
  };
  node.addEventListener("pointermove", (event) => event.pointerType === "mouse" && speak(event));
  node.addEventListener("click", speak);
  node.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && gone());
  node.addEventListener("blur", gone);
}

// Cursor keys over a grid of cells. `say` shows the cell and returns nothing.
function cursor(node, size, say) {
  let [row, column] = [0, 0];
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  node.addEventListener("keydown", (event) => {
    const move = step[event.key];
    if (!move) return;
    event.preventDefault();
    const [rows, columns] = size();
    row = Math.min(rows - 1, Math.max(0, row + move[0]));
    column = Math.min(columns - 1, Math.max(0, column + move[1]));
    say(row, column);
  });
}

const strong = (text) => el("strong", {}, text);
const line = (text) => el("div", {}, text);
const around = (event) => ({ left: event.clientX, right: event.clientX, top: event.clientY - 4, bottom: event.clientY + 8 });
