/* Watch it decode: the steps of one picture as a film, to play and to scrub. */

const film = { settings: null, steps: [], total: 0, shown: 0, playing: false, work: null };

/* The canvas that step n = 1..T reads. */
const canvas_before = (n) => (n > 1 ? film.steps[n - 2].tokens : new Int32Array(num_tokens).fill(mask_id));
const canvas_after = (n) => canvas_before(n + 1);
const finished = () => film.steps.length > 0 && film.steps.length === film.total;
const kept_in = (tokens) => num_tokens - count_true(Array.from(tokens, (token) => token === mask_id));

/* Decode with the settings on the page; the picture before stays in sight until the first step arrives. */
async function decode() {
  const play = !still.matches; // with reduced motion the picture appears at once; the button still plays
  film.work?.cancel();
  const chosen = used_settings();
  const heard = (step) => film.work === work && add_step(step, chosen, play);
  const work = engine.ask("decode", { ...chosen, pictures: true }, heard);
  film.work = work;
  for (const name of FIELDS) $(name).removeAttribute("aria-invalid");
  if (!film.steps.length) say("status", "Decoding\u2026");
  try {
    await work;
    if (film.work === work && !easel.picture) open_sections();
  } catch (error) {
    if (film.work !== work) return;
    const [name] = error.message.split(/[ :]/);
    if (FIELDS.includes(name)) $(name).setAttribute("aria-invalid", "true");
    if (film.steps.length) scrub_to(film.shown); // stop the film, whose next step would replace the message
    say("status", error.message, true);
  }
}

function enable(which) {
  for (const one of document.querySelectorAll(which)) one.disabled = false;
}

/* A step has arrived. */
function add_step(step, chosen, play) {
  if (step.step === 1) {
    Object.assign(film, { settings: chosen, steps: [], total: chosen.steps, shown: 0, playing: play });
    $("film").replaceChildren();
    $("scrub").max = chosen.steps;
  }
  film.steps.push(step);
  const fixed = film.steps.map((_, i) => fixed_in(i + 1));
  $("film").style.setProperty("--most", Math.max(1, ...fixed)); // the longest bar
  $("film").append(frame_of(film.steps.length));
  if (!play && film.steps.length === film.total) show_step(film.total);
  if (play && step.step === 1) tick();
  if (play && finished() && !film.playing) look_soon(); // its history has the later steps too
}

const taken_in = (n) => (film.steps[n - 1].taken ? count_true(film.steps[n - 1].taken) : 0);
const fixed_in = (n) => kept_in(canvas_after(n)) - kept_in(canvas_before(n)) + taken_in(n);

/* A step's small picture, with how many tokens it fixed. */
function frame_of(n) {
  const item = document.createElement("li"), button = document.createElement("button"), step = film.steps[n - 1];
  const taken = taken_in(n), fixed = fixed_in(n), after = kept_in(step.tokens);
  const canvas = document.createElement("canvas");
  paint_kept(canvas, step.picture, step.tokens, { side: 64 });
  button.innerHTML = `<span class="bar"><i style="--fixed:${fixed}"></i></span>`;
  button.prepend(canvas);
  button.append(taken ? `+${fixed} \u2212${taken}` : `+${fixed}`);
  Object.assign(button, { type: "button", tabIndex: -1, onclick: () => scrub_to(n) }); // by keyboard: the slider
  button.setAttribute("aria-label", `Step ${n}: ${tokens_text(fixed)} fixed, ${after} of ${num_tokens} kept`);
  item.append(button);
  return item;
}

/* Show the canvas after step n; 0 is the blank one. */
function show_step(n) {
  film.shown = n = clamp(n, 0, film.steps.length);
  const step = film.steps[Math.max(n, 1) - 1], tokens = canvas_after(n), before = n ? canvas_before(n) : tokens;
  const fixed = (i) => before[i] === mask_id && tokens[i] !== mask_id && n < film.total;
  paint_kept($("kept"), step.picture, tokens, { outline: fixed });
  paint($("guess"), step.picture);
  paint_heat(step, n ? before : tokens);
  $("scrub").value = n;
  $("film").querySelector("[aria-current]")?.removeAttribute("aria-current");
  const frame = $("film").children[n - 1];
  frame?.firstChild.setAttribute("aria-current", "step");
  if (frame) $("film").scrollTop = frame.offsetTop - $("film").clientHeight / 2; // of many steps some are out of sight
  say_step(n, step, kept_in(tokens));
  $("play-button").textContent = film.playing ? "Pause" : "Play";
  if (!film.playing) look_soon();
}

/* While it plays only the last step is read out. */
function say_step(n, step, kept) {
  const work = `after ${passes_text(step.passes)} and ${seconds(step.milliseconds)}`;
  const state = n ? `${kept} of ${num_tokens} tokens kept, ${work}.` : "every token is [MASK].";
  const text = `Step ${n} of ${film.total}: ${state}`;
  $("status").setAttribute("aria-live", film.playing ? "off" : "polite");
  say("status", film.complaint ? film.complaint + text : text);
  $("kept").setAttribute("aria-label", `Tokens kept after step ${n}: ${kept} of ${num_tokens}`);
}

/* Probability, or the confidence by which tokens are kept, of the tokens that were unknown before the step. */
function paint_heat(step, before) {
  const kind = $("heat-kind").value, values = step[kind];
  const unknown = [...before.keys()].filter((i) => before[i] === mask_id).map((i) => values[i]);
  const finite = unknown.filter(Number.isFinite), least = Math.min(...finite), most = Math.max(...finite);
  const scaled = (value) => (value === Infinity ? 1 : (value - least) / (most - least || 1) || 0); // 0 for -Infinity
  const share = kind === "probability" ? (p) => p : scaled;
  const cover = (i) => (before[i] === mask_id ? [heat(share(values[i])), 1] : [colour("surface"), 0.75]);
  paint($("heat"), step.picture, { cover });
  const range = finite.length ? `, from ${least.toFixed(2)} to ${most.toFixed(2)}` : "";
  $("heat").setAttribute("aria-label", `${kind} of ${unknown.length} guesses${range}`);
}

/* The next frame, as soon as it is there. */
function tick() {
  if (!film.playing) return;
  const next = Math.min(film.shown + 1, film.steps.length);
  if (next === film.total) film.playing = false;
  show_step(next);
  clearTimeout(film.timer);
  if (film.playing) film.timer = setTimeout(tick, clamp(3600 / film.total, 60, 450));
}

function play() {
  if (film.shown === film.total) film.shown = 0;
  film.playing = true;
  show_step(film.shown);
  clearTimeout(film.timer);
  film.timer = setTimeout(tick, 200);
}

function scrub_to(n) {
  film.playing = false;
  clearTimeout(film.timer);
  show_step(n);
}

/* A control has changed: decode anew, once the user has let go. */
function changed() {
  film.complaint = fit_steps();
  show_controls();
  keep_link();
  clearTimeout(film.waiting);
  film.waiting = setTimeout(() => engine && decode(), 200); // until it is loaded, main does
}

function start_play() {
  $("play-button").onclick = () => (film.playing ? scrub_to(film.shown) : play());
  $("back").onclick = () => scrub_to(film.shown - 1);
  $("forward").onclick = () => scrub_to(film.shown + 1);
  $("scrub").oninput = () => scrub_to(Number($("scrub").value));
  $("heat-kind").onchange = () => show_step(film.shown);
  $("controls").oninput = changed;
  $("controls").onsubmit = (event) => event.preventDefault();
  $("dice").onclick = () => {
    $("seed").value = Math.floor(1e6 * Math.random());
    changed();
  };
  $("defaults").onclick = () => {
    set_defaults();
    changed();
  };
  $("kept").onclick = (event) => look_at(cell_at($("kept"), event, grid, grid), true);
}
