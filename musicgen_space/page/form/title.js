// What a folded section's title says after its name. Gradio gives: element.

const note = (() => {
  const name = element.closest(".gr-accordion").querySelector(".label-wrap > span");
  const span = document.createElement("span");
  span.className = "note";
  name.after(span);
  return (text) => { span.textContent = text && ` · ${text}`; };
})();
