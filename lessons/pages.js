// The site's controls: the search over SECTIONS ([address, heading, text], written by pages.py), light or dark, and animations.
const root = document.documentElement, box = document.querySelector("#search"), found = document.querySelector("#found");

document.querySelector("#theme").onclick = () => {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.theme = root.dataset.theme; } catch {} // forbidden without cookies
};

/** The sections that have all words, those with the words in their heading first. */
function search(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const score = ([, heading, text]) => {
    const [above, below] = [heading.toLowerCase(), text.toLowerCase()];
    if (!words.every((word) => above.includes(word) || below.includes(word))) return 0;
    return 1 + 10 * words.filter((word) => above.includes(word)).length;
  };
  const scored = SECTIONS.map((section) => [score(section), section]).filter(([points]) => points > 0);
  return words.length ? scored.sort((a, b) => b[0] - a[0]).slice(0, 12).map(([, section]) => section) : [];
}

box.oninput = () => {
  found.replaceChildren(...search(box.value).map(([address, heading]) => {
    const link = Object.assign(document.createElement("a"), { href: address, textContent: heading });
    const item = document.createElement("li");
    item.append(link);
    return item;
  }));
  const count = found.children.length;
  document.querySelector("#count").textContent = box.value ? `${count} result${count === 1 ? "" : "s"}` : "";
};
box.onkeydown = (event) => {
  if (event.key === "Enter") found.querySelector("a")?.click();
};
found.onclick = () => found.replaceChildren();
document.onpointerdown = (event) => {
  if (!event.target.closest("header")) found.replaceChildren();
};
document.onkeydown = (event) => {
  if (event.key === "Escape") {
    if (found.contains(document.activeElement)) box.focus();
    found.replaceChildren();
  }
  if (event.key === "/" && document.activeElement !== box) { event.preventDefault(); box.focus(); }
};

// An animation has a button to stop it on its last picture, where it also rests if the reader's system asks for less motion.
for (const film of document.querySelectorAll("img[data-still]")) {
  const moving = film.src, button = document.createElement("button");
  const move = (on) => {
    film.src = on ? moving : film.dataset.still;
    button.textContent = on ? "Pause" : "Play";
  };
  button.onclick = () => move(button.textContent === "Play");
  film.after(button);
  move(!matchMedia("(prefers-reduced-motion: reduce)").matches);
}
