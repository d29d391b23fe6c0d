// ---- What is kept of it -------------------------------------------------------------

const KEPT_SECONDS = 30;

async function busily(button, work) {
  button.setAttribute("aria-busy", "true");
  const done = await work();
  button.removeAttribute("aria-busy");
  return done;
}

async function keep() {
  const answer = await busily(part("keep"), () => ask("keep", { seconds: KEPT_SECONDS }));
  if (!answer) return;
  document.dispatchEvent(new Event("musicgen:kept"));
  say(told(answer.note) || translated("Kept in your takes."));
}

async function download(kind) {
  const answer = await busily(part("record"), () => ask("record"));
  if (!answer) return;
  const link = document.createElement("a");
  link.href = served(answer[kind]);
  link.download = answer[kind].name;
  link.click();
}

part("keep").addEventListener("click", keep);
part("record").addEventListener("click", () => {
  openMenu(part("record"), [
    [translated("Recording as FLAC"), () => download("flac")],
    [translated("Cue sheet: prompts and times"), () => download("cue")],
  ]);
});

