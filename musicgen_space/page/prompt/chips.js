// Chips that put words into the prompt. Gradio gives: element, props, watch, trigger.
//
// props.value is the prompt's text, and which chips are pressed follows from it alone:
// what is typed, recalled or pressed all looks the same.

const tabs = [...element.querySelectorAll("[role=tab]")];
const panels = [...element.querySelectorAll("[role=tabpanel]")];
const chips = [...element.querySelectorAll("[aria-pressed]")];

// "electric piano" comes before "piano": a word in the text belongs to the longest chip.
const words = chips.map((chip) => chip.textContent).sort((a, b) => b.length - a.length);
const pattern = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
const any = new RegExp(`(?<![\\p{L}\\p{N}-])(?:${pattern})(?![\\p{L}\\p{N}-])`, "giu");

const found = (text, word) =>
  [...text.matchAll(any)].filter(([match]) => match.toLowerCase() === word);

// ---- The prompt ---------------------------------------------------------------------

function added(text, word) {
  const before = text.trim().replace(/[,\s]+$/, "");
  return before ? `${before}, ${word}` : word;
}

// Without the word, and without the "with a", "and" or comma that led to it.
function removed(text, word) {
  for (const match of found(text, word).reverse()) {
    text = text.slice(0, match.index) + text.slice(match.index + word.length);
  }
  const tidy = (piece) => piece
    .replace(/\s+/g, " ").trim()
    .replace(/\b(with|and)(?: an?)? and\b/gi, "$1")
    .replace(/^and\b|(?:^| )(?:with|and)(?: an?)?$/gi, "").trim();
  return text.split(",").map(tidy).filter(Boolean).join(", ");
}

function press(chip) {
  const word = chip.textContent;
  const text = props.value ?? "";
  const there = found(text, word).length > 0;
  const next = there ? removed(text, word) : added(text, word);
  if (next.length > props.most) return say(translated("The prompt is full."));
  props.value = next;
  trigger("input");
  show();
  say(there ? translated("{word} taken out", { word }) : translated("{word} added", { word }));
}

const say = (text) => {
  element.querySelector("[data-part=announcement]").textContent = text;
};

function show() {
  if ((props.value ?? "").trim()) ask.hidden = true;
  const inside = new Set([...(props.value ?? "").matchAll(any)].map(([word]) => word.toLowerCase()));
  for (const chip of chips) chip.setAttribute("aria-pressed", inside.has(chip.textContent));
  tabs.forEach((tab, index) => {
    tab.toggleAttribute("data-used", !!panels[index].querySelector("[aria-pressed=true]"));
  });
}

// ---- A prompt by chance -------------------------------------------------------------

const wordsOf = Object.fromEntries(props.groups.map(({ name, words }) => [name, words]));
const anyOf = (words) => words[Math.floor(Math.random() * words.length)];

function drawn() {
  const first = anyOf(wordsOf.Instruments);
  const second = anyOf(wordsOf.Instruments.filter((each) => each !== first));
  const music = `${anyOf(wordsOf.Mood)} ${anyOf(wordsOf.Genre)} with ${first} and ${second}`;
  const tempi = wordsOf.Tempo.filter((tempo) => !(music.includes("drum") && tempo === "no drums"));
  return `${music}, ${anyOf(tempi)}`;
}

function surprise() {
  let text = drawn();
  while (text === props.value) text = drawn();
  props.value = text;
  trigger("input");
  show();
  say(text);
}

// ---- Groups -------------------------------------------------------------------------

function choose(index) {
  tabs.forEach((tab, at) => {
    tab.setAttribute("aria-selected", at === index);
    tab.tabIndex = at === index ? 0 : -1;
    panels[at].toggleAttribute("data-shown", at === index);
  });
}

element.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button?.dataset.part === "surprise") surprise();
  else if (chips.includes(button)) press(button);
  else if (tabs.includes(button)) choose(tabs.indexOf(button));
});

// ---- A prompt that is still empty ---------------------------------------------------

const MAKING = "#generate, .player :is([data-part=another], [data-part=variations]), [data-begins]";
const ask = element.querySelector("[data-part=ask]");
const prompt = () => home.querySelector("#prompt textarea");

home.addEventListener("click", (event) => {
  if (!event.target.closest(MAKING) || prompt().value.trim()) return;
  if (!element.offsetParent) return; // in a small view: the server says it
  event.stopPropagation();
  ask.hidden = false;
  prompt().focus();
}, true);

const offer = element.querySelector("[data-part=try]");
offer.textContent = chips[0].textContent;
offer.addEventListener("click", () => {
  press(chips[0]);
  prompt().focus();
});

// The prompt has the focus once the page is seen: not where that would bring up a keyboard, take
// another page there, or take the focus from somebody who is quicker.
(function begin() {
  const seen = prompt() && getComputedStyle(element).visibility !== "hidden";
  if (!seen) return requestAnimationFrame(begin);
  const free = document.activeElement === document.body && matchMedia("(hover: hover)").matches;
  if (free && !guest && window.top === window) prompt().focus({ preventScroll: true });
})();

watch("value", show);
roving(tabs, (tab) => choose(tabs.indexOf(tab)));
panels.forEach((panel) => roving([...panel.querySelectorAll("[aria-pressed]")]));
choose(0);
show();
