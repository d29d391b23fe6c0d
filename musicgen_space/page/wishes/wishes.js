// What is said of wishes above the button: made already, or to be made next. Gradio gives:
// element, props, watch, trigger.
//
// props.value is what musicgen_space/page/wishes/wishes.py describes; for the event "drop" it has
// the `id` of the wish that is not wanted any more.

const part = (name) => element.querySelector(`[data-part="${name}"]`);
const player = () => home.querySelector(".player");

const showMade = (on) => { part("made").hidden = !on; };

function show() {
  const { made, next = [] } = props.value ?? {};
  showMade(Boolean(made));
  if (made) part("play").focus();
  part("next").replaceChildren(...next.map(waiting));
}

function waiting({ id, prompt }) {
  const item = document.createElement("li");
  const words = document.createElement("span");
  words.textContent = prompt;
  const remove = document.createElement("button");
  remove.type = "button";
  remove.className = "icon";
  remove.textContent = "×";
  remove.setAttribute("aria-label", translated("Don't make {prompt}", { prompt }));
  remove.addEventListener("click", () => {
    props.value = { id };
    trigger("drop");
  });
  item.append(words, remove);
  return item;
}

watch("value", show);
part("play").addEventListener("click", () => {
  const { take, kept: [kept] } = props.value.made;
  showMade(false);
  if (player().dataset.take === take) player().querySelector("[data-part=play]").click();
  else if (kept) home.dispatchEvent(new CustomEvent("musicgen:hear", { detail: { id: kept } }));
  else trigger("again");
});
part("another").addEventListener("click", () => {
  showMade(false);
  player().querySelector("[data-part=another]").click();
});
part("again").addEventListener("click", () => {
  showMade(false);
  home.dispatchEvent(new Event("musicgen:gesture"));
  trigger("again");
});
