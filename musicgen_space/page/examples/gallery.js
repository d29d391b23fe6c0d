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

// Tab stops at one card, arrows move among them.
const cards = [...element.querySelectorAll("[data-key]")];
const stopAt = (card) => cards.forEach((each) => { each.tabIndex = each === card ? 0 : -1; });

element.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const at = cards.indexOf(event.target);
  if (!by || at < 0) return;
  event.preventDefault();
  cards.at((at + by) % cards.length).focus();
});
element.addEventListener("focusin", ({ target }) => stopAt(target.closest("[data-key]")));
stopAt(cards[0]);
