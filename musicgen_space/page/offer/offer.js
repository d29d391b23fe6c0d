// The offer of a better model. Gradio gives: element, props, trigger, watch, server.
//
// The download is the server's, whoever looks: this only tells of it. props.value says which
// backend is chosen, and whether the model is, once it is here.

const part = (name) => element.querySelector(`[data-part="${name}"]`);

const REFUSED = "musicgen-space:no-offer";
const SECOND = 1000;
const LONGEST = 30 * SECOND; // between questions that the server doesn't answer

let state = { phase: "none" };
let seen = false;      // whether it was downloaded while this page was open
let following = false;
// Some browsers keep nothing for a page, or not in a frame of another one.
let refused = (() => { try { return !!localStorage.getItem(REFUSED); } catch { return false; } })();

function show() {
  const offered = state.phase === "offered" && !refused;
  const downloading = state.phase === "downloading";
  const said = part("said").textContent;
  const focused = part("offer").contains(document.activeElement);
  part("words").textContent = offered || downloading ? told(state.words) : "";
  part("bar").hidden = !downloading;
  part("bar").value = state.fraction ?? 0;
  part("start").hidden = !offered;
  part("refuse").hidden = !offered;
  part("stop").hidden = !downloading;
  part("offer").hidden = props.value.backend !== props.place || !(offered || downloading || said);
  if (focused) part(downloading ? "stop" : offered ? "start" : "said").focus();
}

function say(words) {
  part("offer").hidden = false; // what changes in hidden places is not read aloud
  part("said").textContent = words;
}

async function ask(name) {
  try {
    return await server[name](null);
  } catch {
    return null;
  }
}

// What the server answered; null: it did not.
function hear(answer) {
  if (!answer) return;
  const before = state.phase;
  state = answer;
  const { phase } = state;
  if (phase === "downloading" && before !== phase) {
    seen = true;
    say(translated("You can go on making music meanwhile."));
  } else if (before === "downloading" && phase !== before) {
    say(told(state.trouble));
  }
  show();
  // The page may have been made before the model came; a link may ask for another one.
  const other = new URLSearchParams(location.search).has("model");
  if (phase === "here" && before !== phase && (seen || !other)) trigger("here");
}

async function follow(question) {
  hear(await ask(question));
  if (following) return;
  following = true;
  let wait = SECOND;
  while (state.phase === "downloading") {
    await new Promise((done) => setTimeout(done, wait));
    const answer = await ask("look");
    wait = answer ? SECOND : Math.min(2 * wait, LONGEST);
    hear(answer);
  }
  following = false;
}

part("start").addEventListener("click", () => follow("start"));
part("stop").addEventListener("click", async () => hear(await ask("stop")));
part("refuse").addEventListener("click", () => {
  refused = true;
  part("said").textContent = "";
  try { localStorage.setItem(REFUSED, "1"); } catch { /* for now, then */ }
  show();
  home.querySelector("#generate")?.focus({ preventScroll: true });
});

watch("value", () => {
  if ("chosen" in props.value && seen) {
    seen = false;
    say(told(props.value.chosen ? props.chosen : props.there));
  }
  show();
});
follow("look");
