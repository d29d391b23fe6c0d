// ---- Several takes ------------------------------------------------------------------

const LETTERS = "ABCD";

let blind = "";           // "", "on" while nothing tells the takes apart, "told" after the choice
let order = [];           // which take is in which row
let winner = "";          // the id of the take that was chosen blindly

const blindly = () => blind === "on";
const many = () => Math.max(view.variations, view.takes.length);
const compared = () => many() > 1;
const takeIn = (row) => order[row] ?? row;
const rowOf = (index) => (order.length ? order.indexOf(index) : index);

// What tells a take apart: its seed, its prompt or its model.
const nameOf = ({ name }) => told(name);

// What a row shows: of takes that are still being made, only the first one's sound is there.
const rowTake = (row) => takes[takeIn(row)] ?? (row ? { ...view, peaks: [] } : view);

// All rows have one scale: what is above each other is heard at the same time.
const span = () => Math.max(length(), ...takes.map(({ wanted }) => wanted));

// Another take, at the same place: that is how they can be compared.
function choose(index) {
  if (!takes[index] || index === chosen) return;
  chosen = index;
  if (playing && source === "loop") again(() => {});
  else if (playing) takeOver();
  else {
    position = Math.min(position, length());
    if (view.phase === "done") source = "file";
    if (eager) play();
  }
  setVolume();
  mark();
  showTake();
  show();
  draw();
}

function chooseRow(row, { focus = false } = {}) {
  choose(takeIn(row));
  if (focus) part("takes").children[row].focus();
}

function setBlind(on) {
  blind = on ? "on" : "";
  winner = on ? "" : winner;
  order = on ? shuffled(takes.length) : [];
  if (on && chosen !== takeIn(0)) choose(takeIn(0));
  else showAll();
  part("announcement").textContent = on ? translated("The takes are shuffled, without names.") : "";
}

function shuffled(count) {
  const order = [...Array(count).keys()];
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}

// The chosen take has won: tell which is which, and the page.
function decide() {
  if (!blindly()) return;
  const { id, kept } = takes[chosen];
  blind = "told";
  winner = id;
  showAll();
  part("announcement").textContent = translated("You chose {letter}: take {number}, {name}.", {
    letter: LETTERS[rowOf(chosen)], number: chosen + 1, name: nameOf(takes[chosen]),
  });
  trigger("select", { take: id, kept });
}

function noLongerCompared() {
  [blind, order, winner] = ["", [], ""];
}

function showAll() {
  showTake();
  show();
  draw();
}

function showRows() {
  const rows = part("takes");
  rows.hidden = !compared();
  player.toggleAttribute("data-compared", compared());
  player.dataset.blind = blind;
  const count = compared() ? many() : 0;
  while (rows.children.length > count) rows.lastChild.remove();
  while (rows.children.length < count) rows.append(newRow(rows.children.length));
  // As wide as the longest name, within bounds.
  const longest = Math.max(8, ...takes.map((each) => nameOf(each).length));
  rows.style.setProperty("--name", `${Math.min(16, longest)}ch`);
  [...rows.children].forEach(showRow);
  showTools();
}

function showRow(node, row) {
  const index = takeIn(row);
  const entry = takes[index];
  const won = !!entry && entry.id === winner;
  const letter = LETTERS[row];
  const label = blindly() ? letter : translated("Take {number}", { number: index + 1 });
  node.disabled = !entry;
  node.setAttribute("aria-checked", index === chosen);
  node.setAttribute("aria-label", won ? translated("{take}, chosen", { take: label }) : label);
  node.title = blindly() || !entry ? "" : entry.title;
  node.tabIndex = index === chosen ? 0 : -1;
  node.toggleAttribute("data-won", won);
  node.querySelector(".mark").textContent = blind ? letter : index + 1;
  node.querySelector(".name").textContent = blindly() || !entry ? "" : nameOf(entry);
}

function showTools() {
  part("tools").hidden = !compared() || takes.length < 2;
  part("match").hidden = !canMatch;
  part("match").setAttribute("aria-pressed", matched);
  part("blind").setAttribute("aria-pressed", blind !== "");
  part("verdict").hidden = !blindly();
  part("winner").textContent = translated("Choose {letter}", { letter: LETTERS[rowOf(chosen)] ?? "" });
}

function newRow(row) {
  const node = document.createElement("button");
  node.type = "button";
  node.setAttribute("role", "radio");
  node.innerHTML =
    '<span class="mark"></span><canvas aria-hidden="true"></canvas><span class="name"></span>';
  node.addEventListener("click", (event) => {
    if (event.target !== node.querySelector("canvas")) return chooseRow(row);
    const { left, width } = event.target.getBoundingClientRect();
    playFrom(takeIn(row), ((event.clientX - left) / width) * span());
  });
  return node;
}

// A click into a take's waveform: that take, from there.
function playFrom(index, seconds) {
  if (playing || eager) pause();
  choose(index);
  position = Math.min(seconds, length());
  play();
  show();
  draw();
}

function drawRows() {
  [...part("takes").children].forEach((node, row) => {
    const one = rowTake(row);
    const drawn = drawBars(node.querySelector("canvas"), one, {
      seconds: span(),
      played: takeIn(row) === chosen ? now() : 0,
      flat: blindly(),
    });
    if (drawn && one.begins > 0 && !blindly()) drawSeam(drawn, one.begins / span());
  });
}

// Where the new music begins, after somebody's own sound.
function drawSeam({ brush, width, height }, at) {
  brush.fillStyle = getComputedStyle(wave).color;
  for (let y = 0; y < height; y += 4) brush.fillRect(Math.round(at * width) - 1, y, 2, 2);
}

