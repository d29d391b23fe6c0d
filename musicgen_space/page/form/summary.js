// On a phone one line says what the model and the seed are, and opens both.
// Gradio gives: element, props, watch. props.value has them: model, seed.

const button = element.querySelector("button");

function show() {
  const { model, seed } = props.value;
  const words = seed === -1 ? translated("a new seed each time") : translated("seed {seed}", { seed });
  element.querySelector("[data-part=words]").textContent = `${model} · ${words}`;
}

button.addEventListener("click", () => {
  button.setAttribute("aria-expanded", button.getAttribute("aria-expanded") === "false");
});
watch("value", show);
show();
