// What Gradio's number fields lack: names that say what each is, whole, complete numbers, and a
// word where what was typed is beyond their limits.
//
// props.defaults has, by id, what a field is without anything in it. Gradio gives: element, props.

const fields = () => home.querySelectorAll("[data-testid=number-input]");
const block = (field) => field.closest(".block");

// Readers would hear "number input for Seed" and "Reset to default value", of what it is not said.
function name(field) {
  const label = block(field).querySelector("[data-testid=block-info]").textContent.trim();
  const slider = block(field).querySelector("[type=range]");
  const reset = block(field).querySelector("[data-testid=reset-button]");
  for (const each of [field, slider]) each?.setAttribute("aria-label", label);
  if (reset) reset.tabIndex = -1; // who uses the keyboard types the number
  reset?.setAttribute("aria-label", translated("{field}: back to {value}", {
    field: label, value: String(props.defaults[block(field).id]),
  }));
}

// As Gradio itself does with what is beyond a field's limits, once it is left.
function complete(field) {
  const known = props.defaults[block(field).id];
  const whole = Number.isInteger(Number(field.step)) && known !== undefined;
  const number = field.value === "" ? known : whole ? Math.round(field.value) : field.value;
  if (number === undefined || String(number) === field.value) return;
  field.value = number;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

// Gradio takes the nearest limit instead, and says nothing of it.
function tellLimits(field) {
  const { value, min, max } = field;
  if (value === "" || (Number(value) >= Number(min) && Number(value) <= Number(max))) return;
  const word = document.createElement("p");
  word.className = "limits";
  word.role = "status";
  word.textContent = translated("{field}: from {least} to {most}, not {value}.", {
    field: field.getAttribute("aria-label"), least: min, most: max, value,
  });
  block(field).append(word);
}

const forget = (field) => block(field)?.querySelector(".limits")?.remove();

function leave(field) {
  forget(field);
  tellLimits(field);
  complete(field);
}

const isNumber = ({ target }) => target.matches?.("[data-testid=number-input]");

home.addEventListener("focusout", (event) => {
  if (isNumber(event)) leave(event.target);
}, true);
home.addEventListener("keydown", (event) => {
  if (isNumber(event) && event.key === "Enter") leave(event.target);
}, true);
home.addEventListener("input", ({ isTrusted, target }) => {
  if (isTrusted) forget(target); // somebody chose another number, with the slider perhaps
}, true);

// Fields come and go with their sections. A list of choices that scrolls takes the focus from
// whoever leaves it by Tab, and is gone then.
function look() {
  fields().forEach(name);
  for (const list of home.querySelectorAll("ul[role=listbox]:not([tabindex])")) list.tabIndex = -1;
}
new MutationObserver(look).observe(home, { childList: true, subtree: true });
look();
