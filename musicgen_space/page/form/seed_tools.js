// What can be done with the seed. Gradio gives: element, props, watch, trigger.
// props.value is whether it stays for other takes of the same wish.

const part = (name) => element.querySelector(`[data-part=${name}]`);
const show = () => part("keep").setAttribute("aria-pressed", !!props.value);

part("keep").addEventListener("click", () => {
  props.value = !props.value;
  show();
});
part("draw").addEventListener("click", () => trigger("retry"));
part("last").addEventListener("click", () => trigger("undo"));
watch("value", show);
