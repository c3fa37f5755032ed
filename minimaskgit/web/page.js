/* The page: its sections in order. The engine answers from a worker (worker.js), so that the page stays responsive. */

const settings = page_settings();
const { num_tokens, num_codes, num_classes } = settings.models.transformer.settings;
const grid = Math.sqrt(num_tokens), mask_id = num_codes + num_classes;
let engine;

async function main() {
  fill_controls();
  film.complaint = restore(location.hash) + fit_steps();
  for (const start of [start_curve, start_play, start_save, start_race, start_edit, start_draw, start_inside]) start();
  show_controls();
  for (const canvas of document.querySelectorAll("canvas"))
    paint_kept(canvas, null, new Int32Array(num_tokens).fill(mask_id));
  engine = await start_engine();
  await decode();
}

/* The first picture is decoded: the sections that begin with one can begin. */
function open_sections() {
  $("edit-label").value = (Number($("label").value) + 1) % settings.labels.length;
  from_play();
  sketch(film.steps.at(-1).picture);
  enable("#race-button, #draw-fill, #file, #heat-kind, #play button, #scrub");
}

/* These links only scroll: the address's hash holds the settings. */
for (const link of document.querySelectorAll("nav a"))
  link.onclick = (event) => {
    event.preventDefault();
    const section = document.querySelector(link.getAttribute("href"));
    go_to(section);
    section.querySelector("button:enabled, select, canvas[tabindex]")?.focus({ preventScroll: true });
  };

/* Another link in the address bar. */
addEventListener("hashchange", () => {
  delete document.body.dataset.only;
  const complaint = restore(location.hash);
  changed();
  film.complaint = complaint + film.complaint;
});

/* Pictures contain colours of the theme. */
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  if (!easel.picture) return;
  $("film").replaceChildren(...film.steps.map((_, i) => frame_of(i + 1)));
  show_step(film.shown);
  if (!easel.working) show_easel();
});

main().catch((error) => say("status", error.message, true));
