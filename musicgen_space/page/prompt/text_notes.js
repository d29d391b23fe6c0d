// What the model can't read of a text field. Gradio gives: element, props, watch, server.
// props.value is the text, and the backend and the model that are chosen.

const note = element.querySelector(".text-note");
let typing = 0;
let asked = 0;

async function look() {
  const mine = ++asked;
  const words = await server.remarks(props.value);
  if (mine === asked) note.textContent = told(words);
}

watch("value", () => {
  clearTimeout(typing);
  typing = setTimeout(look, 300);
});
