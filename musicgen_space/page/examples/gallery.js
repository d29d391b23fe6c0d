// A row of examples. Gradio gives: element, props, trigger. props.value is the id of a take.

roving([...element.querySelectorAll("[data-key]")]);

element.addEventListener("click", ({ target }) => {
  const card = target.closest("[data-key]");
  const player = home.querySelector(".player");
  // A take that is being made keeps the player.
  if (!card || player.dataset.phase === "busy") return;
  const { take, playing } = player.dataset;
  // To the player the take that it has is nothing new.
  if (take === card.dataset.key && !playing) player.querySelector("[data-part=play]").click();
  props.value = card.dataset.key;
  trigger("select");
});
