/* Erase and repaint: tokens are erased with a brush and decoded again, perhaps as another class. */

const easel = { picture: null, tokens: null, rows: 0, columns: 0, erased: [], past: [], seed: 0, working: false };

/* Begin with a picture and its tokens; undo brings back the one before. */
function put_on_easel({ picture, tokens, rows = grid, columns = grid }) {
  if (easel.picture) remember();
  Object.assign(easel, { picture, tokens, rows, columns, erased: new Array(rows * columns).fill(false) });
  show_easel();
}

function remember() {
  const { picture, tokens, rows, columns, erased } = easel;
  easel.past.push({ picture, tokens, rows, columns, erased });
}

/* The tokens to repaint: those erased, and a rim around them. */
const repainted = () => ($("rim").checked ? dilated(easel.erased, easel.columns, 1) : easel.erased);

function show_easel() {
  const { rows, columns } = easel, cursor = edit_grid.cursor();
  const region = repainted(), rim = (i) => region[i] && !easel.erased[i];
  const cover = (i) => (easel.erased[i] ? masked_cover() : rim(i) ? [colour("mask"), 0.6] : null);
  paint($("edit-canvas"), easel.picture, { rows, columns, cover, outline: (i) => i === cursor });
  const any = easel.erased.some(Boolean), busy = easel.working, most = 3 * grid;
  for (const [id, on] of Object.entries({
    "repaint": any, "undo": easel.past.length, "erase-none": any, "erase-all": true,
    "edit-from-play": film.steps.length, "edit-save": true,
  })) able($(id), !busy && on);
  for (const button of $("extend").querySelectorAll("button")) {
    const [left, top, right, bottom] = margins_of(button);
    able(button, !busy && columns + left + right <= most && rows + top + bottom <= most);
  }
}

/* Switch a button on or off; if it has the focus, the picture gets it, so that the keyboard stays in the section. */
function able(button, on) {
  if (!on && document.activeElement === button) $("edit-canvas").focus({ preventScroll: true });
  button.disabled = !on;
}

const margins_of = (button) => button.dataset.margins.split(",").map((part) => Number(part) * Math.ceil(grid / 2));

/* A brush stroke erases, or restores if it began on an erased token. */
function brush_over(cell, begins) {
  if (easel.working || !easel.picture) return;
  if (begins) easel.erasing = !easel.erased[cell];
  if (easel.erased[cell] === easel.erasing) return;
  easel.erased[cell] = easel.erasing;
  show_easel();
  const count = count_true(easel.erased), what = `${edit_grid.place(cell)} ${easel.erasing ? "erased" : "restored"}`;
  say("edit-status", `${what}; ${count} of ${easel.erased.length} tokens erased.`);
}

/* Ask the engine for something that changes the picture; the buttons are off meanwhile. */
async function work_on_easel(action) {
  const button = document.activeElement;
  easel.working = true;
  show_easel();
  await attempt("edit-status", action);
  easel.working = false;
  show_easel();
  if (document.activeElement === $("edit-canvas") && !button.disabled) button.focus({ preventScroll: true });
}

/* Ask for a picture that is painted step by step, show each, and put the last on the easel; resolves to its passes. */
async function paint_easel(type, fields) {
  let passes = 0;
  const show = ({ rows, columns, picture, tokens, ...step }) => {
    const cover = (i) => (tokens[i] === mask_id ? masked_cover() : null);
    passes = step.passes;
    paint($("edit-canvas"), picture, { rows, columns, cover });
  };
  const { picture } = easel, label = Number($("edit-label").value), seed = easel.seed++;
  const made = await engine.ask(type, { picture, label, seed, pictures: true, ...fields }, show);
  remember();
  Object.assign(easel, { picture: made.picture, tokens: made.tokens, rows: made.rows, columns: made.columns });
  return passes;
}

/* Decode the erased tokens again, and blend them into the picture. */
async function repaint() {
  const { tokens } = easel, region = repainted(), start = performance.now();
  say("edit-status", "Repainting\u2026");
  const passes = await paint_easel("repaint", { tokens, region });
  easel.erased = region.map(() => false);
  const took = seconds(performance.now() - start), name = $("edit-label").selectedOptions[0].textContent;
  say("edit-status", `${tokens_text(count_true(region))} repainted as ${name}, in ${passes_text(passes)} and ${took}.`);
}

/* Continue the picture beyond an edge; what is erased stays so. */
async function extend(margins) {
  const before = map_of(Uint8Array.from(easel.erased), easel.rows, easel.columns);
  say("edit-status", "Extending, window by window\u2026");
  await paint_easel("extend", { margins });
  easel.erased = Array.from(padded(before, margins, 0).data, Boolean);
  say("edit-status", `The picture now has ${easel.rows} by ${easel.columns} tokens.`);
}

function undo() {
  Object.assign(easel, easel.past.pop());
  show_easel();
  say("edit-status", "Undone.");
}

const from_play = () => {
  if (!finished()) return say("edit-status", STILL_DECODING, true);
  const { picture, sampled } = film.steps.at(-1);
  put_on_easel({ picture, tokens: sampled });
  say("edit-status", "This is the decoded picture. Erase a part of it.");
};

let edit_grid;

function start_edit() {
  const moved = (cell) => {
    if (easel.picture && !easel.working) show_easel();
    say("edit-status", `${edit_grid.place(cell)}${easel.erased[cell] ? ", erased" : ""}`);
  };
  edit_grid = as_grid($("edit-canvas"), () => [easel.rows || grid, easel.columns || grid], brush_over, moved);
  $("edit-canvas").onfocus = $("edit-canvas").onblur = () => easel.picture && !easel.working && show_easel();
  $("repaint").onclick = () => work_on_easel(repaint);
  $("undo").onclick = undo;
  $("rim").onchange = () => easel.picture && !easel.working && show_easel();
  for (const [id, value] of [["erase-all", true], ["erase-none", false]])
    $(id).onclick = () => {
      easel.erased.fill(value);
      show_easel();
      say("edit-status", value ? "All tokens are erased. Repaint to get a new picture." : "Nothing is erased.");
    };
  for (const button of $("extend").querySelectorAll("button"))
    button.onclick = () => work_on_easel(() => extend(margins_of(button)));
  $("edit-from-play").onclick = from_play;
  $("edit-save").onclick = () => save_png(easel, "edit-status", "-edited");
}
