// What "Your own sound" says in its title: what is used, and how. Gradio gives: props, watch.
// props.value is the picked sound, its use and where the music is made; props.uses, by place,
// what a sound can be used for there.

watch("value", () => {
  const [picked, use, place] = props.value;
  if (!picked?.clip || !props.uses[place]?.includes(use)) return note("");
  const sound = picked.name;
  const [start, end] = [picked.from.toFixed(1), picked.to.toFixed(1)];
  note({
    continue_from: translated("goes on from {sound}", { sound }),
    melody: translated("melody of {sound}", { sound }),
    replace: translated("{start:.1f} to {end:.1f} s of {sound} made anew", { start, end, sound }),
  }[use]);
});
