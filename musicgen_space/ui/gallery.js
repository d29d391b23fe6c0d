// Cards of examples. Gradio gives: element, props, trigger. props.value is the id of a take.

element.addEventListener("click", ({ target }) => {
  const card = target.closest("[data-key]");
  // A take that is being made keeps the player.
  if (!card || document.querySelector(".player[data-phase=busy]")) return;
  props.value = card.dataset.key;
  trigger("select");
});
