
// ---- A link to the take's settings --------------------------------------------------
// Part of the player: `part` and `shown` are from player.js, the rest from link.js.

let calm = 0;  // the timer that takes the words back

async function copyLink() {
  const link = linkOf(shown().link);
  if (!(await copied(link))) {
    offer(link);
    part("announcement").textContent = translated("The link is selected, to be copied.");
    return;
  }
  part("copy").textContent = part("announcement").textContent = translated("Link copied");
  clearTimeout(calm);
  calm = setTimeout(showLink, 2500);
}

// The link as text, selected, in place of the button.
function offer(link) {
  part("copy").hidden = true;
  part("link").hidden = false;
  part("link").value = link;
  part("link").focus();
  part("link").select();
}

function showLink() {
  part("share").hidden = !shown().link || blindly();
  part("link").hidden = true;
  part("copy").hidden = false;
  part("copy").textContent = translated("Copy link");
}

part("copy").addEventListener("click", copyLink);
part("link").addEventListener("blur", showLink);
