// Live music. Gradio gives: element, props, watch, server, trigger.
//
// Six files make up one function, in this order: live.js (a session, from begin to end), sound.js
// (its pieces become one sound), steering.js (how it is changed), picture.js (what is seen),
// recording.js (what is kept of it), system.js (the rest of the page, keys, the phone around it).
// Before them stand asking.js, menu.js and pieces.js, which others have, too.
//
// props.value is what the page's fields say: see musicgen_space/page/live/panel.py.

const part = (name) => element.querySelector(`[data-part="${name}"]`);
const panel = element.querySelector(".live");

const SILENT = translated("The server did not answer. Please try again.");

let phase = "idle";       // "starting": nothing is heard yet; "playing"
let attempt = 0;          // how often it was begun or ended: what comes of earlier ones is dropped
let id = "";              // of the session that plays, or that played last
let ready = false;        // that session is the one that plays
let form = {};            // what the page's fields said when they were last asked
let waiting = [];         // who asks for it

const plays = () => phase !== "idle";
const here = () => ({ visitor: form.visitor, id });

// ---- What the page's fields say -----------------------------------------------------

function fields() {
  return new Promise((resolve) => {
    waiting.push(resolve);
    trigger("wish");
  });
}

watch("value", () => {
  if (!props.value?.backend) return;
  form = props.value;
  waiting.splice(0).forEach((resolve) => resolve(form));
  followChip();
  showPlace();
});

// ---- A session ----------------------------------------------------------------------

// What the server answers; null where that is trouble, which is told.
async function ask(name, sent) {
  const answer = await patiently(() => server[name]({ ...here(), ...sent }));
  const trouble = answer ? told(answer.trouble) : SILENT;
  if (trouble) say(trouble);
  return trouble ? null : answer;
}

// In the gesture that asks for it, else browsers allow no sound.
async function begin(changes = {}) {
  if (props.refusals[form.backend]) return showPanel();
  const mine = ++attempt;
  openSound();
  showPanel();
  document.dispatchEvent(new CustomEvent("musicgen:sound", { detail: element }));
  ready = false;
  setPhase("starting");
  const sent = { ...(await fields()), ...knobs(), ...changes };
  if (mine !== attempt) return;
  const answer = await ask("play", { ...sent, before: id });
  if (mine !== attempt) {
    if (answer) server.stop({ ...here(), id: answer.id });
    return;
  }
  if (!answer) return setPhase("idle");
  id = answer.id;
  ready = true;
  expect(sent.prompt);
  props.value = here();
  trigger("begun"); // it ends with this tab
  fetchOn(mine);
}

// Fetch what there is to hear until it ends.
async function fetchOn(mine) {
  let next = 0;
  while (mine === attempt) {
    const asked = () => server.more({ ...here(), from: next, heard: secondsHeard() });
    const news = await patiently(asked);
    if (mine !== attempt) return;
    if (!news) return end(SILENT);
    next = news.next ?? next;
    tell(news);
    hear(news);
    if (news.over) return end(told(news.trouble), { ringing: true });
  }
}

// `ringing`: what has come is still heard.
function end(words = "", { ringing = false } = {}) {
  if (!plays()) return;
  attempt += 1;
  if (ready) server.stop(here());
  ready = false;
  if (!ringing) fadeOut();
  setPhase("idle");
  say(words || translated("Live music has stopped."));
}

const toggle = () => (plays() ? end() : begin());

