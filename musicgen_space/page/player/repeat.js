// What is said of a wish that has been made already. Gradio gives: element, props, watch, trigger.
//
// props.value has the `take` and what it is `kept` as, and is empty where there is nothing to say.

const part = (name) => element.querySelector(`[data-part="${name}"]`);
const player = () => home.querySelector(".player");

const show = (on) => { part("repeat").hidden = !on; };

watch("value", () => {
  show(Boolean(props.value?.take));
  if (props.value?.take) part("play").focus();
});
part("play").addEventListener("click", () => {
  const { take, kept: [kept] } = props.value;
  show(false);
  if (player().dataset.take === take) player().querySelector("[data-part=play]").click();
  else if (kept) home.dispatchEvent(new CustomEvent("musicgen:hear", { detail: { id: kept } }));
  else trigger("again");
});
part("another").addEventListener("click", () => {
  show(false);
  player().querySelector("[data-part=another]").click();
});
part("again").addEventListener("click", () => {
  show(false);
  home.dispatchEvent(new Event("musicgen:gesture"));
  trigger("again");
});
