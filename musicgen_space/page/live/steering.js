// ---- How it is changed --------------------------------------------------------------

const INTERVAL = 150;     // ms; a slider passes many values

let expected = "";        // the prompt that is to be heard
let chip = false;         // a chip was pressed, whose word is about to be in the prompt
let changes = {};         // what is to be sent
let sending = 0;          // the timer of that

const tidy = (text) => (text ?? "").split(/\s+/).filter(Boolean).join(" ");
const valueOf = (knob) => (knob.type === "range" ? knob.valueAsNumber : knob.value);
const knobs = () => Object.fromEntries(
  [...element.querySelectorAll("[data-knob]")].map((knob) => [knob.dataset.knob, valueOf(knob)])
);

function steer(fields) {
  if (!plays()) return;
  Object.assign(changes, fields);
  sending ||= setTimeout(sendChanges, INTERVAL);
}

async function sendChanges() {
  sending = 0;
  if (!plays()) changes = {};
  if (!ready) return plays() ? steer({}) : undefined;
  const sent = changes;
  changes = {};
  say(slow());
  const right = await ask("steer", sent);
  if (!right && sent.prompt !== undefined) expect(heardPrompt()); // it stays as it is
}

// To what the form says.
function changeTo({ prompt, negative_prompt, top_k, top_p }) {
  expect(prompt);
  steer({ prompt, negative_prompt, top_k, top_p });
}

const change = async () => changeTo(await fields());

function expect(prompt) {
  expected = tidy(prompt);
  showPrompts();
}

// A chip, or a prompt by chance, is heard without another press.
function followChip() {
  if (!chip || tidy(form.prompt) === expected) return;
  chip = false;
  if (plays() && tidy(form.prompt)) changeTo(form);
}

function showKnobs() {
  const knob = (name) => element.querySelector(`[data-knob=${name}]`);
  knob("balance").disabled = !tidy(knob("blend_prompt").value);
  part("guidance").textContent = knob("guidance_scale").value;
}

for (const knob of element.querySelectorAll("[data-knob]")) {
  knob.addEventListener(knob.type === "range" ? "input" : "change", () => {
    showKnobs();
    steer({ [knob.dataset.knob]: valueOf(knob) });
  });
}
home.addEventListener("click", ({ target }) => {
  if (plays() && target.closest("#words :is([aria-pressed], [data-part=surprise])")) chip = true;
});
home.addEventListener("keydown", (event) => {
  const plain = !(event.shiftKey || event.ctrlKey || event.metaKey || event.altKey);
  const meant = event.key === "Enter" && plain && !event.isComposing;
  if (!meant || !plays() || !event.target.matches("#prompt textarea")) return;
  event.preventDefault();
  change();
}, true);

