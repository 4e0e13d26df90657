// Puts every part in its place. A part that fails says so and leaves the others alone.

function part(root, build) {
  if (!root) return;
  try {
    build(root);
    root.dataset.ready = "";
  } catch (error) {
    console.error(error);
    root.append(el("p", { class: "failed" }, `This part could not be drawn: ${error.message}`));
  }
}

part(document.body, sounds);
part(document.getElementById("overlay"), overlays);
part(document.getElementById("tokens"), tokens);
document.querySelectorAll("[data-lens]").forEach((node) => part(node, () => lens(node, data.lenses[Number(node.dataset.lens)])));
document.querySelectorAll("[data-map]").forEach((node) => part(node, () => map(node, data.maps[Number(node.dataset.map)])));
document.querySelectorAll("[data-bars]").forEach((node) => part(node, bars));
document.querySelectorAll("[data-curve]").forEach((node) => part(node, liveCurve));
document.querySelectorAll("[data-scalar]").forEach((node) => part(node, scalarOf));
part(document.getElementById("answer"), answers);
document.documentElement.dataset.ready = "";
