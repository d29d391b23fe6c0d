// ---- What to do next with a take -------------------------------------------------------
// Part of the player: what is around it is told by events, what is kept is the list's to change.

const tell = (name, detail) => home.dispatchEvent(new CustomEvent(`musicgen:${name}`, { detail }));
const kept = () => (!blindly() && shown().kept) || "";

let favourite = false;    // whether the kept take that is shown is one, as far as the list knows
let closeFormats = () => {};

function showSteps() {
  const done = view.phase === "done" && takes.length > 0;
  const busy = view.phase === "busy";
  part("another").disabled = busy;
  part("variations").disabled = busy;
  part("variations").hidden = props.most < 2;
  part("go-on").hidden = !kept();
  for (const name of ["rename", "star", "newer", "older", "dock-star"]) part(name).hidden = !kept();
  for (const name of ["star", "dock-star"]) part(name).setAttribute("aria-pressed", favourite);
  part("downloads").hidden = !done || !format();
  part("dock-download").hidden = part("downloads").hidden;
  if (part("downloads").hidden) return;
  const ending = format().toUpperCase();
  part("download").textContent = `↓ ${ending}`;
  for (const name of ["download", "dock-download"]) {
    part(name).setAttribute("aria-label", translated("Download as {format}", { format: ending }));
  }
}

// The one that was chosen last, where this take can be had so.
const format = () => formatOf(shown().formats ?? []);

function chooseFormat() {
  if (part("formats").getAttribute("aria-expanded") === "true") return closeFormats({ focus: true });
  closeFormats = openMenu(part("formats"), shown().formats.map((ending) => [
    translated("Download as {format}", { format: ending.toUpperCase() }),
    () => {
      remember(FORMAT, ending);
      showSteps();
      download(ending, part("download"));
    },
  ]));
}

function rename() {
  const field = part("name");
  const { title } = shown();
  const id = kept();
  let open = true;
  const close = (save) => {
    if (!open) return;
    open = false;
    const focused = document.activeElement === field;
    field.hidden = true;
    part("title").hidden = false;
    if (focused) part("rename").focus();
    if (save && field.value !== title) tell("rename", { id, name: field.value });
  };
  field.value = title;
  field.hidden = false;
  part("title").hidden = true;
  field.onblur = () => close(true);
  field.onkeydown = (event) => {
    event.stopPropagation(); // no key is meant for the music
    if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    close(event.key === "Enter");
  };
  field.select();
  field.focus();
}

const starred = () => tell("favour", { id: kept(), favourite: !favourite });

part("another").addEventListener("click", () => {
  unlock();
  trigger("another");
});
part("variations").addEventListener("click", () => {
  unlock();
  trigger("variations");
});
part("go-on").addEventListener("click", () => tell("bring", { id: kept() }));
part("download").addEventListener("click", () => download(format(), part("download")));
part("dock-download").addEventListener("click", () => download(format(), part("dock-download")));
part("formats").addEventListener("click", chooseFormat);
part("rename").addEventListener("click", rename);
part("star").addEventListener("click", starred);
part("dock-star").addEventListener("click", starred);
part("newer").addEventListener("click", () => tell("step", { by: -1 }));
part("older").addEventListener("click", () => tell("step", { by: 1 }));

// The list of takes tells what it knows of the one that is shown.
home.addEventListener("musicgen:row", ({ detail }) => {
  for (const each of [...view.takes, ...takes]) {
    if (each.kept === detail.id && detail.name) each.title = detail.name;
  }
  if (detail.id === kept()) favourite = detail.favourite;
  show();
});

// ---- How loud -----------------------------------------------------------------------

const VOLUME = "musicgen-space:volume";

const loudness = () => part("volume").value / 100;

part("volume-of").hidden = !canMatch;
part("volume").value = remembered(VOLUME) ?? 100;
part("volume").addEventListener("input", () => {
  remember(VOLUME, part("volume").value);
  setVolume();
});

// ---- Small, at the foot of the page, while the player is out of sight -----------------

let seen = true;          // whether the player's own buttons are in sight
let wasHeard = false;     // nobody needs it before

function showDock() {
  wasHeard ||= playing;
  part("dock").hidden = seen || !wasHeard || !available();
  home.toggleAttribute("data-docked", !part("dock").hidden);
  if (part("dock").hidden) return;
  part("dock-play").setAttribute("aria-label", part("play").getAttribute("aria-label"));
  part("dock-title").textContent = blindly() ? "" : shown().title;
}

new IntersectionObserver(([{ isIntersecting }]) => {
  seen = isIntersecting;
  showDock();
}).observe(part("play"));
part("dock-play").addEventListener("click", toggle);

