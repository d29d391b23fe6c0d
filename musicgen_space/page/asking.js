// What the server answers, asked again where the network fails: what Gradio gives then, and
// what comes of it when that does not help, is undefined.
async function patiently(ask) {
  for (const pause of [200, 1000, 3000]) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await new Promise((resume) => setTimeout(resume, pause));
  }
  return ask();
}

