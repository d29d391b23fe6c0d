// The list of a visitor's takes. Gradio gives: element, props, trigger, server.
//
// Rows are what musicgen_space/page/takes/own_takes.py describes; nothing of them is ever HTML. What
// concerns other parts of the page goes out as an event: "hear", "recall", "renew", "bring".
// props.value says whose takes they are (visitor) and which ones an event means (ids).

const part = (name) => element.querySelector(`[data-part="${name}"]`);
const list = part("list");
const player = () => home.querySelector(".player");

const BARS = 50;
const UNDO_SECONDS = 10;
const WORDS_SECONDS = 5;

let rows = [];            // as they are shown
const items = new Map();  // of each row's id, its <li>
const marked = new Set(); // ids to compare
let count = 0;            // how many are found, shown or not
let asked = 0;            // how often the list was asked for; answers to older questions are dropped
let latest = null;        // the promise of the list as it was asked for last
let changed = 0;          // how often a row was changed here
let playerKnows;          // the row of what the player has, as it was told of it
let passing = 0;          // the timer that asks again, while what is said of all takes will pass

// ---- Who this is --------------------------------------------------------------------

const KEY = "musicgen-space:visitor";
let forgetful = false;    // this browser keeps nothing

function newVisitor() {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Whoever knows it finds the takes: it never goes into an address.
function thisVisitor() {
  try {
    const known = localStorage.getItem(KEY);
    if (/^[0-9a-f]{48}$/.test(known ?? "")) return known;
    localStorage.setItem(KEY, newVisitor());
    return localStorage.getItem(KEY);
  } catch {
    forgetful = true;
    return newVisitor();
  }
}

const visitor = props.shared ? thisVisitor() : "";
props.value = { visitor };
const about = forgetful
  ? translated("This browser keeps nothing: your takes are found in this tab only.")
  : told(props.about);

// ---- The server ---------------------------------------------------------------------

async function ask(name, fields = {}) {
  try {
    const answer = await server[name]({ visitor, ...fields });
    if (answer.trouble) say(told(answer.trouble));
    return answer.trouble ? null : answer;
  } catch {
    say(translated("The server did not answer. Please try again."));
    return null;
  }
}

function send(event, fields) {
  props.value = { visitor, ...fields };
  trigger(event);
}

const looked = () => ({
  words: part("search").value,
  favourites: part("favourites").getAttribute("aria-pressed") === "true",
  marked: [...marked],
});

// The rows from the newest on, at least as many as are there already; resolves when they are shown.
function reload() {
  latest = load(++asked);
  return latest;
}

async function load(mine) {
  const before = changed;
  const wanted = rows.length;
  const found = [];
  let answer;
  do {
    answer = await ask("list_takes", { ...looked(), after: found.at(-1)?.id ?? "" });
    if (mine !== asked) return latest;
    if (!answer) return;
    if (before !== changed) return reload(); // these may be rows from before
    found.push(...answer.rows);
  } while (answer.rows.length && found.length < Math.min(wanted, answer.count));
  show(found, answer);
  part("kept").textContent = answer.note || answer.about ? told(answer.note ?? answer.about) : about;
  showAccount(answer);
  clearTimeout(passing);
  if (answer.again) passing = setTimeout(reload, answer.again * 1000);
}

// In a frame, signing in opens a page of its own: there no browser holds its cookie back.
function showAccount({ person, moved }) {
  const sign = part("sign");
  part("account").hidden = !props.sign_in;
  part("person").textContent = person ?? "";
  sign.textContent = person ? translated("Sign out") : translated("Sign in with Hugging Face");
  sign.title = person ? "" : translated("Your takes are then found in other browsers, too. Asked for is your public profile only.");
  sign.href = gradio.root + (person ? props.sign_out : props.sign_in);
  sign.target = person || window.top === window ? "_self" : "_blank";
  if (moved) say(translated("The takes that this browser kept are yours wherever you sign in, from now on."));
}

async function more() {
  const before = asked, shown = rows.length;
  const last = list.lastElementChild;
  const answer = await ask("list_takes", { ...looked(), after: rows.at(-1)?.id ?? "" });
  if (before !== asked || shown !== rows.length || !answer) return;
  if (!answer.rows.length) return reload(); // the last row is gone for good
  show([...rows, ...answer.rows], answer);
  if (part("more").hidden) last?.nextElementSibling?.querySelector(".listen").focus();
}

// ---- Rows ---------------------------------------------------------------------------

function show(found, answer) {
  rows = found;
  count = answer.count;
  for (const id of answer.gone ?? []) marked.delete(id);
  const there = new Set(rows.map(({ id }) => id));
  for (const [id, item] of items) {
    if (!there.has(id)) {
      item.remove();
      items.delete(id);
    }
  }
  rows.forEach((row, index) => {
    const item = items.get(row.id) ?? newItem(row);
    fill(item, row);
    fold(item, row, index);
    if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
  });
  const { words, favourites } = looked();
  part("tools").hidden = !answer.any;
  part("more").hidden = rows.length >= count;
  part("count").textContent = answer.any ? `${count}` : "";
  const many = count === 1 ? translated("1 take") : translated("{takes} takes", { takes: count });
  part("count-words").textContent = answer.any ? many : "";
  part("empty").hidden = rows.length > 0;
  part("empty").textContent =
    !answer.any ? translated("What you make is kept here: press Generate.")
    : words.trim() && favourites ? translated("No favourite with “{words}”.", { words: words.trim() })
    : words.trim() ? translated("No take with “{words}”.", { words: words.trim() })
    : translated("No favourites yet: press a star.");
  showMarks();
  showPlaying();
}

// Variations of one wish are below the first of them, folded.
const unfolded = new Set(); // by batch

function fold(item, { batch }, index) {
  const { words, favourites } = looked();
  const grouped = !words.trim() && !favourites;
  const further = rows.filter((row) => row.batch === batch).length - 1;
  const first = !grouped || rows[index - 1]?.batch !== batch;
  item.hidden = !first && !unfolded.has(batch);
  item.toggleAttribute("data-further", !first);
  const toggle = item.querySelector(".unfold");
  toggle.hidden = !grouped || !first || further < 1;
  toggle.setAttribute("aria-expanded", unfolded.has(batch));
  toggle.textContent = toggle.hidden ? "" :
    further === 1 ? translated("1 variation") : translated("{takes} variations", { takes: further });
}

function unfold({ batch }) {
  if (!unfolded.delete(batch)) unfolded.add(batch);
  rows.forEach((row, index) => fold(items.get(row.id), row, index));
}

function make(name, className, text = "") {
  const node = document.createElement(name);
  node.className = className;
  node.textContent = text;
  if (name === "button") node.type = "button";
  return node;
}

function newItem({ id }) {
  const item = make("li", "take");
  item.dataset.id = id;
  const mark = make("input", "mark");
  mark.type = "checkbox";
  mark.title = translated("Mark to compare");
  const listen = make("button", "listen");
  const words = make("div", "words-of");
  const facts = make("p", "facts-of");
  facts.append(make("time", "when"), make("span", ""));
  words.append(make("p", "name"), make("p", "prompt-of"), facts);
  const star = make("button", "icon star");
  const menu = make("div", "menu");
  menu.append(make("button", "icon dots"));
  const dots = menu.firstChild;
  dots.setAttribute("aria-haspopup", "menu");
  dots.setAttribute("aria-expanded", "false");
  dots.title = translated("More");
  item.append(mark, listen, newWave(), words, star, menu, make("button", "quiet unfold"));
  items.set(id, item);
  return item;
}

function newWave() {
  const wave = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  wave.setAttribute("class", "wave-of");
  wave.setAttribute("viewBox", `0 0 ${BARS} 100`);
  wave.setAttribute("preserveAspectRatio", "none");
  wave.setAttribute("aria-hidden", "true");
  wave.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  return wave;
}

function fill(item, row) {
  const called = row.name.length > 80 ? `${row.name.slice(0, 79)}…` : row.name;
  const named = row.name !== row.prompt;
  const put = (selector, words) => { item.querySelector(selector).textContent = words; };
  put(".name", row.name);
  put(".prompt-of", named ? row.prompt : "");
  put(".facts-of span", ` · ${told(row.facts)}`);
  item.querySelector(".prompt-of").hidden = !named;
  item.querySelector(".words-of").title = row.prompt;
  item.querySelector(".mark").setAttribute("aria-label", translated("Mark to compare: {take}", { take: called }));
  item.querySelector(".listen").setAttribute("aria-label", translated("Listen to {take}", { take: called }));
  item.querySelector(".dots").setAttribute("aria-label", translated("More for {take}", { take: called }));
  const star = item.querySelector(".star");
  star.setAttribute("aria-label", translated("Favourite: {take}", { take: called }));
  star.setAttribute("aria-pressed", row.favourite);
  star.title = row.favourite ? translated("No longer a favourite") : translated("Favourite");
  item.querySelector(".wave-of path").setAttribute("d", bars(row.peaks));
  tellTime(item, row);
}

function bars(peaks) {
  const tall = barsOf(peaks, Math.min(BARS, peaks.length)).map((peak) => Math.max(4, peak));
  return tall.map((percent, bar) => `M${bar + 0.5} ${50 - percent / 2}v${percent}`).join("");
}

function tellTime(item, { created }) {
  const when = item.querySelector(".when");
  when.dateTime = created;
  when.textContent = ago(new Date(created));
  when.title = new Date(created).toLocaleString();
}

function ago(date) {
  const minutes = Math.floor((Date.now() - date) / 60000);
  const days = Math.floor(minutes / 1440);
  if (minutes < 1) return translated("just now");
  if (minutes < 60) return translated("{minutes} min ago", { minutes });
  if (days < 1) return translated("{hours} h ago", { hours: Math.floor(minutes / 60) });
  if (days < 7) return days === 1 ? translated("yesterday") : translated("{days} days ago", { days });
  return date.toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}

const rowOf = (node) => rows.find(({ id }) => id === node.closest(".take")?.dataset.id);

function replace(row) {
  changed += 1;
  rows = rows.map((each) => (each.id === row.id ? row : each));
  const item = items.get(row.id);
  if (item) fill(item, row);
  tellPlayer(row);
}

// The player has a star and a name of its own for what it plays.
const tellPlayer = (row) => home.dispatchEvent(new CustomEvent("musicgen:row", { detail: row }));

// ---- Listening, comparing -----------------------------------------------------------

const busy = () => {
  const stop = home.querySelector("#stop");
  return player()?.dataset.phase === "busy" || (stop && stop.offsetParent !== null);
};

function isFree() {
  if (busy()) say(translated("A take is being made: wait for it, or stop it."));
  return !busy();
}

function listen({ id }) {
  if (!isFree()) return;
  if (player()?.dataset.kept === id) return player().querySelector("[data-part=play]").click();
  gesture();
  send("hear", { ids: [id] });
}

function compare() {
  if (!isFree()) return;
  gesture();
  send("hear", { ids: [...marked] });
  home.querySelector("#player")?.scrollIntoView({ block: "nearest" });
}

// Lets the player make sound by itself, once it has something to play.
const gesture = () => home.dispatchEvent(new Event("musicgen:gesture"));

function showMarks() {
  for (const [id, item] of items) {
    const mark = item.querySelector(".mark");
    mark.checked = marked.has(id);
    mark.disabled = !mark.checked && marked.size >= props.most;
  }
  part("compare").disabled = marked.size < 2;
  part("compare").textContent = marked.size < 2 ? translated("Compare") : translated("Compare {takes}", { takes: marked.size });
}

function showPlaying() {
  const { kept, playing } = player()?.dataset ?? {};
  for (const [id, item] of items) {
    item.toggleAttribute("data-here", id === kept);
    const button = item.querySelector(".listen");
    const pressed = String(id === kept && Boolean(playing));
    if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
  }
  const here = rows.find(({ id }) => id === kept);
  if (here && here !== playerKnows) tellPlayer(here);
  playerKnows = here;
}

// ---- One take's menu ----------------------------------------------------------------

const ACTIONS = [
  [translated("Use these settings"), (row) => send("recall", { ids: [row.id] })],
  [translated("Same prompt, new seed"), renew],
  [translated("Continue from here"), (row) => bring(row, "continue_from"), "continue_from"],
  [translated("Make a part anew"), (row) => bring(row, "replace"), "replace"],
  [translated("Use as melody"), (row) => bring(row, "melody"), "melody"],
  [translated("Download"), download],
  [translated("Copy link"), copyLink],
  [translated("Rename"), rename],
  [translated("Delete"), remove],
];

const bring = ({ id }, use) => send("bring", { ids: [id], use });

// What somebody's own sound is in, settings alone don't make again: then they are filled in only.
function renew(row) {
  if (!isFree()) return;
  const sound = row.sound || home.querySelector("#picker")?.offsetParent;
  if (!sound) gesture();
  else if (!row.sound) say(translated("Your own sound would be used: remove it, or press Generate."));
  send(sound ? "recall" : "renew", { ids: [row.id], renew: true });
}

let closeMenu = () => {};

function toggleMenu(dots) {
  const open = dots.getAttribute("aria-expanded") === "true";
  closeMenu({ focus: true });
  if (open) return;
  const row = rowOf(dots);
  const possible = ACTIONS.filter(([, , use]) => !use || props.uses.includes(use));
  closeMenu = openMenu(dots, possible.map(([words, action]) => [words, () => action(row)]), foot());
}

// Where the visible part of the page ends: on a phone, above the button that stays there.
function foot() {
  const actions = home.querySelector("#actions");
  const fixed = actions && getComputedStyle(actions).position === "fixed";
  return fixed ? actions.getBoundingClientRect().top : innerHeight;
}

function rename(row) {
  const item = items.get(row.id);
  const name = item.querySelector(".name");
  const field = make("input", "new-name");
  field.maxLength = 120;
  field.value = row.name.slice(0, field.maxLength);
  field.setAttribute("aria-label", translated("Name of the take; empty: its prompt"));
  const before = field.value;
  let open = true;
  const close = async (save) => {
    if (!open) return;
    open = false;
    const focused = document.activeElement === field;
    field.remove();
    name.hidden = false;
    if (focused) item.querySelector(".dots").focus();
    if (!save || field.value === before) return;
    name.textContent = field.value;
    await call(row, field.value);
  };
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return; // is meant for what puts the characters together
    if (event.key === "Enter") close(true);
    else if (event.key === "Escape") close(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  field.addEventListener("blur", () => close(true));
  name.before(field);
  name.hidden = true;
  field.select();
  field.focus();
}

async function call(row, name) {
  const answer = await ask("rename_take", { ids: [row.id], name });
  replace(answer?.row ?? row);
}

async function favour(row, favourite = !row.favourite) {
  replace({ ...row, favourite });
  const answer = await ask("favour_take", { ids: [row.id], favourite });
  replace(answer?.row ?? row);
}

async function download(row) {
  const file = await ask("file_of_take", { ids: [row.id], ending: formatOf(row.formats) });
  if (file) fetchFile(file);
}

function fetchFile(file) {
  const link = document.createElement("a");
  link.href = served(file);
  link.download = file.name;
  link.click();
}

async function copyLink({ link }) {
  const done = await copied(linkOf(link));
  say(done ? translated("Link copied") : translated("This browser copies nothing here: listen to the take, and find its link in the player."));
}

// ---- Deleting, and what is said at the foot of the page -----------------------------

let deleted = [];         // what Undo brings back
let barTimer = 0;

async function remove(row) {
  const answer = await ask("delete_takes", { ids: [row.id] });
  if (!answer) return;
  const item = items.get(row.id);
  const next = item?.nextElementSibling ?? item?.previousElementSibling;
  const focused = item?.contains(document.activeElement) || document.activeElement === document.body;
  marked.delete(row.id);
  const left = rows.filter(({ id }) => id !== row.id);
  show(left, { count: Math.max(0, count - 1), any: true });
  if (focused) (next?.querySelector(".dots") ?? part("heading")).focus();
  deleted = [...deleted, row.id];
  const many = deleted.length > 1;
  say(many ? translated("{takes} takes deleted", { takes: deleted.length }) : translated("Take deleted"), { undo: true });
  reload();
}

async function undo() {
  const ids = deleted;
  if (!ids.length) return; // it is being done
  deleted = [];
  const answer = await ask("restore_takes", { ids });
  if (!answer) {
    deleted = [...ids, ...deleted]; // to be tried again
    part("undo").hidden = false;
    return;
  }
  if (!deleted.length) hideBar();
  await reload();
  if (deleted.length) return; // another one since: the bar is about that
  const item = items.get(ids.at(-1));
  (item?.querySelector(".dots") ?? part("heading")).focus();
  say(answer.ids.length ? translated("Brought back") : translated("It is not there any more."));
}

function say(words, { undo = false } = {}) {
  if (!undo && deleted.length) hideBar();
  part("said").textContent = words;
  part("undo").hidden = !undo;
  part("bar").hidden = false;
  wait(undo ? UNDO_SECONDS : WORDS_SECONDS);
}

// Whoever is at the bar, with the mouse or with the keyboard, has all the time they want.
function wait(seconds) {
  clearTimeout(barTimer);
  barTimer = setTimeout(() => {
    const bar = part("bar");
    if (bar.matches(":hover") || bar.contains(document.activeElement)) wait(seconds);
    else hideBar();
  }, seconds * 1000);
}

function hideBar() {
  clearTimeout(barTimer);
  deleted = [];
  const focused = part("bar").contains(document.activeElement);
  part("bar").hidden = true;
  part("undo").hidden = true;
  if (focused) part("heading").focus();
}

// ---- Export -------------------------------------------------------------------------

async function exportAll() {
  const button = part("export");
  if (button.hasAttribute("aria-busy")) return;
  button.setAttribute("aria-busy", "true");
  const file = await ask("export_takes");
  button.removeAttribute("aria-busy");
  if (file) fetchFile(file);
}

// ---- Wiring -------------------------------------------------------------------------

list.addEventListener("click", ({ target }) => {
  const row = rowOf(target);
  if (!row) return;
  if (target.closest(".listen")) listen(row);
  else if (target.closest(".star")) favour(row);
  else if (target.closest(".unfold")) unfold(row);
  else if (target.closest(".dots")) toggleMenu(target.closest(".dots"));
});
list.addEventListener("change", ({ target }) => {
  if (!target.matches(".mark")) return;
  const { id } = rowOf(target);
  if (target.checked) marked.add(id);
  else marked.delete(id);
  showMarks();
});
element.addEventListener("keydown", (event) => {
  const undoing = (event.ctrlKey || event.metaKey) && event.key === "z" && deleted.length;
  if (!undoing || event.target.matches("input:not([type=checkbox])")) return;
  event.preventDefault();
  undo();
});
let typing = 0;
part("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(reload, 250);
});
part("search").addEventListener("keydown", (event) => {
  if (event.key === "Escape") event.stopPropagation(); // empties the field; is not for the music
});
part("favourites").addEventListener("click", ({ currentTarget }) => {
  currentTarget.setAttribute("aria-pressed", currentTarget.getAttribute("aria-pressed") !== "true");
  reload();
});
part("compare").addEventListener("click", compare);
part("export").addEventListener("click", exportAll);
part("more").addEventListener("click", more);
part("undo").addEventListener("click", undo);
document.addEventListener("musicgen:kept", reload);
// What is done with a take where it plays; it may be one that isn't among the rows just now.
const anyRow = (wanted) => rows.find(({ id }) => id === wanted) ?? { id: wanted };
home.addEventListener("musicgen:rename", ({ detail: { id, name } }) => call(anyRow(id), name));
home.addEventListener("musicgen:favour", ({ detail }) => favour(anyRow(detail.id), detail.favourite));
home.addEventListener("musicgen:bring", ({ detail: { id } }) => bring({ id }, "continue_from"));
home.addEventListener("musicgen:step", ({ detail: { by } }) => {
  const next = rows[rows.findIndex(({ id }) => id === player().dataset.kept) + by];
  if (next) listen(next);
});
home.addEventListener("musicgen:hear", ({ detail: { id } }) => listen({ id }));
setInterval(() => rows.forEach((row) => tellTime(items.get(row.id), row)), 60000);
part("kept").textContent = about;

// The player's own picture of itself says what it plays.
const watching = new MutationObserver(showPlaying);
(function watchPlayer() {
  if (!player()) return setTimeout(watchPlayer, 200);
  watching.observe(player(), { attributeFilter: ["data-playing", "data-kept", "data-phase"] });
  showPlaying();
})();
if (location.hash === "#sign-in-failed") {
  history.replaceState(null, "", location.pathname + location.search);
  say(translated("Signing in did not work. Please try again."));
}
if (props.there) reload();
