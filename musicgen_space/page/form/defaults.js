// A section's title says how many of its fields are set, and a button sets them back.
// Gradio gives: element, props, watch, trigger.
//
// props.value is the fields' values in their order and, after them, where the music is made;
// props.defaults the same without anything set; props.obeyed, by place, which of them count.

const button = element.querySelector("button");
const isSet = (at) => (props.value[at] ?? props.defaults[at]) !== props.defaults[at];

function show() {
  const counts = props.obeyed[props.value[props.defaults.length]];
  const set = [...props.defaults.keys()].filter(isSet);
  const count = set.filter((at) => counts?.[at] !== false).length;
  note(count ? translated("{number} set", { number: count }) : "");
  button.hidden = !set.length;
}

button.addEventListener("click", () => {
  props.value = [...props.defaults, ...props.value.slice(props.defaults.length)];
  trigger("submit");
  show();
  element.closest(".gr-accordion").querySelector(".label-wrap").focus();
});
watch("value", show);
