/* Look inside: what the model thought of one token, what it attended to, and how the token came about. */

const lens = { position: 0, look: null, step: 0, tokens: null, picture: null };

/* The last step, up to the one shown, that drew this token. */
function step_of(position) {
  let n = clamp(film.shown, 1, film.steps.length);
  while (n > 1 && canvas_before(n)[position] !== mask_id) n--;
  return n;
}

function look_at(position, scroll = false) {
  lens.position = position;
  lens_grid.go(position);
  look_soon();
  if (scroll) go_to($("inside"));
}

function look_soon() {
  clearTimeout(lens.waiting);
  lens.waiting = setTimeout(() => film.steps.length && attempt("inside-status", look), 80);
}

/* The guidance weight of a step. */
function guidance_in(n) {
  const { decoder, guidance = 0, guidance_start = 0 } = film.settings;
  if (decoder === "searched") return settings.policies[film.total].guidance[n - 1];
  return late_guidance(guidance, guidance_start)(n / film.total);
}

/* Ask for the token's distribution and attention in that step. */
async function look() {
  const { position } = lens, n = step_of(position), { steps } = film, asked = (lens.asked = {});
  const { label } = film.settings, tokens = canvas_before(n);
  const passed = () => lens.asked !== asked || film.steps !== steps; // another token, or another picture
  const found = await engine.ask("look", { tokens, label, position, guidance: guidance_in(n) });
  if (passed()) return;
  const history = steps.map((step) => step.sampled[position]), codes = [...new Set([...found.codes, ...history])];
  const { patches } = await engine.ask("patches", { codes });
  if (passed()) return;
  Object.assign(lens, { look: found, step: n, tokens, picture: steps[n - 1].picture });
  const patch_of = (code) => patch_canvas(patches[codes.indexOf(code)]);
  show_attention();
  const places = await in_place(found.codes, steps[n - 1].sampled, position, passed);
  if (passed()) return;
  show_likeliest(found, history[n - 1], patch_of, places);
  show_history(history, patch_of);
  say_look(history[n - 1], found);
}

function say_look(drawn, { codes }) {
  const rank = codes.indexOf(drawn) + 1, kept = canvas_after(lens.step)[lens.position] !== mask_id;
  say("inside-status",
    `${lens_grid.place(lens.position)}, step ${lens.step} of ${film.total}: the model drew code ${drawn} ` +
    `(${rank ? `number ${rank} in the list` : "not in the list"}); it was ${kept ? "kept" : "masked again"}.`);
}

/* The guess of a step with each code at one position, three tokens around it: a patch depends on its neighbours. */
async function in_place(codes, sampled, position, passed) {
  const f = settings.models.tokenizer.settings.image_size / grid, side = Math.min(3, grid), places = [];
  const corner = (at) => clamp(at - 1, 0, grid - side), row = corner(Math.floor(position / grid));
  const column = corner(position % grid);
  for (const code of codes) {
    if (passed()) break;
    const { picture } = await engine.ask("picture", { tokens: scatter(sampled, [position], [code]) });
    const canvas = Object.assign(document.createElement("canvas"), { width: side * f, height: side * f });
    canvas.getContext("2d").drawImage(bitmap(picture), -column * f, -row * f);
    places.push(canvas);
  }
  return places;
}

function show_likeliest({ codes, probabilities }, drawn, patch_of, places) {
  $("likeliest").replaceChildren(...codes.map((code, i) => {
    const item = document.createElement("li"), bar = document.createElement("progress");
    Object.assign(bar, { value: probabilities[i], max: 1 });
    bar.setAttribute("aria-hidden", "true");
    item.classList.toggle("drawn", code === drawn);
    item.append(places[i], patch_of(code), span(`code ${code}`), bar, span(percent(probabilities[i])));
    return item;
  }));
}

const span = (text) => Object.assign(document.createElement("span"), { textContent: text });

/* The code guessed in each step, and whether it was kept. */
function show_history(history, patch_of) {
  $("history").replaceChildren(...history.map((code, i) => {
    const item = document.createElement("li"), known = canvas_before(i + 1)[lens.position] !== mask_id;
    const kept = film.steps[i].tokens[lens.position] !== mask_id, p = film.steps[i].probability[lens.position];
    item.className = kept ? "kept" : "masked";
    item.append(patch_of(code), span(`${i + 1}: ${known ? "known" : `${percent(p)}, ${kept ? "kept" : "masked"}`}`));
    return item;
  }));
}

/* Where the token looked, in one head or in all of a layer, over the canvas that the model saw. */
function show_attention() {
  if (!lens.look) return;
  const layer = lens.look.attention[$("layer").value], head = $("head").value, cursor = lens_grid.cursor();
  const weight = (i) => (head === "mean" ? layer.reduce((sum, one) => sum + one[i], 0) / layer.length : layer[head][i]);
  const weights = Array.from({ length: num_tokens }, (_, i) => weight(i + 1)), most = Math.max(...weights);
  const canvas = $("inside-canvas");
  paint_kept(canvas, lens.picture, lens.tokens);
  const under = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  under.getContext("2d").drawImage(canvas, 0, 0);
  const chosen = (i) => i === lens.position || i === cursor;
  paint(canvas, null, { cover: (i) => [colour("accent"), 0.9 * (weights[i] / most)], outline: chosen });
  const context = canvas.getContext("2d");
  context.globalCompositeOperation = "destination-over";
  context.drawImage(under, 0, 0);
  const where = lens_grid.place(weights.indexOf(most)).toLowerCase();
  $("class-attention").textContent =
    `Class token: ${percent(weight(0))} of the attention; of the others most goes to ${where}, ${percent(most)}`;
}

let lens_grid;

function start_inside() {
  const { depth, heads } = settings.models.transformer.settings;
  lens.position = Math.floor(grid / 2) * grid + Math.floor(grid / 2);
  $("layer").append(...Array.from({ length: depth }, (_, i) => option(i, i + 1)));
  $("layer").value = depth - 1;
  $("head").append(option("mean", "all, mean"), ...Array.from({ length: heads }, (_, i) => option(i, i + 1)));
  $("layer").onchange = $("head").onchange = show_attention;
  const moved = (cell) => {
    look_at(cell);
    show_attention(); // the cursor
    say("inside-status", lens_grid.place(cell)); // at once, before the model has answered
  };
  lens_grid = as_grid($("inside-canvas"), () => [grid, grid], (cell, begins) => begins && look_at(cell), moved);
  lens_grid.go(lens.position);
  $("inside-canvas").onfocus = $("inside-canvas").onblur = show_attention;
}
